/* base/heap.h - binary heap of elements that embed a struct heap_item. An element is in one heap at most. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap_item {
	size_t place; /* plus one; 0: in no heap, as a zeroed element is */
};
struct heap {
	bool (*before)(struct heap_item *a, struct heap_item *b);
	struct heap_item **v;
	size_t n, cap;
};

void heap_add(struct heap *h, struct heap_item *i);
void heap_del(struct heap *h, struct heap_item *i); /* of what is in no heap: nothing */
static inline bool heap_has(const struct heap_item *i)
{
	return i->place != 0;
}
static inline struct heap_item *heap_first(const struct heap *h) /* NULL when empty */
{
	return h->n > 0 ? h->v[0] : NULL;
}

#endif
