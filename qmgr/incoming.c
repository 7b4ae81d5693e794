/* qmgr/incoming.c - messages that are known and durable, but not active yet; and the scan of the queue at
 * start. */
#include "qmgr.h"
#include "log/log.h"
#include "service/service.h"
#include <unistd.h>

struct waiting {
	struct list link;
	enum queue_where where;
	uint32_t slot, generation;
	struct qid id;
	bool flushed;
};
static struct list waiting = { &waiting, &waiting };
/* Those of which is known that they have many recipients: they need room below qmgr_message_recipient_limit. */
static struct list large = { &large, &large };
static bool large_started; /* one at a time, for how many there are is known when it is read */
static size_t waiting_n;
static struct table
    *ids; /* every id this process has met and not settled: a second notice of the same message is ignored */

size_t incoming_count(void)
{
	return waiting_n;
}

/* The active set is full: one destination is mostly the reason (QSHAPE_README). */
static void warn_of_clog(void)
{
	static mono_t not_before;
	const struct dest *d;
	size_t n;

	if (qmgr_conf.clog_warn_s == 0 || mono_diff_ms(not_before, loop_now()) > 0)
		return;
	d = dest_fullest(&n);
	if (!d)
		return;
	not_before = mono_after(loop_now(), qmgr_conf.clog_warn_s * 1000);
	log_warning("mail for " SPAN_FMT " is using up %zu of %zu active queue entries",
		    SPAN_ARG(dest_nexthop(d)), n, active_rcpts);
	log_warning("you may need to increase the concurrency limit of transport %s, or to give this "
		    "destination a transport of its own",
		    dest_transport_name(d));
}

static void wait_for_room(struct list *list, const struct waiting *what)
{
	struct waiting *w = xcalloc(1, sizeof(*w));

	*w = *what;
	list_add_tail(list, &w->link);
	waiting_n++;
	if (!ids)
		ids = table_new();
	table_set(ids, qid_span(&w->id), w);
	warn_of_clog();
}

void incoming_add(enum queue_where where, uint32_t slot, uint32_t generation, const struct qid *id,
		  bool flushed)
{
	struct waiting w = {
		.where = where, .slot = slot, .generation = generation, .id = *id, .flushed = flushed
	};

	if (message_find(qid_span(id)) || (ids && table_get(ids, qid_span(id))))
		return;
	if (active_has_room() && list_empty(&waiting))
		message_start(where, slot, generation, id)->flushed =
		    flushed; /* its task runs only after this */
	else
		wait_for_room(&waiting, &w);
}

void incoming_postpone(const struct message *m)
{
	struct waiting w = { .where = m->where,
			     .slot = m->slot,
			     .generation = m->generation,
			     .id = m->id,
			     .flushed = m->flushed };

	wait_for_room(&large, &w);
}

static struct message *start(struct waiting *w)
{
	struct message *m;

	list_del(&w->link);
	waiting_n--;
	table_del(ids, qid_span(&w->id));
	m = message_start(w->where, w->slot, w->generation, &w->id);
	m->flushed = w->flushed;
	free(w);
	return m;
}

void incoming_refill(void)
{
	while (active_has_room()) {
		bool big = !list_empty(&large) && !large_started && active_has_room_for_many();
		struct list *first = list_first(big ? &large : &waiting);

		if (!first)
			break;
		large_started |= big;
		start(LIST_ENTRY(first, struct waiting, link))->large = big;
	}
	if (active_has_room())
		deferred_room();
}

void incoming_was_read(const struct message *m)
{
	if (m->large)
		large_started = false;
}

bool incoming_behind(void)
{
	return !list_empty(&waiting);
}

struct message *incoming_pull(struct span id)
{
	struct waiting *w = NULL;
	struct message *m;

	if (id.n > 0)
		w = ids ? table_get(ids, id) : NULL;
	else if (waiting_n > 0)
		w = LIST_ENTRY(list_first(list_empty(&waiting) ? &large : &waiting), struct waiting, link);
	if (!w)
		return NULL;
	m = start(w);
	m->told = true; /* its task runs only after this */
	return m;
}

struct again {
	enum queue_where where;
	uint32_t slot, generation;
	struct qid id;
};

static void again_task(void *arg)
{
	struct again *g = arg;

	task_sleep_ms(1000 * qmgr_conf.minimal_backoff_s);
	incoming_add(g->where, g->slot, g->generation, &g->id, false);
	free(g);
}

void incoming_again(enum queue_where where, uint32_t slot, uint32_t generation, const struct qid *id)
{
	struct again *g = xcalloc(1, sizeof(*g));

	*g = (struct again){ where, slot, generation, *id };
	task_spawn(again_task, g);
}

