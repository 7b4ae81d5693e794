/* base/span.h - borrowed bytes with a length. Any byte may occur; there is no terminator.
 * Case-insensitive comparison folds ASCII only. All functions are pure. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include "base/rc.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
	const char *p;
	size_t n;
};

#define SPAN(lit)   ((struct span){ "" lit, sizeof(lit) - 1 }) /* from a string literal */
#define SPAN_NONE   ((struct span){ NULL, 0 })
#define SPAN_FMT    "%.*s" /* printf("..." SPAN_FMT, SPAN_ARG(s)) */
#define SPAN_ARG(s) ((int)(s).n), ((s).p ? (s).p : "")

static inline struct span span_make(const char *p, size_t n)
{
	return (struct span){ p, n };
}
struct span span_str(const char *cstr); /* NULL gives SPAN_NONE */
bool span_eq(struct span a, struct span b);
bool span_eq_ci(struct span a, struct span b);
bool span_is(struct span a, const char *cstr);	  /* exact */
bool span_is_ci(struct span a, const char *cstr); /* ASCII case folded */
bool span_starts(struct span a, struct span prefix);
bool span_starts_ci(struct span a, struct span prefix);
bool span_ends(struct span a, struct span suffix);
bool span_ends_ci(struct span a, struct span suffix);
int span_cmp(struct span a, struct span b);    /* as memcmp, shorter first */
int span_cmp_ci(struct span a, struct span b); /* same, ASCII case folded */
/* Index of the first (last) `c`, or -1. */
ptrdiff_t span_chr(struct span a, char c);
ptrdiff_t span_rchr(struct span a, char c);
ptrdiff_t span_find(struct span hay, struct span needle);
ptrdiff_t span_find_ci(struct span hay, struct span needle);
struct span span_skip(struct span a, size_t n); /* without the first n bytes (at most all) */
struct span span_head(struct span a, size_t n); /* the first n bytes at most */
struct span span_trim(struct span a);		/* without SP TAB CR LF at both ends */
/* Takes the bytes up to `sep` off *rest into *item; true while there was an item. "a,,b" has three items, "" has none, "a," one. */
bool span_next(struct span *rest, char sep, struct span *item);
/* Takes the next word separated by any of `seps` off *rest (runs of separators count as one). */
bool span_next_word(struct span *rest, const char *seps, struct span *word);
/* Whole span as a decimal number: RC_SYNTAX when empty or not all digits, RC_LIMIT past max. */
MUST_CHECK enum rc span_to_u64(struct span a, uint64_t max, uint64_t *out);
/* Copies into dst with a NUL: RC_SYNTAX for an inner NUL, RC_LIMIT when it does not fit `size`. The only way to a C string. */
MUST_CHECK enum rc span_cstr(struct span a, char *dst, size_t size);
/* ASCII only, locale never asked. */
static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}
static inline char ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c & ~0x20) : c;
}
static inline bool ascii_isdigit(char c)
{
	return c >= '0' && c <= '9';
}
static inline bool ascii_isalpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool ascii_isalnum(char c)
{
	return ascii_isalpha(c) || ascii_isdigit(c);
}
static inline bool ascii_isspace(char c) /* SP TAB CR LF VT FF */
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}
static inline bool ascii_isprint(char c)
{
	return c >= 0x20 && c < 0x7f;
}

#endif
