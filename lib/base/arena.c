/* base/arena.c - memory that is given back in one act.
 * A list of blocks; the first is small (most sessions need little), later ones double. What is too large for
 * the block at hand gets one of its own behind it, so that the space left in front is not lost. */
#include "base/arena.h"

#include <stdarg.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define GAP_BYTES                                                                                            \
	16 /* stays poisoned, so that running past one allocation does not reach the next unseen             \
	    */
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define GAP_BYTES      0
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN_BYTES	  16
#define FIRST_BLOCK_BYTES 1008 /* with malloc's own header one KiB */
#define MAX_BLOCK_BYTES	  (64 * 1024 - 16)

struct arena_block {
	struct arena_block *next;
	size_t cap, used; /* of data[] */
	_Alignas(ALIGN_BYTES) char data[];
};

void arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
}

static void block_free(struct arena_block *b)
{
	UNPOISON(b->data, b->cap);
	free(b);
}

static struct arena_block *block_new(size_t total_bytes)
{
	struct arena_block *b = xmalloc(total_bytes);

	b->next = NULL;
	b->cap = total_bytes - sizeof(*b);
	b->used = 0;
	POISON(b->data, b->cap);
	return b;
}

void arena_reset(struct arena *a)
{
	struct arena_block *keep = NULL, *next;

	for (struct arena_block *b = a->blocks; b != NULL; b = next) {
		next = b->next;
		if (keep == NULL && b->cap == FIRST_BLOCK_BYTES - sizeof(*b)) {
			keep = b;
			continue;
		}
		block_free(b);
	}
	if (keep != NULL) {
		keep->next = NULL;
		keep->used = 0;
		POISON(keep->data, keep->cap);
	}
	*a = (struct arena){ .blocks = keep };
}

void arena_release(struct arena *a)
{
	struct arena_block *next;

	for (struct arena_block *b = a->blocks; b != NULL; b = next) {
		next = b->next;
		block_free(b);
	}
	arena_init(a);
}

static size_t next_block_bytes(const struct arena *a)
{
	size_t n = FIRST_BLOCK_BYTES;

	while (n < a->used_bytes && n < MAX_BLOCK_BYTES)
		n *= 2;
	return n < MAX_BLOCK_BYTES ? n : MAX_BLOCK_BYTES;
}

/* A block with room for n more bytes. */
static struct arena_block *block_for(struct arena *a, size_t n)
{
	struct arena_block *b = a->blocks;
	size_t total;

	if (b != NULL && b->cap - b->used >= n)
		return b;
	total = next_block_bytes(a);
	if (n > (total - sizeof(*b)) / 2) {
		b = block_new(n + sizeof(*b));
		if (a->blocks != NULL) {
			b->next = a->blocks->next;
			a->blocks->next = b;
		} else {
			a->blocks = b;
		}
		return b;
	}
	b = block_new(total);
	b->next = a->blocks;
	a->blocks = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b;
	size_t take;
	void *p;

	INVARIANT(n < PTRDIFF_MAX / 2);
	take = ((n != 0 ? n : 1) + GAP_BYTES + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
	b = block_for(a, take);
	p = b->data + b->used;
	b->used += take;
	a->used_bytes += take;
	UNPOISON(p, n);
	return memset(p, 0, n);
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	size_t n;

	INVARIANT(!__builtin_mul_overflow(count, size, &n));
	return arena_alloc(a, n);
}

struct span span_dup(struct arena *a, struct span s)
{
	if (s.p == NULL)
		return SPAN_NONE;
	return span_make(arena_cstr(a, s), s.n);
}

char *arena_cstr(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (s.n != 0)
		memcpy(p, s.p, s.n);
	return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_cstr(a, span_str(s));
}

static struct span arena_vprintf(struct arena *a, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
static struct span arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	INVARIANT(n >= 0);
	p = arena_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return span_make(p, (size_t)n);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	struct span s;
	va_list ap;
	char *p;

	va_start(ap, fmt);
	s = arena_vprintf(a, fmt, ap);
	va_end(ap);
	memcpy(&p, &s.p, sizeof(p)); /* the bytes are ours to change; only the span's view is const */
	return p;
}

struct span span_printf(struct arena *a, const char *fmt, ...)
{
	struct span s;
	va_list ap;

	va_start(ap, fmt);
	s = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return s;
}

void *arena_grow(struct arena *a, void *old, size_t n, size_t *cap, size_t size)
{
	size_t bigger = *cap < 4 ? 8 : *cap * 2;
	void *p = arena_array(a, bigger, size);

	INVARIANT(n <= *cap);
	if (n != 0)
		memcpy(p, old, n * size);
	*cap = bigger;
	return p;
}
