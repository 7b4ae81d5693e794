/* base/span.c - borrowed bytes: comparison, search, splitting. */
#include "base/span.h"

struct span span_str(const char *cstr)
{
	return cstr != NULL ? span_make(cstr, strlen(cstr)) : SPAN_NONE;
}

/* memcmp() with a NULL pointer is undefined even for no bytes; an empty span may hold one. */
static int bytes_cmp(const char *a, const char *b, size_t n)
{
	return n != 0 ? memcmp(a, b, n) : 0;
}

static int bytes_cmp_ci(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int d = (unsigned char)ascii_lower(a[i]) - (unsigned char)ascii_lower(b[i]);

		if (d != 0)
			return d;
	}
	return 0;
}

bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && bytes_cmp(a.p, b.p, a.n) == 0;
}

bool span_eq_ci(struct span a, struct span b)
{
	return a.n == b.n && bytes_cmp_ci(a.p, b.p, a.n) == 0;
}

bool span_is(struct span a, const char *cstr)
{
	return span_eq(a, span_str(cstr));
}

bool span_is_ci(struct span a, const char *cstr)
{
	return span_eq_ci(a, span_str(cstr));
}

bool span_starts(struct span a, struct span prefix)
{
	return a.n >= prefix.n && bytes_cmp(a.p, prefix.p, prefix.n) == 0;
}

bool span_starts_ci(struct span a, struct span prefix)
{
	return a.n >= prefix.n && bytes_cmp_ci(a.p, prefix.p, prefix.n) == 0;
}

bool span_ends(struct span a, struct span suffix)
{
	return a.n >= suffix.n && span_eq(span_skip(a, a.n - suffix.n), suffix);
}

bool span_ends_ci(struct span a, struct span suffix)
{
	return a.n >= suffix.n && span_eq_ci(span_skip(a, a.n - suffix.n), suffix);
}

static int order_by_length(struct span a, struct span b)
{
	return a.n < b.n ? -1 : a.n > b.n;
}

int span_cmp(struct span a, struct span b)
{
	int d = bytes_cmp(a.p, b.p, a.n < b.n ? a.n : b.n);

	return d != 0 ? d : order_by_length(a, b);
}

int span_cmp_ci(struct span a, struct span b)
{
	int d = bytes_cmp_ci(a.p, b.p, a.n < b.n ? a.n : b.n);

	return d != 0 ? d : order_by_length(a, b);
}

ptrdiff_t span_chr(struct span a, char c)
{
	const char *at = a.n != 0 ? memchr(a.p, c, a.n) : NULL;

	return at != NULL ? at - a.p : -1;
}

ptrdiff_t span_rchr(struct span a, char c)
{
	const char *at = a.n != 0 ? memrchr(a.p, c, a.n) : NULL;

	return at != NULL ? at - a.p : -1;
}

ptrdiff_t span_find(struct span hay, struct span needle)
{
	const char *at;

	if (needle.n == 0)
		return 0;
	at = hay.n >= needle.n ? memmem(hay.p, hay.n, needle.p, needle.n) : NULL;
	return at != NULL ? at - hay.p : -1;
}

ptrdiff_t span_find_ci(struct span hay, struct span needle)
{
	char first;

	if (needle.n == 0)
		return 0;
	first = ascii_lower(needle.p[0]);
	for (size_t i = 0; i + needle.n <= hay.n; i++) {
		if (ascii_lower(hay.p[i]) == first && bytes_cmp_ci(hay.p + i, needle.p, needle.n) == 0)
			return (ptrdiff_t)i;
	}
	return -1;
}

struct span span_skip(struct span a, size_t n)
{
	if (n > a.n)
		n = a.n;
	return n != 0 ? span_make(a.p + n, a.n - n) : a;
}

struct span span_head(struct span a, size_t n)
{
	return span_make(a.p, n < a.n ? n : a.n);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span a)
{
	while (a.n != 0 && is_blank(a.p[0]))
		a = span_skip(a, 1);
	while (a.n != 0 && is_blank(a.p[a.n - 1]))
		a.n--;
	return a;
}

bool span_next(struct span *rest, char sep, struct span *item)
{
	ptrdiff_t at;

	if (rest->n == 0)
		return false;
	at = span_chr(*rest, sep);
	*item = at < 0 ? *rest : span_head(*rest, (size_t)at);
	*rest = span_skip(*rest, at < 0 ? rest->n : (size_t)at + 1);
	return true;
}

static bool is_one_of(char c, const char *set)
{
	for (; *set != '\0'; set++) {
		if (c == *set)
			return true;
	}
	return false;
}

bool span_next_word(struct span *rest, const char *seps, struct span *word)
{
	size_t n = 0;

	while (rest->n != 0 && is_one_of(rest->p[0], seps))
		*rest = span_skip(*rest, 1);
	if (rest->n == 0)
		return false;
	while (n < rest->n && !is_one_of(rest->p[n], seps))
		n++;
	*word = span_head(*rest, n);
	*rest = span_skip(*rest, n);
	return true;
}

enum rc span_to_u64(struct span a, uint64_t max, uint64_t *out)
{
	bool over = false;
	uint64_t v = 0;

	if (a.n == 0)
		return RC_SYNTAX;
	for (size_t i = 0; i < a.n; i++) { /* to the end even past max: "99x" is no number at all */
		uint64_t digit;

		if (!ascii_isdigit(a.p[i]))
			return RC_SYNTAX;
		digit = (uint64_t)(a.p[i] - '0');
		if (over || v > (UINT64_MAX - digit) / 10 || v * 10 + digit > max)
			over = true;
		else
			v = v * 10 + digit;
	}
	if (over)
		return RC_LIMIT;
	*out = v;
	return RC_OK;
}

enum rc span_cstr(struct span a, char *dst, size_t size)
{
	if (span_chr(a, '\0') >= 0)
		return RC_SYNTAX;
	if (a.n >= size)
		return RC_LIMIT;
	if (a.n != 0)
		memcpy(dst, a.p, a.n);
	dst[a.n] = '\0';
	return RC_OK;
}
