/* imapd.h - imapd(8): IMAP4rev1 server. lib/login brings a client from one process to the other.
 *
 *	front.c, front_auth.c	before log-in, in the process that meets the network
 *	serve.c			a connection of the user, in the process of the user
 *	session.c, cmd_*.c	its commands
 *	charsets.c		what the process of the user can open no more */
#ifndef IMAPD_H
#define IMAPD_H

#include "login/login.h"
#include "session.h"

struct imap_conf {
	struct session_conf session;
	const char *mail_name;
	struct span special_use; /* imapd_special_use */
};
extern struct imap_conf imap_conf;

void front_serve(struct service_conn *c);
void serve(struct login_session *l);
void charsets_load(void); /* in prepare(), before the monitor is forked */

#endif
