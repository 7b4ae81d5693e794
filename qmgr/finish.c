/* qmgr/finish.c - the end of a pass: every recipient of the message has a result. Bounces and success reports
 * go out first (a crash after that repeats a report, never loses one), then what is left is deferred, or the
 * message is removed. */
#include "qmgr.h"
#include "backoff.h"
#include "log/event.h"
#include "log/log.h"
#include "queue/verp.h"
#include "service/service.h"
#include "mime/address_log.h"
#include <unistd.h>

#define BOUNCE_CONTENT_MAX                                                                                   \
	(50 *                                                                                                \
	 1000) /* bounce_size_limit's default: more is not sent to bounce(8) anyway                     \
		     */

#define REPORT_RCPTS 500	 /* of one report */
#define REPORT_BYTES (20 * 1024) /* of its text: what bounce(8) has room for beside a header of any size */

/* ---- slots that are free again, and marks on their way to the disk ---- */
static struct slot_ref *freed;
static size_t freed_n, freed_cap;
static uint64_t dirty_files; /* pool files with marks that are not synced */
static struct waitq freed_more = { { &freed_more.waiters, &freed_more.waiters } };

void slots_release(uint32_t slot, uint32_t generation)
{
	if (freed_n == freed_cap) {
		freed_cap = freed_cap ? 2 * freed_cap : 64;
		freed = xrealloc(freed, freed_cap * sizeof(*freed));
	}
	freed[freed_n++] = (struct slot_ref){ slot, generation };
	dirty_files |= UINT64_C(1) << (slot / SLOT_COUNT);
	waitq_wake_one(&freed_more);
}

static void tell_cleanup(void)
{
	struct slot_ref batch[256];
	struct ipc_chan *c;
	struct err e;

	while (freed_n > 0) {
		size_t n = freed_n < ARRAY_LEN(batch) ? freed_n : ARRAY_LEN(batch);
		struct cleanup_slots msg = { { batch, n } };

		memcpy(batch, freed, n * sizeof(*batch));
		memmove(freed, freed + n, (freed_n - n) * sizeof(*freed));
		freed_n -= n;
		/* When it cannot be told: cleanup finds DONE slots itself when it runs out of free ones. */
		if (service_peer(conf_str(service_conf(), "cleanup_service_name"), &c, deadline_s(5), &e) !=
			RC_OK ||
		    ipc_notify(c, IPC_CLEANUP_SLOTS, &msg, deadline_s(5), &e) != RC_OK)
			return;
	}
}

static void release_task(void *unused)
{
	(void)unused;
	for (;;) {
		if (freed_n == 0 && waitq_wait(&freed_more, DEADLINE_NEVER) != RC_OK)
			continue;
		task_sleep_ms(2); /* a few at a time */
		tell_cleanup();
	}
}

static void sync_marks(void *arg)
{
	uint64_t *files = arg;
	struct err e;

	if (queue_pool_sync(queue, *files, &e) != RC_OK)
		*files = UINT64_MAX;
}

static void sync_task(void *unused)
{
	(void)unused;
	for (;;) {
		uint64_t files = dirty_files;

		dirty_files = 0;
		if (files)
			task_offload(sync_marks, &files);
		if (files == UINT64_MAX)
			log_warning(
			    "queue: marks could not be synced; mail may be delivered twice after a crash");
		task_sleep_ms(1000);
	}
}

void slots_start(void)
{
	task_spawn(release_task, NULL);
	task_spawn(sync_task, NULL);
}

/* ---- reports ---- */
struct source {
	const struct message *m;
	int fd;
	char *bytes;
	size_t n;
	bool cut;
};

static void source_open(void *arg)
{
	struct source *s = arg;
	const struct message *m = s->m;
	struct err e;

	s->fd = -1;
	if (m->where == QW_SLOT) {
		struct slot_pos pos = queue_slot(queue, m->slot);
		ssize_t got;

		s->n = m->im.content_bytes < BOUNCE_CONTENT_MAX ? m->im.content_bytes : BOUNCE_CONTENT_MAX;
		s->cut = s->n < m->im.content_bytes;
		s->bytes = xcalloc(1, s->n + 1);
		got = pread(pos.fd, s->bytes, s->n, pos.base + QFILE_CONTENT_OFF);
		s->n = got > 0 ? (size_t)got : 0;
	} else if (queue_file_open(queue, &m->id, m->where, false, &s->fd, &e) != RC_OK) {
		s->fd = -1;
	}
}

static void source_close(struct source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->bytes);
}

