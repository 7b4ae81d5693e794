/* pop3d.h - pop3d(8): POP3 server.
 *
 *	front.c      AUTHORIZATION, in the process that meets the network
 *	session.c    TRANSACTION and UPDATE (RFC 1939 sections 5, 6), in the process of the user
 *	multiline.c  messages as they go over the wire
 *	command.c    reading a line */
#ifndef POP3D_POP3D_H
#define POP3D_POP3D_H

#include "login/login.h"

struct pop3_conf {
	int64_t timeout_s; /* pop3d_timeout */
	const char *hostname;
};
extern struct pop3_conf pop3_conf;

void front_serve(struct service_conn *c);
void session_serve(struct login_session *l);

/* What both states offer (RFC 2449). */
#define POP3_CAPABILITIES                                                                                    \
	"TOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nEXPIRE NEVER\r\nIMPLEMENTATION "       \
	"Postern\r\n"

#endif
