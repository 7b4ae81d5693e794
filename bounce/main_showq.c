/* bounce/main_showq.c - showq(8): the queue listing, in the attribute protocol that postqueue(1) and
 * exporters read: "name NUL value NUL" pairs, an empty name ends a message and, at the end, the listing. */
#include "base/table.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "queue/listing.h"
#include "service/service.h"

#define STEP 64 /* messages a trip to the disk */

static struct queue *queue;

static void put(struct buf *b, const char *name, struct span value)
{
	(void)buf_append(b, span_make(name, strlen(name) + 1));
	for (size_t i = 0; i < value.n; i++)
		(void)buf_putc(b, value.p[i] ? value.p[i] : '?');
	(void)buf_putc(b, '\0');
}

static void put_number(struct buf *b, const char *name, long long v)
{
	char text[32];

	put(b, name, span_make(text, (size_t)snprintf(text, sizeof(text), "%lld", v)));
}

static void put_message(struct buf *b, const struct listed *m, bool active)
{
	const struct envelope *env = &m->image.env;

	put(b, "queue_name", span_str(active ? "active" : m->queue));
	put(b, "queue_id", qid_span(&m->id));
	put_number(b, "time", env->arrival_us / 1000000);
	put_number(b, "size", (long long)env->size);
	put_number(b, "forced_expire", (env->flags & ENVF_EXPIRE) != 0);
	put(b, "sender", env->sender.n ? env->sender : SPAN("MAILER-DAEMON"));
	for (size_t i = 0; i < env->rcpts.n; i++) {
		const struct env_rcpt *r = envelope_rcpt(env, i);

		if (r->state == RCPT_DONE)
			continue;
		put(b, "recipient", r->addr);
		if (r->orig.n > 0)
			put(b, "orig_recipient", r->orig);
		put(b, m->why[i].status == DS_BOUNCED ? "bounce_reason" : "reason",
		    m->why[i].status ? m->why[i].reason : SPAN_NONE);
	}
	(void)buf_putc(b, '\0');
}

/* qmgr says which are being delivered; when it is not there, none are. */
static struct table *active_ids(struct arena *a)
{
	struct table *t = table_new();
	struct span after = SPAN_NONE;
	struct err e;

	for (;;) {
		struct qmgr_active q = { after };
		struct qmgr_active_reply r;
		const struct qid_item *v;

		if (service_request(conf_str(service_conf(), "queue_service_name"), true, IPC_QMGR_ACTIVE, &q,
				    &r, a, deadline_s(10), &e) != RC_OK)
			return t;
		v = r.ids.v;
		for (size_t i = 0; i < r.ids.n; i++)
			table_set(t, v[i].qid, t);
		if (r.ids.n < 1000)
			return t;
		after = v[r.ids.n - 1].qid;
	}
}

struct step {
	struct listing *l;
	struct table *active;
	struct buf *out;
	enum rc rc;
	struct err e;
};

static void open_run(void *arg)
{
	struct step *s = arg;

	s->rc = listing_open(queue, &s->l, &s->e);
}

static void step_run(void *arg)
{
	struct step *s = arg;
	struct arena a;

	arena_init(&a);
	for (int i = 0; i < STEP; i++) {
		struct listed m;

		if ((s->rc = listing_next(s->l, &a, &m, &s->e)) != RC_OK)
			break;
		put_message(s->out, &m, table_get(s->active, qid_span(&m.id)) != NULL);
		arena_reset(&a);
	}
	arena_release(&a);
}

static void serve(struct service_conn *c)
{
	struct step s = { .rc = RC_OK };
	struct arena a;
	struct buf b;

	arena_init(&a);
	buf_init(&b, 64 * 1024 * 1024);
	s.out = &b;
	put(&b, "protocol",
	    SPAN("mail_queue_list_protocol")); /* a record of its own before the first message */
	(void)buf_putc(&b, '\0');
	s.active = active_ids(&a);
	task_offload(open_run, &s);
	if (s.rc != RC_OK)
		log_warning("listing: %s", s.e.text);
	do {
		task_offload(step_run, &s);
		stream_write(c->io, buf_span(&b));
		buf_reset(&b);
	} while (s.rc == RC_OK && stream_flush(c->io, deadline_s(100), &s.e) == RC_OK);
	stream_write(c->io, span_make("\0", 1));
	if (stream_flush(c->io, deadline_s(100), &s.e) != RC_OK)
		log_debug("client: %s", s.e.text);
	listing_close(&s.l);
	table_free(&s.active, NULL);
	buf_release(&b);
	arena_release(&a);
}

static size_t paths(struct arena *a, struct sandbox_path **out)
{
	struct sandbox_path *v = arena_array(a, 1, sizeof(*v));

	v[0] = (struct sandbox_path){ *service_queue_dir() ? service_queue_dir() : "/", SB_READ };
	*out = v;
	return 1;
}

static void start(void)
{
	struct err e;

	if (queue_open(service_queue_dir(), false, &queue, &e) != RC_OK)
		die("%s", e.text);
}

static const struct service showq = {
	.name = "showq",
	.kind = SV_STREAM,
	.user = "mail_owner",
	.rights = "stdio accept recvfd rpath",
	.paths = paths,
	.start = start,
	.serve = serve,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &showq);
}