static void encode_envelope(const struct message *m, struct span sender, struct arena *a, struct span *out)
{
	struct envelope env = m->im.env;
	struct buf b;

	env.sender = sender;
	env.rcpts.n = 0;
	buf_init(&b, IPC_FRAME_MAX);
	if (envelope_encode(&env, &b) == RC_OK)
		*out = span_dup(a, buf_span(&b));
	buf_release(&b);
}

typedef bool wanted_fn(const struct message *m, size_t i);

static bool wants_failure(const struct message *m, size_t i)
{
	return m->run[i] == RUN_BOUNCED;
}

/* The sender was told of a delay that is over now (confirm_delay_cleared). */
static bool delay_cleared(const struct message *m, size_t i)
{
	return qmgr_conf.delay_cleared && (m->im.env.flags & ENVF_WARNED) && m->im.env.sender.n &&
	       !(envelope_rcpt(&m->im.env, i)->notify & NOTIFY_NEVER);
}

static bool wants_success(const struct message *m, size_t i)
{
	bool asked = envelope_rcpt(&m->im.env, i)->notify & NOTIFY_SUCCESS;

	if (m->run[i] != RUN_DONE)
		return false;
	if (m->ended[i].expansion != 0 && asked)
		return true;
	return m->ended[i].status != 0 && (delay_cleared(m, i) || (asked && m->ended[i].status != DS_PASSED));
}

static bool wants_delay(const struct message *m, size_t i)
{
	uint16_t notify = envelope_rcpt(&m->im.env, i)->notify;

	return m->run[i] == RUN_DEFERRED && (notify == 0 || (notify & NOTIFY_DELAY));
}

static bool wants_trace(const struct message *m, size_t i)
{
	return m->ended[i].status != 0 || m->run[i] == RUN_DEFERRED || m->run[i] == RUN_BOUNCED;
}

/* What one recipient takes in a report, about twice: once for people, once for programs. */
static size_t report_bytes(const struct bounce_rcpt *r)
{
	return 300 + 2 * (r->addr.n + r->orig.n + r->reason.n) + r->orcpt.n + r->diag_text.n +
	       r->remote_mta.n;
}

/* What a report of success, or of a trace, says: who did it, too. */
static struct span via(const struct message *m, size_t i, struct span reason, struct arena *a)
{
	struct span relay = m->ended[i].relay;

	return relay.n == 0 || span_is(relay, "none") ? reason
						      : span_printf(a, "delivery via " SPAN_FMT ": " SPAN_FMT,
								    SPAN_ARG(relay), SPAN_ARG(reason));
}

/* The success of recipient i, in terms of RFC 3461 section 5.2. */
static void of_success(const struct message *m, size_t i, struct bounce_rcpt *r)
{
	const struct ended *d = &m->ended[i];

	r->status = d->status;
	if (d->expansion != 0 && (r->notify & NOTIFY_SUCCESS)) {
		r->status = d->expansion;
		r->dsn = SPAN("2.0.0");
		r->reason = SPAN("alias expanded");
		r->diag_type = r->diag_text = r->remote_mta = SPAN_NONE;
	} else if (delay_cleared(m, i)) {
		r->notify |= NOTIFY_SUCCESS; /* bounce(8) goes by it */
		if (r->status == DS_PASSED)
			r->status = DS_RELAYED; /* the next host was not asked to tell */
	}
	if (r->dsn.n == 0)
		r->dsn = SPAN("2.0.0");
}

/* Recipients from *next on, as many as one report holds. */
static size_t collect(const struct message *m, enum bounce_kind kind, wanted_fn *wanted, size_t max,
		      size_t *next, struct bounce_rcpt *v, struct arena *a)
{
	size_t n = 0, bytes = 0;

	for (; *next < m->im.env.rcpts.n && n < max; ++*next) {
		size_t i = *next;
		const struct env_rcpt *r = envelope_rcpt(&m->im.env, i);
		const struct qstatus *s = &m->status[i];

		if (!wanted(m, i))
			continue;
		v[n] = (struct bounce_rcpt){ r->addr, r->orig,	 r->orcpt,     r->notify,    s->status,
					     s->dsn,  s->reason, s->diag_type, s->diag_text, s->remote_mta };
		if (m->run[i] == RUN_DONE)
			of_success(m, i, &v[n]);
		if (kind == BK_SUCCESS || kind == BK_TRACE)
			v[n].reason = via(m, i, v[n].reason, a);
		bytes += report_bytes(&v[n]);
		if (n > 0 && bytes > REPORT_BYTES)
			break; /* the next report begins with it */
		n++;
	}
	return n;
}

