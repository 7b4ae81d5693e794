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
	bool damaged;
	bool
	    gone; /* it went since, or its name is not in the directory of its id: postsuper -s; of a slot: its file is the message */
	bool whole,
	    torn; /* of a file whose message is in a slot, too: all of it is on disk, or a crash came before that */
	char name[64];
};
struct scan {
	struct found *v;
	size_t n, cap;
	enum queue_where where;
	struct table *slots; /* id -> struct found, of all slots */
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

/* The time of a deferred message, from its header; all of a file whose message is in a slot, too. */
static void look_into(const struct scan *s, struct found *f, struct arena *a)
{
	bool twice = table_get(s->slots, qid_span(&f->id)) != NULL;
	struct qimage im;
	struct err e;
	enum rc rc;
	int fd;

	if (s->where != QW_DEFERRED && !twice)
		return;
	rc = queue_file_open(queue, &f->id, s->where, false, &fd, &e);
	f->gone = rc == RC_NOTFOUND;
	if (rc != RC_OK)
		return;
	rc = qimage_read(fd, 0, UINT64_MAX, twice, a, &im, &e);
	if (rc == RC_OK)
		f->next_try_us = im.next_try_us;
	f->whole = twice && (rc == RC_OK || rc == RC_GONE);
	f->torn = twice && (rc == RC_NOTFOUND || rc == RC_SYNTAX);
	close(fd);
}

static void look_into_all(struct scan *s)
{
	struct arena a;

	arena_init(&a);
	for (size_t i = 0; i < s->n; i++) {
		if (!s->v[i].damaged)
			look_into(s, &s->v[i], &a);
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
	if (s->where == QW_DEFERRED || s->where == QW_HOLD)
		look_into_all(s);
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

/* Is it still what the scan has found there? */
static bool slot_holds(const struct found *f)
{
	struct slot_pos pos = queue_slot(queue, f->slot);
	struct qimage im;
	struct arena a;
	struct err e;
	bool same;

	arena_init(&a);
	same = qimage_read(pos.fd, pos.base, pos.bytes, false, &a, &im, &e) == RC_OK &&
	       im.generation == f->generation && span_eq(qid_span(&im.qid), qid_span(&f->id));
	arena_release(&a);
	return same;
}

/* A message that is in deferred/ or hold/ and in a slot as well: a crash came between the two steps of a deferral. The file is the message
 * when all of it is on disk; else the slot is. */
static void settle_twin(struct found *file, struct found *slot)
{
	struct slot_pos pos = queue_slot(queue, slot->slot);
	struct err e = { .text = "" };

	if (message_find(qid_span(&file->id)))
		return; /* who works on it ends it */
	if (file->torn) {
		file->gone = true;
		deferred_forget(qid_span(&file->id));
		if (queue_file_remove(queue, &file->id, file->where, &e) != RC_OK)
			log_warning("%s", e.text);
		return;
	}
	slot->gone = true;
	if (file->whole && slot_holds(slot) && qimage_mark_done(pos.fd, pos.base, &e) == RC_OK)
		slots_release(slot->slot, slot->generation);
}

static void scan_and_take(enum queue_where where, struct table *slots)
{
	struct scan s = { .where = where, .slots = slots };

	task_offload(scan_run, &s);
	for (size_t i = 0; i < s.n; i++) {
		struct found *f = &s.v[i], *slot = NULL;

		if (slots != NULL && !f->damaged && !f->gone)
			slot = table_get(slots, qid_span(&f->id));
		if (slot != NULL)
			settle_twin(f, slot);
		if (where != QW_HOLD)
			take(f);
	}
	free(s.v);
}

void incoming_scan(void)
{
	struct scan slots = { .where = QW_SLOT };
	struct table *by_id = table_new();

	task_offload(scan_run, &slots);
	for (size_t i = 0; i < slots.n; i++)
		(void)table_set(by_id, qid_span(&slots.v[i].id), &slots.v[i]);
	scan_and_take(QW_DEFERRED, by_id);
	scan_and_take(QW_HOLD, by_id);
	for (size_t i = 0; i < slots.n; i++)
		take(&slots.v[i]);
	free(slots.v);
	table_free(&by_id, NULL);
	scan_and_take(QW_INCOMING, NULL);
	scan_and_take(QW_ACTIVE, NULL);
}
