/* task/timers.c - timers in a heap, and deadlines.
 * `link` joins the timers that are due in this turn: they leave the heap before the first is called, so that one that is set again
 * for now waits a turn. */
#include "task/sched.h"

#define TIMER_OF(i) LIST_ENTRY(i, struct timer, heap)

static bool before(struct heap_item *a, struct heap_item *b)
{
	return TIMER_OF(a)->at.ms < TIMER_OF(b)->at.ms;
}

static struct heap heap = { .before = before };

void timer_init(struct timer *t, void (*fn)(void *arg), void *arg)
{
	*t = (struct timer){ .fn = fn, .arg = arg };
	list_init(&t->link);
}

void timer_cancel(struct timer *t)
{
	if (heap_has(&t->heap))
		heap_del(&heap, &t->heap);
	else if (t->link.next != NULL) /* NULL: zeroed memory, never set */
		list_del(&t->link);
}

void timer_set(struct timer *t, deadline_t d)
{
	timer_cancel(t);
	t->at = d.at;
	if (d.at.ms != DEADLINE_NEVER.at.ms)
		heap_add(&heap, &t->heap);
}

void timers_fire(mono_t now)
{
	struct list due, *first;
	struct heap_item *i;

	list_init(&due);
	while ((i = heap_first(&heap)) != NULL && TIMER_OF(i)->at.ms <= now.ms) {
		heap_del(&heap, i);
		list_add_tail(&due, &TIMER_OF(i)->link);
	}
	while ((first = list_first(&due)) != NULL) {
		struct timer *t = LIST_ENTRY(first, struct timer, link);

		list_del(first);
		t->fn(t->arg);
	}
}

int64_t timers_next_ms(mono_t now)
{
	struct heap_item *i = heap_first(&heap);

	if (i == NULL)
		return -1;
	return TIMER_OF(i)->at.ms > now.ms ? TIMER_OF(i)->at.ms - now.ms : 0;
}

size_t timers_count(void)
{
	return heap.n;
}

void timers_forget_all(void)
{
	while (heap.n != 0)
		heap_del(&heap, heap.v[heap.n - 1]);
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
