/* base/heap.c - see base/heap.h. */
#include "base/heap.h"
#include "base/rc.h"

static void put(struct heap *h, size_t at, struct heap_item *i)
{
	h->v[at] = i;
	i->place = at + 1;
}

static void sift_up(struct heap *h, size_t at, struct heap_item *i)
{
	for (; at > 0 && h->before(i, h->v[(at - 1) / 2]); at = (at - 1) / 2)
		put(h, at, h->v[(at - 1) / 2]);
	put(h, at, i);
}

static void sift_down(struct heap *h, size_t at, struct heap_item *i)
{
	size_t child;

	while ((child = 2 * at + 1) < h->n) {
		if (child + 1 < h->n && h->before(h->v[child + 1], h->v[child]))
			child++;
		if (!h->before(h->v[child], i))
			break;
		put(h, at, h->v[child]);
		at = child;
	}
	put(h, at, i);
}

void heap_add(struct heap *h, struct heap_item *i)
{
	if (h->n == h->cap) {
		h->cap = h->cap > 0 ? 2 * h->cap : 64;
		h->v = xrealloc(h->v, h->cap * sizeof(struct heap_item *));
	}
	sift_up(h, h->n++, i);
}

void heap_del(struct heap *h, struct heap_item *i)
{
	struct heap_item *last;
	size_t at = i->place - 1;

	if (i->place == 0)
		return;
	i->place = 0;
	last = h->v[--h->n];
	if (last == i)
		return;
	if (at > 0 && h->before(last, h->v[(at - 1) / 2]))
		sift_up(h, at, last);
	else
		sift_down(h, at, last);
}
