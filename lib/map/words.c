/* map/words.c - lists in table names: words, braces, key = value. */
#include "map/driver.h"

static bool is_separator(char c)
{
	return c == ',' || ascii_isspace(c);
}

enum rc map_word_next(struct span *rest, struct span *word, struct err *e)
{
	size_t i = 0, depth = 0;

	while (rest->n && is_separator(*rest->p))
		*rest = span_skip(*rest, 1);
	if (!rest->n)
		return RC_NOTFOUND;
	for (; i < rest->n; i++) {
		char c = rest->p[i];
		if (c == '{')
			depth++;
		else if (c == '}' && depth > 0)
			depth--;
		else if (depth == 0 && is_separator(c))
			break;
	}
	if (depth)
		return err_set(e, RC_SYNTAX, "missing '}' in \"" SPAN_FMT "\"", SPAN_ARG(*rest));
	*word = span_head(*rest, i);
	*rest = span_skip(*rest, i);
	return RC_OK;
}

bool map_braces(struct span text, struct span *inside)
{
	size_t depth = 0;

	if (text.n < 2 || text.p[0] != '{' || text.p[text.n - 1] != '}')
		return false;
	for (size_t i = 0; i < text.n; i++) {
		depth += text.p[i] == '{';
		depth -= text.p[i] == '}';
		if (depth == 0 && i + 1 < text.n)
			return false;
	}
	if (depth)
		return false;
	*inside = span_trim(span_make(text.p + 1, text.n - 2));
	return true;
}

enum rc map_pair(struct span text, struct span *key, struct span *value, struct err *e)
{
	ptrdiff_t eq = span_chr(text, '=');

	if (eq < 0)
		return err_set(e, RC_SYNTAX, "missing '=' after attribute name: \"" SPAN_FMT "\"",
			       SPAN_ARG(text));
	*key = span_trim(span_head(text, (size_t)eq));
	*value = span_trim(span_skip(text, (size_t)eq + 1));
	if (!key->n)
		return err_set(e, RC_SYNTAX, "missing attribute name: \"" SPAN_FMT "\"", SPAN_ARG(text));
	return RC_OK;
}
