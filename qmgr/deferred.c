/* qmgr/deferred.c - messages that wait for their next attempt: id and time in a heap, nothing else in memory.
 */
#include "qmgr.h"
#include "log/log.h"
#include "service/service.h"

struct later {
	struct qid id;
	int64_t at_us;
	size_t pos; /* in the heap */
};
static struct later **heap;
static size_t heap_n, heap_cap;
static struct table *by_id;
static struct table *flushed; /* ids woken by somebody, until they are active */
static struct waitq changed = { { &changed.waiters, &changed.waiters } };

static void place(size_t i, struct later *l)
{
	heap[i] = l;
	l->pos = i;
}

static void sift_up(size_t i)
{
	struct later *l = heap[i];

	for (; i > 0 && heap[(i - 1) / 2]->at_us > l->at_us; i = (i - 1) / 2)
		place(i, heap[(i - 1) / 2]);
	place(i, l);
}

static void sift_down(size_t i)
{
	struct later *l = heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= heap_n)
			break;
		if (child + 1 < heap_n && heap[child + 1]->at_us < heap[child]->at_us)
			child++;
		if (heap[child]->at_us >= l->at_us)
			break;
		place(i, heap[child]);
		i = child;
	}
	place(i, l);
}

static void take_out(struct later *l)
{
	size_t i = l->pos;

	if (i != --heap_n) {
		place(i, heap[heap_n]);
		sift_down(i);
		sift_up(heap[i]->pos == i ? i : heap[i]->pos);
	}
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
	if (heap_n == heap_cap) {
		heap_cap = heap_cap ? 2 * heap_cap : 1024;
		heap = xrealloc(heap, heap_cap * sizeof(*heap));
	}
	place(heap_n++, l);
	sift_up(heap_n - 1);
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
	return heap_n;
}

static void wake(struct later *l)
{
	struct qid id = l->id;

	take_out(l);
	free(l);
	incoming_add(QW_DEFERRED, 0, 0, &id);
}

static void wake_asked(struct later *l)
{
	if (!flushed)
		flushed = table_new();
	table_set(flushed, qid_span(&l->id), flushed);
	wake(l);
}

bool deferred_was_flushed(struct span id)
{
	return flushed && table_del(flushed, id) != NULL;
}

uint32_t deferred_wake(struct span id)
{
	uint32_t n = 0;
	struct later *l;

	if (id.n) {
		l = by_id ? table_get(by_id, id) : NULL;
		if (l)
			wake_asked(l);
		return l != NULL;
	}
	for (; heap_n > 0; n++)
		wake_asked(heap[0]);
	return n;
}

/* Wall-clock times on disk, monotonic waits here: a jump of the clock moves attempts, never loses or spins
 * them. */
void deferred_run(void)
{
	while (!service_draining()) {
		int64_t now = wall_now().us, wait_ms = qmgr_conf.queue_run_s * 1000;

		while (heap_n > 0 && heap[0]->at_us <= now && active_has_room())
			wake(heap[0]);
		if (heap_n > 0 && heap[0]->at_us > now && (heap[0]->at_us - now) / 1000 < wait_ms)
			wait_ms = (heap[0]->at_us - now) / 1000 + 1;
		if (waitq_wait(&changed, deadline_ms(wait_ms)) == RC_OK)
			task_yield();
	}
}

void deferred_kick(void)
{
	waitq_wake_all(&changed);
}
