/* qmgr/deferred.c - messages that wait for their next attempt: id and time in a heap, nothing else in memory. */
#include "qmgr.h"
#include "base/heap.h"
#include "log/log.h"
#include "service/service.h"

struct later {
	struct heap_item item;
	struct qid id;
	int64_t at_us;
	bool flushed; /* somebody asked for it */
};
#define LATER_OF(i) LIST_ENTRY(i, struct later, item)

static bool before(struct heap_item *a, struct heap_item *b)
{
	return LATER_OF(a)->at_us < LATER_OF(b)->at_us;
}

static struct heap heap = { .before = before };
static struct table *by_id;
static bool starved;	 /* there was no room for what is due */
static bool all_here;	 /* what was in deferred/ at the start has been found */
static bool flush_again; /* somebody asked for it before that */
static struct waitq changed = { { &changed.waiters, &changed.waiters } };

static void take_out(struct later *l)
{
	heap_del(&heap, &l->item);
	table_del(by_id, qid_span(&l->id));
}

void deferred_add(const struct qid *id, int64_t next_try_us)
{
	struct later *l = by_id ? table_get(by_id, qid_span(id)) : NULL;

	if (!by_id)
		by_id = table_new();
	if (l)
		take_out(l);
	else
		l = xcalloc(1, sizeof(*l));
	l->id = *id;
	l->at_us = next_try_us;
	l->flushed = false;
	heap_add(&heap, &l->item);
	table_set(by_id, qid_span(id), l);
	waitq_wake_all(&changed);
}

bool deferred_forget(struct span id)
{
	struct later *l = by_id ? table_get(by_id, id) : NULL;

	if (!l)
		return false;
	take_out(l);
	free(l);
	return true;
}

size_t deferred_count(void)
{
	return heap.n;
}

static void wake(struct later *l)
{
	struct qid id = l->id;
	bool flushed = l->flushed;

	take_out(l);
	free(l);
	incoming_add(QW_DEFERRED, 0, 0, &id, flushed);
}

/* All of them are due, and come in as there is room: new mail does not stand behind them. */
static uint32_t flush_all(void)
{
	for (size_t i = 0; i < heap.n; i++) {
		LATER_OF(heap.v[i])->at_us = 0; /* all alike: in order */
		LATER_OF(heap.v[i])->flushed = true;
	}
	flush_again = !all_here;
	deferred_kick();
	return (uint32_t)heap.n;
}

void deferred_found(void)
{
	all_here = true;
	if (flush_again)
		(void)flush_all();
}

uint32_t deferred_wake(struct span id)
{
	struct later *l;

	if (id.n == 0)
		return flush_all();
	l = by_id ? table_get(by_id, id) : NULL;
	if (!l)
		return 0;
	l->flushed = true;
	wake(l);
	return 1;
}

void deferred_room(void)
{
	if (!starved)
		return;
	starved = false;
	deferred_kick();
}

/* Wall-clock times on disk, monotonic waits here: a jump of the clock moves attempts, never loses or spins
 * them. */
void deferred_run(void)
{
	while (!service_draining()) {
		int64_t now = wall_now().us, wait_ms = qmgr_conf.queue_run_s * 1000;
		struct heap_item *i;

		while ((i = heap_first(&heap)) != NULL && LATER_OF(i)->at_us <= now && active_has_room())
			wake(LATER_OF(i));
		starved = i != NULL && LATER_OF(i)->at_us <= now;
		if (i != NULL && LATER_OF(i)->at_us > now && (LATER_OF(i)->at_us - now) / 1000 < wait_ms)
			wait_ms = (LATER_OF(i)->at_us - now) / 1000 + 1;
		if (waitq_wait(&changed, deadline_ms(wait_ms)) == RC_OK)
			task_yield();
	}
}

void deferred_kick(void)
{
	waitq_wake_all(&changed);
}
