/* conf/words.c - lists, and numbers with a unit of time. */
#include "conf/conf_int.h"
#include <errno.h>

#define FILES_DEPTH_MAX 8 /* a file that names a file that ... */

struct words {
	struct arena *a;
	struct span *word;
	size_t n, cap;
	struct err *e;
};

static bool separates(char c)
{
	return c == ',' || ascii_isspace(c);
}

/* The next word; separators within { } belong to it. RC_EOF at the end. */
static enum rc next_word(struct span *rest, struct span *word)
{
	unsigned level = 0;
	size_t n = 0;

	while (rest->n > 0 && separates(rest->p[0]))
		*rest = span_skip(*rest, 1);
	if (rest->n == 0)
		return RC_EOF;
	for (; n < rest->n && (level > 0 || !separates(rest->p[n])); n++) {
		if (rest->p[n] == '{')
			level++;
		else if (rest->p[n] == '}' && level > 0)
			level--;
	}
	*word = span_head(*rest, n);
	*rest = span_skip(*rest, n);
	return level == 0 ? RC_OK : RC_SYNTAX;
}

static enum rc add(struct words *w, struct span word, bool negated)
{
	if (w->n == CONF_WORDS_MAX)
		return err_set(w->e, RC_LIMIT, "a list is limited to %d elements", CONF_WORDS_MAX);
	if (w->n == w->cap)
		w->word = arena_grow(w->a, w->word, w->n, &w->cap, sizeof(*w->word));
	if (negated && word.n > 0 && word.p[0] == '!')
		word = span_skip(word, 1);
	else if (negated)
		word = span_printf(w->a, "!" SPAN_FMT, SPAN_ARG(word));
	w->word[w->n++] = word;
	return RC_OK;
}

static enum rc split(struct words *w, struct span text, bool files, bool negated, unsigned depth);

static enum rc words_of_file(struct words *w, struct span path, bool negated, unsigned depth)
{
	char name[4096], *bytes;
	struct lines l;
	struct span line;
	unsigned number;
	size_t n;
	enum rc rc;

	if (depth >= FILES_DEPTH_MAX)
		return err_set(w->e, RC_LIMIT,
			       SPAN_FMT ": files that name files are limited to a depth of %d",
			       SPAN_ARG(path), FILES_DEPTH_MAX);
	if (span_cstr(path, name, sizeof(name)) != RC_OK)
		return err_set(w->e, RC_SYNTAX, "file name too long: " SPAN_FMT "...",
			       SPAN_ARG(span_head(path, 60)));
	if ((rc = conf_read_file(name, &bytes, &n, w->e)) != RC_OK)
		return rc;
	lines_init(&l, span_make(bytes, n), name);
	while ((rc = lines_next(&l, &line, &number, w->e)) == RC_OK)
		if ((rc = split(w, span_dup(w->a, line), true, negated, depth + 1)) != RC_OK) {
			if (rc == RC_SYNTAX)
				(void)err_prefix(w->e, "%s line %u", name, number);
			break;
		}
	lines_release(&l);
	free(bytes);
	return rc == RC_EOF ? RC_OK : rc;
}

static enum rc split(struct words *w, struct span text, bool files, bool negated, unsigned depth)
{
	struct span rest = text, word, inner, after;
	enum rc rc;

	while ((rc = next_word(&rest, &word)) == RC_OK) {
		struct span plain = word;
		bool no = negated;

		for (; files && plain.n > 0 && plain.p[0] == '!'; plain = span_skip(plain, 1))
			no = !no;
		if (files && plain.n > 0 && plain.p[0] == '/') {
			if ((rc = words_of_file(w, plain, no, depth)) != RC_OK)
				return rc;
			continue;
		}
		after = word;
		if (word.p[0] == '{' && conf_braces(&after, &inner) == RC_OK && after.n == 0)
			word = inner;
		if ((rc = add(w, word, negated)) != RC_OK)
			return rc;
	}
	if (rc == RC_SYNTAX)
		return err_set(w->e, RC_SYNTAX, "missing '}' in \"" SPAN_FMT "\"",
			       SPAN_ARG(span_head(word, 100)));
	return RC_OK;
}

enum rc conf_words(struct span text, bool files, struct arena *a, struct span **words, size_t *n,
		   struct err *e)
{
	struct words w = { .a = a, .e = e };
	enum rc rc = split(&w, span_dup(a, text), files, false, 0);

	if (rc != RC_OK)
		return rc;
	*words = w.word;
	*n = w.n;
	return RC_OK;
}

static int64_t unit_seconds(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	case 'w':
		return 604800;
	default:
		return 0;
	}
}

size_t conf_time_digits(struct span s)
{
	size_t n = 0;

	while (n < s.n && ascii_isdigit(s.p[n]))
		n++;
	return n;
}

enum rc conf_parse_time(struct span s, char unit, int64_t *seconds)
{
	size_t digits = conf_time_digits(s);
	uint64_t value;
	enum rc rc;

	if (digits < s.n)
		unit = s.p[digits];
	if (unit_seconds(unit) == 0)
		return RC_SYNTAX;
	if ((rc = span_to_u64(span_head(s, digits), INT32_MAX, &value)) != RC_OK)
		return rc;
	int64_t each = unit_seconds(unit);
	if ((int64_t)value > INT32_MAX / each) /* 68 years: what fits the field of every kernel call */
		return RC_LIMIT;
	*seconds = (int64_t)value * each;
	return RC_OK;
}