static bool send_report(struct message *m, struct span sender, struct bounce_send *q,
			const char *service_param)
{
	struct bounce_send_reply r = { .code = 0 };
	struct source s = { .m = m };
	struct extent_item *x;
	struct arena a;
	struct err e;
	enum rc rc;

	arena_init(&a);
	task_offload(source_open, &s);
	encode_envelope(m, sender, &a, &q->envelope);
	q->content = span_make(s.bytes, s.n);
	q->content_cut = s.cut;
	q->fd = s.fd;
	x = arena_array(&a, m->im.extents + 1, sizeof(*x));
	for (size_t i = 0; i < m->im.extents; i++)
		x[i] = (struct extent_item){ m->im.extent[i].off, m->im.extent[i].len };
	q->extents = (struct ipc_list){ x, m->im.extents };
	rc = service_request(conf_str(service_conf(), service_param), true, IPC_BOUNCE_SEND, q, &r, &a,
			     deadline_s(300), &e);
	if (rc != RC_OK)
		log_warning("%s: %s service failure: %s", m->id.s, service_param, e.text);
	else if (r.code != 0)
		log_warning("%s: bounce not sent: " SPAN_FMT, m->id.s, SPAN_ARG(r.text));
	source_close(&s);
	arena_release(&a);
	return rc == RC_OK && r.code == 0;
}

/* Failures and delays of a VERP message are reported one by one, to the address that tells the recipient. */
static bool verp_report(const struct message *m, enum bounce_kind kind)
{
	return m->im.env.verp.n > 0 && (kind == BK_FAILURE || kind == BK_DELAY) &&
	       !conf_bool(service_conf(), "disable_verp_bounces");
}

static struct span report_sender(const struct message *m, const struct bounce_rcpt *r, struct arena *a)
{
	return verp_sender(m->im.env.sender, m->im.env.verp, r->orig.n > 0 ? r->orig : r->addr, a);
}

/* True when bounce(8) took it all (or there was nothing to say). Very many recipients make more than one
 * report, RFC 3464 2.1.1. */
static bool report(struct message *m, enum bounce_kind kind, const char *service_param, wanted_fn *wanted,
		   int64_t until_us)
{
	bool verp = verp_report(m, kind);
	struct bounce_rcpt *v = NULL;
	struct arena a;
	bool ok = true;

	arena_init(&a);
	for (size_t next = 0; ok && next < m->im.env.rcpts.n;) {
		struct bounce_send q = { .kind = (uint16_t)kind, .fd = -1, .retry_until_us = until_us };

		if (!v)
			v = xcalloc(REPORT_RCPTS, sizeof(*v));
		q.rcpts =
		    (struct ipc_list){ v, collect(m, kind, wanted, verp ? 1 : REPORT_RCPTS, &next, v, &a) };
		if (q.rcpts.n > 0)
			ok = send_report(m, verp ? report_sender(m, v, &a) : m->im.env.sender, &q,
					 service_param);
		arena_reset(&a);
	}
	arena_release(&a);
	free(v);
	return ok;
}

/* ---- what is left ---- */
static size_t count(const struct message *m, enum run_state s)
{
	size_t n = 0;

	for (size_t i = 0; i < m->im.env.rcpts.n; i++)
		n += m->run[i] == s;
	return n;
}

static void turn(struct message *m, enum run_state from, enum run_state to)
{
	for (size_t i = 0; i < m->im.env.rcpts.n; i++)
		if (m->run[i] == from)
			m->run[i] = (uint8_t)to;
}

static int64_t lifetime_s(const struct message *m)
{
	return m->im.env.sender.n ? qmgr_conf.lifetime_s : qmgr_conf.bounce_lifetime_s;
}

static void expire(struct message *m)
{
	if (!(m->im.env.flags & ENVF_EXPIRE) &&
	    !backoff_expired(wall_now().us, message_since_us(m), lifetime_s(m)))
		return;
	if (count(m, RUN_DEFERRED) == 0)
		return;
	struct span from = address_log(m->im.env.sender);
	log_info("%s: from=<" SPAN_FMT ">, status=%s, returned to sender", m->id.s, SPAN_ARG(from),
		 m->im.env.flags & ENVF_EXPIRE ? "force-expired" : "expired");
	EVENT("expired", EV_TEXT("queue_id", qid_span(&m->id)), EV_TEXT("sender", m->im.env.sender),
	      EV_FLAG("forced", m->im.env.flags & ENVF_EXPIRE));
	turn(m, RUN_DEFERRED, RUN_BOUNCED);
}

struct settle_job {
	struct message *m;
	enum queue_where to;
	struct qstatus *log;
	size_t log_n;
	enum rc rc;
	struct err e;
};

