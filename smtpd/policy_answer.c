/* policy_answer.c - see policy_answer.h. */
#include "policy_answer.h"

#define LINES_MAX 50

enum rc policy_answer_take(struct policy_answer *p, struct span line, struct arena *a, struct err *e)
{
	if (line.n == 0)
		return p->seen ? RC_OK : err_set(e, RC_SYNTAX, "no action in the answer");
	if (++p->lines >= LINES_MAX)
		return err_set(e, RC_LIMIT, "answer too long");
	if (span_starts(line, SPAN("action="))) {
		p->action = span_dup(a, span_trim(span_skip(line, 7)));
		p->seen = true;
	}
	return RC_AGAIN;
}
