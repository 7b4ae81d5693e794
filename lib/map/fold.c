/* map/fold.c - keys without regard to case: ASCII, and where a key is UTF-8 that has more (RFC 6531), Unicode's letters. Tables that Postfix
 * makes are folded in full; what the C library knows of single letters is the same but for those few that become two. */
#include "base/codec.h"
#include "map/driver.h"
#include <locale.h>
#include <wctype.h>

static locale_t unicode; /* (locale_t)0: ASCII alone */
static bool off;

void map_fold_prepare(void)
{
	static bool tried;

	if (!tried)
		unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	tried = true;
}

void map_fold_unicode(bool on)
{
	off = !on;
}

static struct span fold_ascii(struct arena *a, struct span key)
{
	for (size_t i = 0; i < key.n; i++) {
		if (key.p[i] == ascii_lower(key.p[i]))
			continue;
		char *p = arena_alloc(a, key.n);
		for (size_t k = 0; k < key.n; k++)
			p[k] = ascii_lower(key.p[k]);
		return span_make(p, key.n);
	}
	return key;
}

/* Takes one character off valid UTF-8. */
static uint32_t take(struct span *s)
{
	unsigned char first = (unsigned char)*s->p;
	size_t n = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? first : first & (0x7fu >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)s->p[i] & 0x3f);
	*s = span_skip(*s, n);
	return c;
}

static char *put(char *p, uint32_t c)
{
	if (c < 0x80) {
		*p++ = (char)c;
		return p;
	}
	if (c < 0x800) {
		*p++ = (char)(0xc0 | c >> 6);
	} else if (c < 0x10000) {
		*p++ = (char)(0xe0 | c >> 12);
		*p++ = (char)(0x80 | (c >> 6 & 0x3f));
	} else {
		*p++ = (char)(0xf0 | c >> 18);
		*p++ = (char)(0x80 | (c >> 12 & 0x3f));
		*p++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*p++ = (char)(0x80 | (c & 0x3f));
	return p;
}

/* Letters that the C library leaves alone, or that become more than one (Unicode, CaseFolding.txt). */
static const struct {
	uint32_t from, to[3];
} special[] = {
	{ 0xb5, { 0x3bc } },
	{ 0xdf, { 's', 's' } },
	{ 0x130, { 'i', 0x307 } },
	{ 0x149, { 0x2bc, 'n' } },
	{ 0x17f, { 's' } },
	{ 0x1f0, { 'j', 0x30c } },
	{ 0x3c2, { 0x3c3 } },
	{ 0x3d0, { 0x3b2 } },
	{ 0x3d1, { 0x3b8 } },
	{ 0x3d5, { 0x3c6 } },
	{ 0x3d6, { 0x3c0 } },
	{ 0x587, { 0x565, 0x582 } },
	{ 0x1e9e, { 's', 's' } },
	{ 0xfb00, { 'f', 'f' } },
	{ 0xfb01, { 'f', 'i' } },
	{ 0xfb02, { 'f', 'l' } },
	{ 0xfb03, { 'f', 'f', 'i' } },
	{ 0xfb04, { 'f', 'f', 'l' } },
	{ 0xfb05, { 's', 't' } },
	{ 0xfb06, { 's', 't' } },
};

static char *put_folded(char *p, uint32_t c)
{
	for (size_t i = 0; c >= 0x80 && i < ARRAY_LEN(special); i++) {
		if (special[i].from != c)
			continue;
		for (size_t k = 0; k < ARRAY_LEN(special[i].to) && special[i].to[k]; k++)
			p = put(p, special[i].to[k]);
		return p;
	}
	if (c >= 0x13a0 && c <= 0x13f5) /* Cherokee folds to capitals */
		return put(p, c);
	if (c >= 0xab70 && c <= 0xabbf)
		return put(p, c - 0xab70 + 0x13a0);
	return put(p, (uint32_t)towlower_l((wint_t)c, unicode));
}

struct span map_fold(struct arena *a, struct span key)
{
	char *start, *p;

	if (off || !unicode || span_is_ascii(key) || !utf8_valid(key))
		return fold_ascii(a, key);
	p = start = arena_alloc(a, 3 * key.n); /* no letter grows more than from two bytes to four */
	while (key.n)
		p = put_folded(p, take(&key));
	return span_make(start, (size_t)(p - start));
}