static void remove_run(void *arg)
{
	struct settle_job *j = arg;

	if (j->m->where == QW_SLOT) {
		struct slot_pos pos = queue_slot(queue, j->m->slot);

		j->rc = qimage_mark_done(pos.fd, pos.base, &j->e);
	} else {
		j->rc = queue_file_remove(queue, &j->m->id, j->m->where, &j->e);
	}
}

static void remove_message(struct message *m)
{
	struct settle_job j = { .m = m };

	if (m->where == QW_SLOT)
		remove_run(&j); /* one small write into the page cache */
	else
		task_offload(remove_run, &j);
	if (j.rc != RC_OK)
		log_warning("%s: remove: %s", m->id.s, j.e.text);
	else if (m->where == QW_SLOT)
		slots_release(m->slot, m->generation);
	log_info("%s: removed", m->id.s);
	EVENT("removed", EV_TEXT("queue_id", qid_span(&m->id)));
}

/* Into a file of its own in `to`, with states, schedule and the reasons; the slot, or the former name, ends
 * after that. */
static void keep_run(void *arg)
{
	struct settle_job *j = arg;
	struct message *m = j->m;
	int fd = -1;

	if (m->where == QW_SLOT) {
		struct slot_pos pos = queue_slot(queue, m->slot);

		j->rc = queue_slot_to_file(queue, m->slot, &m->im, j->to, j->log, j->log_n, &j->e);
		if (j->rc == RC_OK)
			j->rc = qimage_mark_done(pos.fd, pos.base, &j->e);
		return;
	}
	j->rc = queue_file_open(queue, &m->id, m->where, true, &fd, &j->e);
	if (j->rc != RC_OK)
		return;
	for (uint32_t i = 0; i < m->im.env.rcpts.n && j->rc == RC_OK; i++)
		if (m->run[i] == RUN_DONE)
			j->rc = qimage_mark(fd, 0, &m->im, i, RCPT_DONE, &j->e);
	if (j->rc == RC_OK)
		j->rc = qimage_schedule(fd, 0, m->im.next_try_us, m->im.attempts, m->im.env.flags, &j->e);
	if (j->rc == RC_OK && j->log_n)
		j->rc = qimage_append_log(fd, j->log, j->log_n, &j->e);
	if (j->rc == RC_OK && fdatasync(fd) != 0)
		j->rc = err_sys(&j->e, "fdatasync");
	close(fd);
	if (j->rc == RC_OK && m->where != j->to)
		j->rc = queue_file_move(queue, &m->id, m->where, j->to, &j->e);
}

/* False: it is not in `to` now (gone, or to be tried again where it is). */
static bool keep_message(struct message *m, enum queue_where to)
{
	struct settle_job j = { .m = m, .to = to };

	j.log = arena_array(&m->arena, m->im.env.rcpts.n + 1, sizeof(*j.log));
	for (size_t i = 0; i < m->im.env.rcpts.n; i++) {
		envelope_rcpt(&m->im.env, i)->state = m->run[i] == RUN_DONE ? RCPT_DONE : RCPT_TODO;
		if (m->run[i] == RUN_DEFERRED && m->status[i].status)
			j.log[j.log_n++] = m->status[i];
	}
	task_offload(keep_run, &j);
	if (j.rc == RC_GONE || j.rc == RC_NOTFOUND)
		return false; /* removed under our feet */
	if (j.rc != RC_OK) {  /* it stays where it is: durable, and tried again */
		log_warning("%s: cannot be moved to the deferred queue: %s", m->id.s, j.e.text);
		incoming_again(m->where, m->slot, m->generation, &m->id);
		return false;
	}
	if (m->where == QW_SLOT)
		slots_release(m->slot, m->generation);
	return true;
}

static void defer_message(struct message *m)
{
	int64_t now = wall_now().us, age = now - m->im.env.arrival_us;

	if (qmgr_conf.delay_warning_s > 0 && age > qmgr_conf.delay_warning_s * 1000000 &&
	    m->im.env.sender.n && !(m->im.env.flags & ENVF_WARNED) &&
	    report(m, BK_DELAY, "defer_service_name", wants_delay,
		   m->im.env.arrival_us + lifetime_s(m) * 1000000))
		m->im.env.flags |= ENVF_WARNED;
	m->im.attempts++;
	m->im.next_try_us = backoff_next_us(now, message_since_us(m), qmgr_conf.minimal_backoff_s,
					    qmgr_conf.maximal_backoff_s);
	if (keep_message(m, QW_DEFERRED))
		deferred_add(&m->id, m->im.next_try_us);
}