/* ---- the scan ---- */
struct found {
	enum queue_where where;
	uint32_t slot, generation;
	struct qid id;
	int64_t next_try_us;
	bool damaged,
	    gone; /* gone: it went since, or its name is not in the directory of its id: postsuper -s */
	char name[64];
};
struct scan {
	struct found *v;
	size_t n, cap;
	enum queue_where where;
	struct err e;
};

static struct found *scan_add(struct scan *s)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 256;
		s->v = xrealloc(s->v, s->cap * sizeof(*s->v));
	}
	s->v[s->n] = (struct found){ .where = s->where };
	return &s->v[s->n++];
}

static void scan_slots(struct scan *s)
{
	struct arena a;

	arena_init(&a);
	for (uint32_t slot = 0; slot < queue_slots(queue); slot++) {
		struct slot_pos pos = queue_slot(queue, slot);
		struct qimage im;

		if (pos.bytes > 0 &&
		    qimage_read(pos.fd, pos.base, pos.bytes, true, &a, &im, &s->e) == RC_OK) {
			struct found *f = scan_add(s);

			f->where = QW_SLOT;
			f->slot = slot;
			f->generation = im.generation;
			f->id = im.qid;
		}
		arena_reset(&a);
	}
	arena_release(&a);
}

static bool scan_name(void *arg, const struct qid *id, const char *name)
{
	struct scan *s = arg;
	struct found *f = scan_add(s);

	snprintf(f->name, sizeof(f->name), "%s", name);
	f->damaged = !id;
	if (id)
		f->id = *id;
	return true;
}

/* Times of deferred messages, from their headers. */
static void scan_times(struct scan *s)
{
	struct arena a;

	arena_init(&a);
	for (size_t i = 0; i < s->n; i++) {
		struct qimage im;
		enum rc rc;
		int fd;

		if (s->v[i].damaged)
			continue;
		rc = queue_file_open(queue, &s->v[i].id, s->where, false, &fd, &s->e);
		s->v[i].gone = rc == RC_NOTFOUND;
		if (rc != RC_OK)
			continue;
		if (qimage_read(fd, 0, UINT64_MAX, false, &a, &im, &s->e) == RC_OK)
			s->v[i].next_try_us = im.next_try_us;
		close(fd);
		arena_reset(&a);
	}
	arena_release(&a);
}

static void scan_run(void *arg)
{
	struct scan *s = arg;
	struct err e;

	if (s->where == QW_SLOT) {
		if (queue_pool_refresh(queue, &s->e) == RC_OK)
			scan_slots(s);
		return;
	}
	if (queue_list(queue, s->where, scan_name, s, &e) != RC_OK)
		s->e = e;
	if (s->where == QW_DEFERRED)
		scan_times(s);
}

static void take(const struct found *f)
{
	struct err e;

	if (f->damaged) {
		log_warning("%s: not a queue file: moved to corrupt", f->name);
		if (queue_file_corrupt(queue, f->name, f->where, &e) != RC_OK)
			log_warning("%s: %s", f->name, e.text);
		return;
	}
	if (f->gone)
		return;
	if (f->where != QW_DEFERRED) {
		incoming_add(f->where, f->slot, f->generation, &f->id, false);
		return;
	}
	if (!message_find(qid_span(&f->id)))
		deferred_add(&f->id, f->next_try_us);
}

/* deferred/ first: a message that is there and in a slot as well (a crash between the two steps of a
 * deferral) is the deferred one. */
void incoming_scan(void)
{
	const enum queue_where order[] = { QW_DEFERRED, QW_HOLD, QW_SLOT, QW_INCOMING, QW_ACTIVE };
	struct table *later = table_new();

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		struct scan s = { .where = order[i] };

		task_offload(scan_run, &s);
		for (size_t k = 0; k < s.n; k++) {
			struct found *f = &s.v[k];
			struct err e;

			if (f->where == QW_SLOT && table_get(later, qid_span(&f->id))) {
				struct slot_pos pos = queue_slot(queue, f->slot);

				if (qimage_mark_done(pos.fd, pos.base, &e) == RC_OK)
					slots_release(f->slot, f->generation);
				continue;
			}
			if ((f->where == QW_DEFERRED || f->where == QW_HOLD) && !f->damaged)
				table_set(later, qid_span(&f->id), later);
			if (f->where != QW_HOLD)
				take(f);
		}
		free(s.v);
	}
	table_free(&later, NULL);
}
