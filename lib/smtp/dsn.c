/* smtp/dsn.c - see dsn.h. */
#include "smtp/dsn.h"

#include <string.h>

static size_t digits(struct span text, size_t max)
{
	size_t n = 0;

	while (n < max && n < text.n && ascii_isdigit(text.p[n]))
		n++;
	return n;
}

size_t dsn_length(struct span text)
{
	size_t at = 1, n;

	if (text.n == 0 || (text.p[0] != '2' && text.p[0] != '4' && text.p[0] != '5'))
		return 0;
	for (int part = 0; part < 2; part++) {
		if (at >= text.n || text.p[at] != '.' || (n = digits(span_skip(text, at + 1), 3)) == 0)
			return 0;
		at += 1 + n;
	}
	return at == text.n || ascii_isspace(text.p[at]) ? at : 0;
}

bool dsn_take(struct span *text, const char *classes, struct span *dsn)
{
	struct span rest = span_trim(*text);
	size_t n = dsn_length(rest);

	if (n == 0 || strchr(classes, rest.p[0]) == NULL)
		return false;
	*dsn = span_head(rest, n);
	*text = span_trim(span_skip(rest, n));
	return true;
}
