/* access_action.h - what a table of access(5) or a policy server says of a client or an address: "REJECT no", "550 5.7.1 no",
 * "FILTER smtp:[host]". Pure. */
#ifndef SMTPD_ACCESS_ACTION_H
#define SMTPD_ACCESS_ACTION_H

#include "base/span.h"

enum access_verb {
	ACCESS_DUNNO, /* also an empty result */
	ACCESS_BCC,
	ACCESS_DEFER,
	ACCESS_DEFER_IF_PERMIT,
	ACCESS_DEFER_IF_REJECT,
	ACCESS_DISCARD,
	ACCESS_FILTER,
	ACCESS_HANGUP,
	ACCESS_HOLD,
	ACCESS_INFO,
	ACCESS_OK, /* also RELAY, and a number as tools write that build tables of networks */
	ACCESS_PREPEND,
	ACCESS_REDIRECT,
	ACCESS_REFUSE, /* REJECT or a code */
	ACCESS_RULES,  /* none of these: a list of restrictions, which is all of the text */
	ACCESS_WARN,
	ACCESS_VERBS
};

struct access_action {
	enum access_verb verb;
	unsigned code;	  /* of ACCESS_REFUSE: 400 to 599; 0 as the parameter says */
	struct span dsn;  /* of ACCESS_REFUSE and ACCESS_DEFER; "" none */
	struct span text; /* behind word and status: within `value` */
};
/* `utf8`: addresses may be in UTF-8.
 * errors   RC_SYNTAX the word's argument is none for it: the action counts as DUNNO */
MUST_CHECK enum rc access_action_parse(struct span value, bool utf8, struct access_action *out,
				       struct err *e);

#endif
