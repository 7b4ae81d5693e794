/* requeued.c - what postsuper(1) -r took out of the queue: a file in maildrop/ that mail_owner owns, flagged so by who moved it. Where the
 * message came from, when, for whom it was meant at first, what reports the sender wants and got stay as they are. What was decided about it
 * on its way through cleanup(8) is decided again. */
#include "pickup.h"

bool requeued_envelope(const struct envelope *was, const struct qid *before, struct envelope *out,
		       struct arena *a)
{
	const uint32_t kept = ENVF_SMTPUTF8 | ENVF_LOCAL | ENVF_BOUNCE | ENVF_TRACE | ENVF_VERIFY_ONLY |
			      ENVF_MIME_CONVERT | ENVF_WARNED;
	struct env_rcpt *left = arena_array(a, was->rcpts.n + 1, sizeof(*left));
	size_t n = 0;

	for (size_t i = 0; i < was->rcpts.n; i++)
		if (envelope_rcpt(was, i)->state != RCPT_DONE)
			left[n++] = *envelope_rcpt(was, i);
	*out = *was;
	out->flags = was->flags & kept;
	out->rcpts = (struct ipc_list){ left, n };
	if (out->ident.n == 0)
		out->ident = span_dup(a, qid_span(before));
	return n > 0;
}
