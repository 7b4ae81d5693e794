/* requeued.c - what postsuper(1) -r took out of the queue: a file in maildrop/ that mail_owner owns, flagged so by who moved it. Where the
 * message came from, when, for whom it was meant at first, what reports the sender wants and got stay as they are. What was decided about it
 * on its way through cleanup(8) is decided again. */
#include "pickup.h"

/* An alias that stands for others is none of the recipients; the first attempt would have told the sender of it. */
static bool is_untold(const struct qimage *was, const struct env_rcpt *r)
{
	return (r->notify & NOTIFY_ALIAS) && was->attempts == 0;
}

bool requeued_envelope(const struct qimage *was, struct envelope *out, struct arena *a)
{
	const uint32_t kept = ENVF_SMTPUTF8 | ENVF_LOCAL | ENVF_BOUNCE | ENVF_TRACE | ENVF_VERIFY_ONLY |
			      ENVF_MIME_CONVERT | ENVF_WARNED;
	struct env_rcpt *left = arena_array(a, was->env.rcpts.n + 1, sizeof(*left));
	size_t n = 0, open = 0;

	for (size_t i = 0; i < was->env.rcpts.n; i++) {
		const struct env_rcpt *r = envelope_rcpt(&was->env, i);

		if (r->state != RCPT_DONE || is_untold(was, r))
			left[n++] = *r;
		open += r->state != RCPT_DONE;
	}
	*out = was->env;
	out->flags = was->env.flags & kept;
	out->rcpts = (struct ipc_list){ left, n };
	if (out->ident.n == 0)
		out->ident = span_dup(a, qid_span(&was->qid));
	return open > 0;
}
