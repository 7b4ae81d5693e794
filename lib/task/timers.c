/* task/timers.c - timers in a binary heap, and deadlines.
 * timer.heap is the place in the heap plus one, 0 when it is not there. `link` joins the timers that are due
 * in this turn: they leave the heap before the first is called, so that one that is set again for now waits a
 * turn. */
#include "task/sched.h"

static struct timer **heap;
static size_t heap_n, heap_cap;

static void place(struct timer *t, size_t i)
{
	heap[i] = t;
	t->heap = i + 1;
}

static void sift_up(struct timer *t, size_t i)
{
	while (i != 0 && heap[(i - 1) / 2]->at.ms > t->at.ms) {
		place(heap[(i - 1) / 2], i);
		i = (i - 1) / 2;
	}
	place(t, i);
}

static void sift_down(struct timer *t, size_t i)
{
	size_t child;

	while ((child = 2 * i + 1) < heap_n) {
		if (child + 1 < heap_n && heap[child + 1]->at.ms < heap[child]->at.ms)
			child++;
		if (heap[child]->at.ms >= t->at.ms)
			break;
		place(heap[child], i);
		i = child;
	}
	place(t, i);
}

static void heap_add(struct timer *t)
{
	if (heap_n == heap_cap) {
		heap_cap = heap_cap != 0 ? heap_cap * 2 : 64;
		heap = xrealloc(heap, heap_cap * sizeof(struct timer *));
	}
	sift_up(t, heap_n++);
}

static void heap_remove(struct timer *t)
{
	size_t i = t->heap - 1;
	struct timer *last = heap[--heap_n];

	t->heap = 0;
	if (last == t)
		return;
	if (i != 0 && heap[(i - 1) / 2]->at.ms > last->at.ms)
		sift_up(last, i);
	else
		sift_down(last, i);
}

void timer_init(struct timer *t, void (*fn)(void *arg), void *arg)
{
	*t = (struct timer){ .fn = fn, .arg = arg };
	list_init(&t->link);
}

void timer_cancel(struct timer *t)
{
	if (t->heap != 0)
		heap_remove(t);
	else if (t->link.next != NULL) /* NULL: zeroed memory, never set */
		list_del(&t->link);
}

void timer_set(struct timer *t, deadline_t d)
{
	timer_cancel(t);
	t->at = d.at;
	if (d.at.ms != DEADLINE_NEVER.at.ms)
		heap_add(t);
}

void timers_fire(mono_t now)
{
	struct list due, *first;

	list_init(&due);
	while (heap_n != 0 && heap[0]->at.ms <= now.ms) {
		struct timer *t = heap[0];

		heap_remove(t);
		list_add_tail(&due, &t->link);
	}
	while ((first = list_first(&due)) != NULL) {
		struct timer *t = LIST_ENTRY(first, struct timer, link);

		list_del(first);
		t->fn(t->arg);
	}
}

int64_t timers_next_ms(mono_t now)
{
	if (heap_n == 0)
		return -1;
	return heap[0]->at.ms > now.ms ? heap[0]->at.ms - now.ms : 0;
}

size_t timers_count(void)
{
	return heap_n;
}

void timers_forget_all(void)
{
	while (heap_n != 0)
		heap_remove(heap[heap_n - 1]);
}

/* ---- deadlines ---- */
deadline_t deadline_ms(int64_t ms)
{
	mono_t now = loop_now();

	if (ms <= 0)
		return (deadline_t){ now };
	if (ms >= INT64_MAX - now.ms)
		return DEADLINE_NEVER;
	return (deadline_t){ mono_after(now, ms) };
}

deadline_t deadline_s(int64_t s)
{
	return deadline_ms(s < INT64_MAX / 1000 ? s * 1000 : INT64_MAX);
}

bool deadline_passed(deadline_t d)
{
	return d.at.ms != DEADLINE_NEVER.at.ms && d.at.ms <= loop_now().ms;
}
