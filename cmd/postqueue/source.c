/* cmd/postqueue/source.c - the messages of the queue, from showq(8) or from disk. */
#include "postqueue.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "queue/listing.h"
#include "service/client.h"
#include <errno.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define VALUE_MAX (64 * 1024) /* of one attribute */

struct reader {
	int fd;
	char buf[65536];
	size_t n, at;
};

static int next_byte(struct reader *r)
{
	ssize_t got;

	if (r->at == r->n) {
		do
			got = read(r->fd, r->buf, sizeof(r->buf));
		while (got < 0 && errno == EINTR);
		if (got <= 0)
			return -1;
		r->n = (size_t)got;
		r->at = 0;
	}
	return (unsigned char)r->buf[r->at++];
}

/* Up to the next NUL; false at the end of the stream. */
static bool next_string(struct reader *r, struct buf *out)
{
	int c;

	buf_reset(out);
	while ((c = next_byte(r)) > 0)
		(void)buf_putc(out, (char)c);
	return c == 0 && buf_ok(out);
}

static int64_t number(struct span s)
{
	uint64_t v;

	return span_to_u64(s, INT64_MAX, &v) == RC_OK ? (int64_t)v : 0;
}

static void take_rcpt_attribute(struct queued_rcpt *r, struct span name, struct span value, struct arena *a)
{
	if (span_is(name, "orig_recipient"))
		r->orig = span_dup(a, value);
	else if (span_is(name, "reason") || span_is(name, "bounce_reason")) {
		r->reason = span_dup(a, value);
		r->bounced = span_is(name, "bounce_reason");
	}
}

static void take_attribute(struct queued *m, struct span name, struct span value, struct arena *a)
{
	if (span_is(name, "queue_name")) {
		m->queue = span_dup(a, value);
	} else if (span_is(name, "queue_id")) {
		m->id = span_dup(a, value);
	} else if (span_is(name, "time")) {
		m->arrival_s = number(value);
	} else if (span_is(name, "size")) {
		m->size = number(value);
	} else if (span_is(name, "forced_expire")) {
		m->forced_expire = number(value) != 0;
	} else if (span_is(name, "sender")) {
		m->sender = span_dup(a, value);
	} else if (span_is(name, "recipient")) {
		if (m->rcpts == m->cap)
			m->rcpt = arena_grow(a, m->rcpt, m->rcpts, &m->cap, sizeof(*m->rcpt));
		m->rcpt[m->rcpts++] = (struct queued_rcpt){ .addr = span_dup(a, value) };
	} else if (m->rcpts > 0) {
		take_rcpt_attribute(&m->rcpt[m->rcpts - 1], name, value, a);
	}
}

static void from_showq(int fd, queued_fn *fn, void *arg)
{
	struct reader *r = xcalloc(1, sizeof(*r));
	struct queued m = { .size = 0 };
	struct buf name, value;
	struct arena a;
	bool any = false;

	r->fd = fd;
	arena_init(&a);
	buf_init(&name, 256);
	buf_init(&value, VALUE_MAX);
	for (;;) {
		if (!next_string(r, &name))
			die_status(EX_UNAVAILABLE, "malformed queue listing");
		if (name.n == 0) {
			if (!any)
				break; /* the listing's end */
			if (m.id.n)    /* not the announcement of the protocol */
				fn(arg, &m);
			m = (struct queued){ .size = 0 };
			arena_reset(&a);
			any = false;
			continue;
		}
		if (!next_string(r, &value))
			die_status(EX_UNAVAILABLE, "malformed queue listing");
		take_attribute(&m, buf_span(&name), buf_span(&value), &a);
		any = true;
	}
	buf_release(&name);
	buf_release(&value);
	arena_release(&a);
	free(r);
	close(fd);
}

static void from_disk(const struct conf *c, queued_fn *fn, void *arg)
{
	struct queue *q;
	struct listing *l;
	struct listed in;
	struct arena a;
	struct err e;

	if (queue_open(conf_str(c, "queue_directory"), false, &q, &e) != RC_OK)
		die_status(EX_UNAVAILABLE, "%s", e.text);
	if (listing_open(q, &l, &e) != RC_OK)
		log_warning("%s", e.text);
	arena_init(&a);
	while (listing_next(l, &a, &in, &e) == RC_OK) {
		const struct envelope *env = &in.image.env;
		struct queued m = { .queue = span_str(in.queue),
				    .id = qid_span(&in.id),
				    .size = (int64_t)env->size };

		m.sender = env->sender.n ? env->sender : SPAN("MAILER-DAEMON");
		m.arrival_s = env->arrival_us / 1000000;
		m.forced_expire = env->flags & ENVF_EXPIRE;
		for (size_t i = 0; i < env->rcpts.n; i++) {
			const struct env_rcpt *rcpt = envelope_rcpt(env, i);

			if (rcpt->state == RCPT_DONE)
				continue;
			if (m.rcpts == m.cap)
				m.rcpt = arena_grow(&a, m.rcpt, m.rcpts, &m.cap, sizeof(*m.rcpt));
			m.rcpt[m.rcpts++] = (struct queued_rcpt){
				.addr = rcpt->addr,
				.orig = rcpt->orig,
				.reason = in.why[i].status ? in.why[i].reason : SPAN_NONE,
				.bounced = in.why[i].status == DS_BOUNCED,
			};
		}
		fn(arg, &m);
		arena_reset(&a);
	}
	arena_release(&a);
	listing_close(&l);
	queue_close(&q);
}

void source_each(const struct conf *c, queued_fn *fn, void *arg)
{
	struct err e;
	int fd;
	enum rc rc = client_connect(c, "public", conf_str(c, "showq_service_name"), SOCK_STREAM, &fd, &e);

	if (rc == RC_OK) {
		from_showq(fd, fn, arg);
		return;
	}
	if (rc == RC_NOTFOUND && geteuid() == 0) {
		log_warning("Mail system is down -- accessing queue directly (%s)", e.text);
		from_disk(c, fn, arg);
		return;
	}
	die_status(EX_UNAVAILABLE, "Queue report unavailable - mail system is down (%s)", e.text);
}
