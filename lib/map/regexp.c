/* map/regexp.c - regexp: POSIX regular expressions (regexp_table(5)). */
#include "map/pattern.h"
#include <regex.h>

static bool toggle(char flag, unsigned *options)
{
	switch (flag) {
	case 'i':
		*options ^= REG_ICASE;
		return true;
	case 'm':
		*options ^= REG_NEWLINE;
		return true;
	case 'x':
		*options ^= REG_EXTENDED;
		return true;
	}
	return false;
}

/* The library copies what a "+" or "{n,m}" repeats, so that "a++++++" doubles with each sign. This adds up
 * roughly how much. */
#define COST_MAX  20000
#define RUN_MAX	  3 /* "a***" */
#define DEPTH_MAX 200

static size_t skip_brackets(const char *p)
{
	size_t i = 1;

	i += p[i] == '^';
	i += p[i] == ']';
	while (p[i] && p[i] != ']')
		i++;
	return p[i] ? i : i - 1;
}

static uint64_t repeats(const char *p)
{
	uint64_t most = 1, n = 0;

	for (; *p && *p != '}'; p++) {
		n = ascii_isdigit(*p) ? n * 10 + (uint64_t)(*p - '0') : 0;
		most = n > most ? n : most;
		if (most > COST_MAX)
			break;
	}
	return most + 1;
}

static bool too_complex(const char *p)
{
	uint64_t sum[DEPTH_MAX] = { 0 }, last = 1; /* of the group so far; of what stands last in it */
	size_t depth = 0, run = 0;

	for (; *p; p++) {
		if (*p == '+' || *p == '*' || *p == '{') { /* "\\{" of the basic syntax, too */
			last *= *p == '{' ? repeats(p + 1) : 2;
			if (last > COST_MAX || ++run > RUN_MAX)
				return true;
			continue;
		}
		run = 0;
		sum[depth] += last;
		last = 1;
		if (sum[depth] > COST_MAX)
			return true;
		if (*p == '\\' && p[1] && p[1] != '{' && p[1] != '(' && p[1] != ')') {
			p++;
		} else if (*p == '[') {
			p += skip_brackets(p);
		} else if (*p == '(') {
			if (++depth == DEPTH_MAX)
				return true;
			sum[depth] = 0;
		} else if (*p == ')' && depth > 0) {
			last = sum[depth--] + 1;
		}
	}
	return sum[depth] + last > COST_MAX;
}

static enum rc compile(const char *pattern, unsigned options, bool utf8, void **out, unsigned *groups,
		       struct err *e)
{
	regex_t *re;
	char text[256];
	int r;

	(void)utf8; /* bytes: the locale is never set */
	if (too_complex(pattern))
		return err_set(e, RC_LIMIT, "regular expression too complex");
	re = xcalloc(1, sizeof *re);
	r = regcomp(re, pattern, (int)options);
	if (r) {
		regerror(r, re, text, sizeof text);
		free(re);
		return err_set(e, RC_SYNTAX, "%s", text);
	}
	*groups = (unsigned)re->re_nsub;
	*out = re;
	return RC_OK;
}

/* The sanitizer's own regexec reads its argument up to a NUL, whatever REG_STARTEND says. */
static int execute(const regex_t *re, struct span subject, size_t n, regmatch_t *at)
{
	at[0].rm_so = 0;
	at[0].rm_eo = (regoff_t)subject.n;
#ifdef POSTERN_SAN
	char *copy = xcalloc(1, subject.n + 1);
	memcpy(copy, subject.p, subject.n);
	int r = regexec(re, copy, n, at, REG_STARTEND);
	free(copy);
	return r;
#else
	return regexec(re, subject.p, n, at, REG_STARTEND);
#endif
}

static enum rc match(void *re, struct span subject, struct span *group, size_t n, struct err *e)
{
	regmatch_t at[PATTERN_GROUPS_MAX + 1];
	char text[256];
	int r;

	r = execute(re, subject, n, at);
	if (r == REG_NOMATCH)
		return RC_NOTFOUND;
	if (r) {
		regerror(r, re, text, sizeof text);
		return err_set(e, RC_LIMIT, "%s", text);
	}
	for (size_t i = 0; i < n; i++)
		group[i] = at[i].rm_so < 0
			       ? SPAN_NONE
			       : span_make(subject.p + at[i].rm_so, (size_t)(at[i].rm_eo - at[i].rm_so));
	return RC_OK;
}

static void release(void *re)
{
	regfree(re);
	free(re);
}

static const struct pattern_engine engine = {
	.name = "regexp",
	.options = REG_EXTENDED | REG_ICASE,
	.below_range = "out-of-range",
	.unclosed = "skipping",
	.toggle = toggle,
	.compile = compile,
	.match = match,
	.release = release,
};

static enum rc open_regexp(struct map *m, struct err *e)
{
	return pattern_open(m, &engine, e);
}

const struct map_driver map_regexp = {
	.name = "regexp",
	.flags = MD_PATTERN | MD_NOFOLD | MD_EMPTY_KEY,
	.open = open_regexp,
	.lookup = pattern_lookup,
	.close = pattern_close,
	.changed = pattern_changed,
};
