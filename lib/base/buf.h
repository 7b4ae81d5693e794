/* base/buf.h - owned bytes that grow up to a stated maximum.
 * Appending past `max` changes nothing and returns RC_LIMIT; `failed` stays set until buf_reset(), so that a run of
 * appends can be checked once with buf_ok(). Memory exhaustion ends the process. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/span.h"
#include <stdarg.h>

struct buf {
	char *p;
	size_t n, cap, max; /* bytes used, allocated, allowed */
	bool failed;
};

void buf_init(struct buf *b, size_t max); /* allocates nothing yet */
void buf_release(struct buf *b);	  /* frees; the buf may be used again as after buf_init() */
void buf_reset(struct buf *b);		  /* n = 0, keeps the memory, clears failed */
void buf_trim_memory(struct buf *b);	  /* gives memory beyond n back (for sessions that go idle) */
enum rc buf_append(struct buf *b, struct span s);
enum rc buf_puts(struct buf *b, const char *cstr);
enum rc buf_putc(struct buf *b, char c);
enum rc buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
enum rc buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
/* Room for n more bytes at b->p + b->n (NULL when past max); the caller adds to b->n what it wrote. */
char *buf_reserve(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n); /* drops the first n bytes */
static inline struct span buf_span(const struct buf *b)
{
	return span_make(b->p, b->n);
}
static inline bool buf_ok(const struct buf *b)
{
	return !b->failed;
}
/* NUL-terminated view; valid until the next append. The NUL is not counted in n. */
const char *buf_cstr(struct buf *b);

#endif
