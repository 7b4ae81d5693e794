/* base/list.h - intrusive doubly linked list. The element embeds a struct list; the head is a struct list too. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_ENTRY(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define LIST_EACH(it, head)	      for (struct list *it = (head)->next; it != (head); it = it->next)
/* The same when the body may remove `it`. */
#define LIST_EACH_SAFE(it, head)                                                                             \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                            \
	     it = it##_next, it##_next = it->next)

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_add_tail(struct list *head, struct list *e)
{
	e->prev = head->prev;
	e->next = head;
	head->prev->next = e;
	head->prev = e;
}
static inline void list_add_head(struct list *head, struct list *e)
{
	e->next = head->next;
	e->prev = head;
	head->next->prev = e;
	head->next = e;
}
static inline void list_del(struct list *e) /* leaves e as an empty head: deleting twice is harmless */
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	e->next = e->prev = e;
}
static inline struct list *list_first(const struct list *head) /* NULL when empty */
{
	/* The analyser does not follow list_del(): what was freed is in no list. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	return head->next == head ? NULL : head->next;
}

#endif
