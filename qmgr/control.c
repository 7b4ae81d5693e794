/* qmgr/control.c - what postqueue(1), postsuper(1) and showq(8) ask while the queue is being worked on. */
#include "qmgr.h"
#include "log/log.h"
#include "service/service.h"
#include <unistd.h>

#define WAITING_AT_ONCE 100

static bool wanted_queue(uint16_t queues, enum queue_where where)
{
	return queues == 0 || (queues & (1u << where));
}

/* An active message counts as one of "active", and of "incoming" when that is where it lies on disk. */
static bool wanted_active(uint16_t queues, enum queue_where where)
{
	return wanted_queue(queues, QW_ACTIVE) || (where != QW_DEFERRED && wanted_queue(queues, where));
}

/* ---- operations on a message that lies in a directory ---- */
struct file_job {
	struct qid id;
	enum queue_where where, to;
	uint16_t op;
	int64_t next_try_us; /* of what is deferred now */
	enum rc rc;
	struct err e;
};

/* The header's time and flags; `flag` is added to them, for an attempt at once. */
static enum rc look(struct file_job *j, uint32_t flag)
{
	struct arena a;
	struct qimage im;
	int fd = -1;
	enum rc rc;

	arena_init(&a);
	rc = queue_file_open(queue, &j->id, j->where, true, &fd, &j->e);
	if (rc == RC_OK)
		rc = qimage_read(fd, 0, UINT64_MAX, false, &a, &im, &j->e);
	if (rc == RC_OK)
		j->next_try_us = flag == 0 ? im.next_try_us : 0;
	if (rc == RC_OK && flag != 0)
		rc = qimage_schedule(fd, 0, 0, im.attempts, im.env.flags | flag, &j->e);
	if (fd >= 0)
		close(fd);
	arena_release(&a);
	return rc;
}

static void file_run(void *arg)
{
	struct file_job *j = arg;

	switch (j->op) {
	case QOP_DELETE:
		j->rc = queue_file_remove(queue, &j->id, j->where, &j->e);
		break;
	case QOP_RELEASE:
		if ((j->rc = look(j, 0)) != RC_OK)
			break;
		/* fall through */
	case QOP_HOLD:
		j->rc = queue_file_move(queue, &j->id, j->where, j->to, &j->e);
		break;
	case QOP_EXPIRE:
		j->rc = look(j, ENVF_EXPIRE);
		break;
	case QOP_REQUEUE:
		j->rc = queue_file_requeue(queue, &j->id, j->where, &j->e);
		break;
	default:
		j->rc = RC_SYNTAX;
	}
}

static bool on_file(uint16_t op, const struct qid *id, enum queue_where where)
{
	struct file_job j = {
		.id = *id, .where = where, .op = op, .to = op == QOP_HOLD ? QW_HOLD : QW_DEFERRED
	};

	task_offload(file_run, &j);
	if (j.rc != RC_OK && j.rc != RC_NOTFOUND)
		log_warning("%s: %s", id->s, j.e.text);
	if (j.rc != RC_OK)
		return false;
	if (op == QOP_DELETE || op == QOP_HOLD || op == QOP_REQUEUE)
		(void)deferred_forget(qid_span(id));
	else if (where != QW_HOLD || op != QOP_EXPIRE) /* what is held waits, expired or not */
		deferred_add(id, j.next_try_us);
	return true;
}

/* An active message: the wish is noted, and granted when its deliveries are over; what is delivered by then
 * is delivered. */
static bool on_active(uint16_t op, struct message *m)
{
	switch (op) {
	case QOP_DELETE:
		m->end = END_DELETE;
		return true;
	case QOP_HOLD:
		m->end = END_HOLD;
		return true;
	case QOP_REQUEUE:
		m->end = END_REQUEUE;
		return true;
	case QOP_EXPIRE:
		m->order_expire = true; /* its envelope may not be read yet */
		return true;
	case QOP_RELEASE: /* from the hold that it has not reached yet */
		if (m->end != END_HOLD)
			return false;
		m->end = END_RELEASE;
		return true;
	default:
		return false;
	}
}

