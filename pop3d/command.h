/* command.h - one line of a POP3 client (RFC 1939, 2449, 2595, 5034). Pure. */
#ifndef POP3D_COMMAND_H
#define POP3D_COMMAND_H

#include "base/span.h"

#define COMMAND_LINE_MAX 4096 /* RFC 2449 section 4 asks for 255; initial responses of SASL may be longer */

enum pop3_verb {
	POP3_UNKNOWN,
	POP3_APOP,
	POP3_AUTH,
	POP3_CAPA,
	POP3_DELE,
	POP3_LIST,
	POP3_NOOP,
	POP3_PASS,
	POP3_QUIT,
	POP3_RETR,
	POP3_RSET,
	POP3_STAT,
	POP3_STLS,
	POP3_TOP,
	POP3_UIDL,
	POP3_USER,
};
struct pop3_command {
	enum pop3_verb verb;
	struct span text; /* USER, PASS: the argument. AUTH: the mechanism, "" to list them */
	bool has_initial; /* AUTH with an initial response: */
	struct span initial;
	bool has_msg;
	uint32_t msg;	/* message number, from 1; 0 never */
	uint64_t lines; /* TOP */
};
/* RC_OK; RC_SYNTAX with what is wrong in *why (static text): the verb is set all the same. */
MUST_CHECK enum rc pop3_command_parse(struct span line, struct pop3_command *out, const char **why);

#endif
