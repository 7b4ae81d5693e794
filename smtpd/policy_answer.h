/* policy_answer.h - what a policy server answers (SMTPD_POLICY_README's subject): lines "name=value" up to an empty one, of which "action=" counts.
 * Pure. */
#ifndef SMTPD_POLICY_ANSWER_H
#define SMTPD_POLICY_ANSWER_H

#include "base/arena.h"

struct policy_answer {	    /* zeroed at first */
	struct span action; /* "" alone asks for nothing */
	bool seen;
	unsigned lines;
};
/* A line without its end; the action is copied into `a`. RC_OK: that was all; RC_AGAIN: more follow; RC_SYNTAX: there was no action; RC_LIMIT. */
MUST_CHECK enum rc policy_answer_take(struct policy_answer *p, struct span line, struct arena *a,
				      struct err *e);

#endif