/* Whether what an operator says of these queues is said of an active message that lies in `where`. */
static bool means_active(uint16_t op, uint16_t queues, enum queue_where where)
{
	return op == QOP_RELEASE ? wanted_queue(queues, QW_HOLD) : wanted_active(queues, where);
}

static uint32_t on_one(uint16_t op, uint16_t queues, const struct qid *id)
{
	struct message *m = message_find(qid_span(id));

	if (m)
		return means_active(op, queues, m->where) && on_active(op, m);
	if (op != QOP_RELEASE && wanted_active(queues, QW_ACTIVE) && (m = incoming_pull(qid_span(id))))
		return on_active(op, m);
	if (op != QOP_RELEASE && wanted_queue(queues, QW_DEFERRED) && on_file(op, id, QW_DEFERRED))
		return 1;
	if (op != QOP_HOLD && wanted_queue(queues, QW_HOLD) && on_file(op, id, QW_HOLD))
		return 1;
	return 0;
}

void control_late(enum message_end end, bool expire, const struct qid *id)
{
	static const uint16_t op[] = {
		[END_DELETE] = QOP_DELETE,
		[END_HOLD] = QOP_HOLD,
		[END_RELEASE] = QOP_RELEASE,
		[END_REQUEUE] = QOP_REQUEUE,
	};

	if (expire)
		(void)on_one(QOP_EXPIRE, 0, id);
	if (end != END_NORMAL)
		(void)on_one(op[end], 0, id);
}

struct ids {
	struct qid *v;
	size_t n, cap;
	enum queue_where where;
};

static bool add_id(void *arg, const struct qid *id, const char *name)
{
	struct ids *l = arg;

	(void)name;
	if (!id)
		return true;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 256;
		l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
	}
	l->v[l->n++] = *id;
	return true;
}

static void list_run(void *arg)
{
	struct ids *l = arg;
	struct err e;

	if (queue_list(queue, l->where, add_id, l, &e) != RC_OK)
		l->n = 0; /* nothing is touched rather than half of it */
}

/* Beyond the active limit: they come in just to be told. A few more than the limit at a time. */
static uint32_t on_waiting(uint16_t op, uint16_t queues)
{
	uint32_t done = 0;
	struct message *m;

	if (op == QOP_RELEASE || !wanted_active(queues, QW_ACTIVE))
		return 0;
	for (size_t left = incoming_count(); left > 0 && (m = incoming_pull(SPAN_NONE)); left--) {
		done += on_active(op, m);
		while ((int64_t)active_count > qmgr_conf.active_max + WAITING_AT_ONCE && !service_draining())
			task_sleep_ms(1);
	}
	return done;
}

static uint32_t on_all(uint16_t op, uint16_t queues)
{
	const enum queue_where dirs[] = { QW_DEFERRED, QW_HOLD };
	uint32_t done = 0;

	LIST_EACH(it, &active_messages)
	{
		struct message *m = LIST_ENTRY(it, struct message, link);

		if (means_active(op, queues, m->where))
			done += on_active(op, m);
	}
	done += on_waiting(op, queues);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		struct ids l = { .where = dirs[i] };

		if (!wanted_queue(queues, dirs[i]) || (op == QOP_HOLD && dirs[i] == QW_HOLD) ||
		    (op == QOP_RELEASE && dirs[i] != QW_HOLD))
			continue;
		task_offload(list_run, &l);
		for (size_t k = 0; k < l.n; k++)
			done += on_file(op, &l.v[k], dirs[i]);
		free(l.v);
	}
	return done;
}

/* Deferred mail for one site: recipients' domains are in the files. */
struct site_job {
	struct ids *ids;
	struct span site;
	size_t n;
};

