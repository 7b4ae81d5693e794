/* bounce.c - a message from sendmail(1) or maildrop/ that is refused for good: its sender is not there any
 * more to be told, so it gets a non-delivery report. */
#include "cleanup.h"
#include "log/event.h"
#include "mime/address_log.h"

#define CONTENT_MAX 50000

static struct ipc_list bounced_rcpts(struct job *j, struct span reason)
{
	size_t n = j->env.rcpts.n < 1000 ? j->env.rcpts.n : 1000;
	struct bounce_rcpt *v = arena_array(&j->a, n + 1, sizeof(*v));

	for (size_t i = 0; i < n; i++) {
		const struct env_rcpt *r = envelope_rcpt(&j->env, i);

		v[i] = (struct bounce_rcpt){ .addr = r->addr,
					     .orig = r->orig,
					     .orcpt = r->orcpt,
					     .notify = r->notify,
					     .status = DS_BOUNCED,
					     .dsn = j->verdict.dsn,
					     .reason = reason };
		struct span to = address_log(r->addr);
		log_info("%s: to=<" SPAN_FMT ">, relay=none, delay=0, delays=0/0/0/0, dsn=" SPAN_FMT
			 ", status=bounced (" SPAN_FMT ")",
			 j->qid.s, SPAN_ARG(to), SPAN_ARG(j->verdict.dsn), SPAN_ARG(reason));
		EVENT("delivery", EV_TEXT("queue_id", qid_span(&j->qid)), EV_TEXT("recipient", r->addr),
		      EV_TEXT("orig_recipient", r->orig), EV_CSTR("relay", "none"),
		      EV_TEXT("dsn", j->verdict.dsn), EV_CSTR("status", "bounced"),
		      EV_TEXT("reason", reason));
	}
	return (struct ipc_list){ v, n };
}

bool job_bounce(struct job *j)
{
	struct envelope bare = j->env;
	struct bounce_send q = { .kind = BK_FAILURE, .fd = -1 };
	struct bounce_send_reply r;
	struct buf b;
	struct err e;
	enum rc rc;

	if (j->env.rcpts.n == 0)
		return false;
	bare.rcpts = (struct ipc_list){ 0 };
	buf_init(&b, 128 * 1024);
	if (envelope_encode(&bare, &b) != RC_OK) {
		buf_release(&b);
		return false;
	}
	q.envelope = buf_span(&b);
	q.rcpts = bounced_rcpts(j, j->verdict.text);
	q.content = span_head(j->file != NULL ? j->header : j->content, CONTENT_MAX);
	q.content_cut = q.content.n < j->content_bytes;
	rc = service_request(conf_str(service_conf(), "bounce_service_name"), false, IPC_BOUNCE_SEND, &q, &r,
			     &j->a, deadline_s(100), &e);
	if (rc != RC_OK)
		log_warning("%s: bounce: %s", j->qid.s, e.text);
	buf_release(&b);
	return rc == RC_OK && r.code == 0;
}
