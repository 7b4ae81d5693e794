/* base/arena.h - memory that is given back in one act. One each for the process, the session, the transaction.
 * Pointers go from the shorter life to the longer, never back. Exhaustion ends the process. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/span.h"

struct arena {
	struct arena_block *blocks; /* newest first */
	size_t used_bytes;	    /* sum handed out since init or reset */
};

void arena_init(struct arena *a);			       /* allocates nothing yet */
void arena_reset(struct arena *a);			       /* frees all but a first small block */
void arena_release(struct arena *a);			       /* frees all */
void *arena_alloc(struct arena *a, size_t n);		       /* aligned for any type, zeroed */
void *arena_array(struct arena *a, size_t count, size_t size); /* zeroed; overflow of the product aborts */
struct span span_dup(struct arena *a, struct span s);
char *arena_cstr(struct arena *a,
		 struct span s); /* NUL-terminated copy, inner NULs kept: check first where it matters */
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct span span_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Grows an array living in the arena: a new one of `cap * 2` elements (at least 8) is made and the old one left. */
void *arena_grow(struct arena *a, void *old, size_t n, size_t *cap, size_t size);

#endif