static bool for_site(const struct qid *id, struct span site)
{
	struct arena a;
	struct qimage im;
	struct err e;
	bool hit = false;
	int fd = -1;

	arena_init(&a);
	if (queue_file_open(queue, id, QW_DEFERRED, false, &fd, &e) == RC_OK &&
	    qimage_read(fd, 0, UINT64_MAX, false, &a, &im, &e) == RC_OK)
		for (size_t i = 0; i < im.env.rcpts.n && !hit; i++) {
			struct env_rcpt *r = envelope_rcpt(&im.env, i);

			hit = r->state != RCPT_DONE && r->addr.n > site.n &&
			      r->addr.p[r->addr.n - site.n - 1] == '@' && span_ends_ci(r->addr, site);
		}
	if (fd >= 0)
		close(fd);
	arena_release(&a);
	return hit;
}

static void site_run(void *arg)
{
	struct site_job *j = arg;

	for (size_t i = 0; i < j->ids->n; i++)
		if (for_site(&j->ids->v[i], j->site))
			j->ids->v[j->n++] = j->ids->v[i];
}

static uint32_t flush_site(struct span site)
{
	struct ids l = { .where = QW_DEFERRED };
	struct site_job j = { &l, site, 0 };
	uint32_t woken = 0;

	task_offload(list_run, &l);
	task_offload(site_run, &j);
	for (size_t i = 0; i < j.n; i++)
		woken += deferred_wake(qid_span(&l.v[i]));
	free(l.v);
	return woken;
}

void answer_control(struct ipc_call *call, const void *request)
{
	const struct qmgr_control *q = request;
	const struct ipc_peer *peer = ipc_chan_peer(ipc_call_chan(call));
	struct qmgr_control_reply r = { .code = 0 };
	struct qid id = { "" };
	bool all = span_is(q->arg, "ALL");

	/* Flushing is for everybody whom postqueue(1) lets through; changing the queue is for root and the
	 * queue's owner. */
	if (q->op >= QOP_DELETE && q->op <= QOP_EXPIRE && !*peer->program && peer->uid != 0 &&
	    peer->uid != geteuid()) {
		r.code = 2;
	} else if (q->op == QOP_FLUSH) {
		dest_revive_all();
		r.count = deferred_wake(SPAN_NONE);
	} else if (q->op == QOP_FLUSH_SITE) {
		r.count = flush_site(q->arg);
	} else if (q->op == QOP_RESCAN) {
		incoming_scan();
	} else if (q->op == QOP_BEHIND) {
		r.count = incoming_behind();
	} else if (all && q->op != QOP_FLUSH_ID) {
		r.count = on_all(q->op, q->queues);
	} else if (!qid_parse(q->arg, &id)) {
		r.code = 3;
		r.text = SPAN("malformed queue id");
	} else {
		r.count = q->op == QOP_FLUSH_ID ? deferred_wake(q->arg) : on_one(q->op, q->queues, &id);
		r.code = r.count ? 0 : 1;
	}
	ipc_reply(call, &r);
}

static int by_id(const void *a, const void *b)
{
	const struct qid_item *x = a, *y = b;

	return span_cmp(x->qid, y->qid);
}

void answer_active(struct ipc_call *call, const void *request)
{
	const struct qmgr_active *q = request;
	struct arena *a = ipc_call_arena(call);
	struct qid_item *v = arena_array(a, active_count + 1, sizeof(*v));
	struct qmgr_active_reply r = { { v, 0 } };
	size_t n = 0;

	LIST_EACH(it, &active_messages)
	{
		struct message *m = LIST_ENTRY(it, struct message, link);

		if (span_cmp(qid_span(&m->id), q->after) > 0)
			v[n++].qid = span_dup(a, qid_span(&m->id));
	}
	qsort(v, n, sizeof(*v), by_id);
	r.ids.n = n < 1000 ? n : 1000;
	ipc_reply(call, &r);
}
