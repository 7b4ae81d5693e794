/* asuser/ticket.h - how a monitor learns whose process to start: from auth(8) itself.
 *
 *	front --ticket (fixed size, opaque)--> monitor --struct ticket_question--> auth
 *	                                       monitor <--struct ticket_answer---- auth; once, then it is gone
 *
 * The front meets the network, so nothing it says about a user counts: all it can hand over is a ticket that
 * auth made for a log-in that succeeded. Each process of auth listens on private/ticket.<pid> below the queue
 * directory, bound while it was root; private/ is closed to everybody else, and the monitor looks at the
 * owner of the socket besides. Both records travel on SOCK_SEQPACKET, have one size, and are checked by
 * whoever gets them. */
#ifndef ASUSER_TICKET_H
#define ASUSER_TICKET_H

#include "asuser/asuser.h"
#include "base/span.h"

#define TICKET_MAGIC	0x5449434bu
#define TICKET_SECRET	16
#define TICKET_TEXT_MAX 48 /* "<pid>.<32 hexadecimal digits>" */
#define TICKET_DIR	"private"
#define TICKET_PREFIX	"ticket." /* and the pid */
#define TICKET_SERVICE	16	  /* "imap", "pop3" */
#define TICKET_ANSWER_S 10	  /* auth answers from memory */

struct asuser_ticket {
	uint32_t server; /* process of auth that made it */
	unsigned char secret[TICKET_SECRET];
};
struct ticket_question {
	uint32_t magic;
	unsigned char secret[TICKET_SECRET];
	char service[TICKET_SERVICE]; /* who asks; a ticket is good for one service */
};
struct ticket_answer {
	uint32_t magic;
	int32_t rc;			     /* enum rc: RC_OK, or RC_NOTFOUND: no such ticket, or spent */
	unsigned char secret[TICKET_SECRET]; /* the one that was asked about */
	struct asuser_id id;
};

/* As text, which the front gets from auth. */
void ticket_text(const struct asuser_ticket *t, char out[TICKET_TEXT_MAX]);
MUST_CHECK enum rc ticket_parse(struct span text, struct asuser_ticket *out);

/* In the monitor: spends the ticket. Blocks, TICKET_ANSWER_S at most. `dir` is private/; the socket must be
 * of root or of `owner`.
 * errors   RC_DENIED no such ticket; RC_AGAIN auth is not there or does not answer; RC_SYNTAX nonsense */
MUST_CHECK enum rc ticket_redeem(const char *dir, const char *service, const struct asuser_ticket *t,
				 struct asuser_id *out, struct err *e);

#endif
