/* base/table.h - hash table from bytes to a pointer, keyed with SipHash-2-4 and a random key per process, so that
 * chosen input cannot make it slow. Keys are copied. Iteration order is unspecified. */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include "base/span.h"

struct table; /* opaque: base/table.c */

struct table *table_new(void);
void table_free(struct table **t, void (*free_value)(void *));	/* free_value may be NULL; leaves *t NULL */
void *table_get(const struct table *t, struct span key);	/* NULL when absent */
void *table_set(struct table *t, struct span key, void *value); /* the former value or NULL */
void *table_del(struct table *t, struct span key);		/* the former value or NULL */
size_t table_count(const struct table *t);
/* *pos starts at 0; false at the end. The table must not change between calls. */
bool table_next(const struct table *t, size_t *pos, struct span *key, void **value);
uint64_t siphash(struct span data); /* SipHash-2-4 with the process key */

#endif