static void requeue_run(void *arg)
{
	struct settle_job *j = arg;
	const struct message *m = j->m;

	j->rc = RC_OK;
	if (m->where == QW_SLOT) /* its end first: a crash must not bring it back beside the new message */
		j->rc = queue_pool_sync(queue, UINT64_C(1) << (m->slot / SLOT_COUNT), &j->e);
	if (j->rc == RC_OK)
		j->rc = queue_file_requeue(queue, &m->id, QW_DEFERRED, &j->e);
}

/* Pickup takes what lies in maildrop/ now. Once for all that are requeued together. */
static bool pickup_due;

static void wake_pickup(void *unused)
{
	(void)unused;
	task_sleep_ms(50);
	pickup_due = false;
	service_peer_wake(conf_str(service_conf(), "pickup_service_name"));
}

/* To pickup(8); as a deferred message, so that it is in a file. */
static void requeue_message(struct message *m)
{
	struct settle_job j = { .m = m };

	m->im.next_try_us = 0;
	if (!keep_message(m, QW_DEFERRED))
		return;
	task_offload(requeue_run, &j);
	if (j.rc == RC_OK && !pickup_due) {
		pickup_due = true;
		task_spawn(wake_pickup, NULL);
	}
	if (j.rc == RC_OK || j.rc == RC_NOTFOUND)
		return;
	log_warning("%s: not requeued: %s", m->id.s, j.e.text);
	deferred_add(&m->id, 0);
}

static void operator_asked(struct message *m)
{
	switch (m->end) {
	case END_NORMAL:
	case END_RELEASE:
		break;
	case END_DELETE:
		remove_message(m);
		break;
	case END_HOLD:
		(void)keep_message(m, QW_HOLD);
		break;
	case END_REQUEUE:
		requeue_message(m);
		break;
	}
}

/* With all recipients alike (stands_for_several() in message.c), or one. */
static void tell_verify(const struct message *m)
{
	static const uint8_t order[] = { RUN_DONE, RUN_BOUNCED, RUN_DEFERRED };
	struct verify_result v = { .status = ARRAY_LEN(order) };
	struct ipc_chan *c;
	struct err e;
	enum rc rc;

	for (size_t i = 0; i < m->im.env.rcpts.n; i++) {
		const struct env_rcpt *r = envelope_rcpt(&m->im.env, i);

		for (uint16_t k = 0; k < v.status; k++)
			if (m->run[i] == order[k])
				v = (struct verify_result){ r->orig.n ? r->orig : r->addr, k,
							    span_head(m->status[i].reason, 1000) };
	}
	if (v.status == ARRAY_LEN(order))
		return;
	rc = service_peer(conf_str(service_conf(), "address_verify_service_name"), &c, deadline_s(10), &e);
	if (rc == RC_OK)
		rc = ipc_notify(c, IPC_VERIFY_RESULT, &v, deadline_s(10), &e);
	if (rc != RC_OK)
		log_warning("%s: address_verify_service_name: %s", m->id.s, e.text);
}

static void finish_task(void *arg)
{
	struct message *m = arg;
	enum message_end end = m->end = m->end == END_RELEASE ? END_NORMAL : m->end;
	bool expire_now = m->order_expire;
	struct qid id = m->id;

	if (m->order_expire)
		m->im.env.flags |= ENVF_EXPIRE;
	if (message_is_probe(m)) { /* never delivered, so never again either */
		if (m->im.env.flags & ENVF_PROBE)
			tell_verify(m);
		else
			(void)report(m, BK_TRACE, "trace_service_name", wants_trace, 0);
		remove_message(m);
	} else if (m->end != END_NORMAL && count(m, RUN_DEFERRED) + count(m, RUN_BOUNCED) > 0) {
		operator_asked(m);
	} else {
		expire(m);
		if (count(m, RUN_BOUNCED) > 0)
			turn(m, RUN_BOUNCED,
			     report(m, BK_FAILURE, "bounce_service_name", wants_failure, 0) ? RUN_DONE
											    : RUN_DEFERRED);
		(void)report(m, BK_SUCCESS, "trace_service_name", wants_success, 0);
		if (m->im.env.flags & ENVF_TRACE)
			(void)report(m, BK_TRACE, "trace_service_name", wants_trace, 0);
		if (count(m, RUN_DEFERRED) > 0)
			defer_message(m);
		else
			remove_message(m);
	}
	/* what was asked for meanwhile holds for what the message has become */
	end = m->end != end ? m->end : END_NORMAL;
	expire_now = m->order_expire && !expire_now;
	message_free(m);
	control_late(end, expire_now, &id);
	incoming_refill();
	service_unhold();
}

void message_finish(struct message *m)
{
	service_hold();
	task_spawn(finish_task, m);
}
