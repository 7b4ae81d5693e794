/* base/buf.c - owned bytes with a ceiling.
 * `cap` bytes are usable and one more is allocated, so that a terminating NUL always has room. */
#include "base/buf.h"

#define BUF_FIRST_BYTES 64

void buf_init(struct buf *b, size_t max)
{
	/* The clamp keeps every sum below from overflowing; no real ceiling comes near it. */
	*b = (struct buf){ .max = max < PTRDIFF_MAX / 2 ? max : PTRDIFF_MAX / 2 };
}

void buf_release(struct buf *b)
{
	free(b->p);
	buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->failed = false;
}

void buf_trim_memory(struct buf *b)
{
	if (b->n == 0) {
		free(b->p);
		b->p = NULL;
	} else {
		b->p = xrealloc(b->p, b->n + 1);
	}
	b->cap = b->n;
}

static void buf_set_cap(struct buf *b, size_t cap)
{
	b->p = xrealloc(b->p, cap + 1);
	b->cap = cap;
}

char *buf_reserve(struct buf *b, size_t n)
{
	size_t need, cap;

	if (n > b->max - b->n) {
		b->failed = true;
		return NULL;
	}
	need = b->n + n;
	if (need > b->cap || b->p == NULL) {
		cap = b->cap < BUF_FIRST_BYTES ? BUF_FIRST_BYTES : b->cap * 2;
		if (cap < need)
			cap = need;
		buf_set_cap(b, cap < b->max ? cap : b->max);
	}
	return b->p + b->n;
}

enum rc buf_append(struct buf *b, struct span s)
{
	char *to = buf_reserve(b, s.n);

	if (to == NULL)
		return RC_LIMIT;
	if (s.n != 0)
		memcpy(to, s.p, s.n);
	b->n += s.n;
	return RC_OK;
}

enum rc buf_puts(struct buf *b, const char *cstr)
{
	return buf_append(b, span_str(cstr));
}

enum rc buf_putc(struct buf *b, char c)
{
	return buf_append(b, span_make(&c, 1));
}

enum rc buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	enum rc rc;

	va_start(ap, fmt);
	rc = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return rc;
}

enum rc buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	size_t room = b->p != NULL ? b->cap - b->n : 0;
	va_list again;
	char *to;
	int n;

	va_copy(again, ap);
	n = vsnprintf(b->p != NULL ? b->p + b->n : NULL, b->p != NULL ? room + 1 : 0, fmt, ap);
	INVARIANT(n >= 0);
	if (b->p == NULL || (size_t)n > room) {
		to = buf_reserve(b, (size_t)n);
		if (to != NULL)
			vsnprintf(to, (size_t)n + 1, fmt, again);
		else
			n = -1;
	}
	va_end(again);
	if (n < 0)
		return RC_LIMIT;
	b->n += (size_t)n;
	return RC_OK;
}

void buf_consume(struct buf *b, size_t n)
{
	INVARIANT(n <= b->n);
	if (n == 0)
		return;
	b->n -= n;
	memmove(b->p, b->p + n, b->n);
}

const char *buf_cstr(struct buf *b)
{
	if (b->p == NULL)
		buf_set_cap(b, 0);
	b->p[b->n] = '\0';
	return b->p;
}
