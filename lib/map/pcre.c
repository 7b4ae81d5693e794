/* map/pcre.c - pcre: regular expressions of PCRE2, without JIT (no writable code), with limits on time, depth
 * and memory, since what they are matched against comes from outside (pcre_table(5)). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/codec.h"
#include "map/pattern.h"
#include <pcre2.h>

#define MATCH_LIMIT 1000000 /* steps of one match */
#define DEPTH_LIMIT 20000
#define HEAP_KIB    20480

struct compiled {
	pcre2_code *code;
	pcre2_match_data *data;
};
static pcre2_match_context *limits;

static bool toggle(char flag, unsigned *options)
{
	static const struct {
		char flag;
		unsigned option;
	} flags[] = {
		{ 'i', PCRE2_CASELESS }, { 'm', PCRE2_MULTILINE }, { 's', PCRE2_DOTALL },
		{ 'x', PCRE2_EXTENDED }, { 'A', PCRE2_ANCHORED },  { 'E', PCRE2_DOLLAR_ENDONLY },
		{ 'U', PCRE2_UNGREEDY },
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (flags[i].flag != flag)
			continue;
		*options ^= flags[i].option;
		return true;
	}
	return false;
}

static void make_limits(void)
{
	if (limits)
		return;
	if (!(limits = pcre2_match_context_create(NULL)))
		abort();
	pcre2_set_match_limit(limits, MATCH_LIMIT);
	pcre2_set_depth_limit(limits, DEPTH_LIMIT);
	pcre2_set_heap_limit(limits, HEAP_KIB);
}

static enum rc compile(const char *pattern, unsigned options, bool utf8, void **out, unsigned *groups,
		       struct err *e)
{
	struct compiled *c;
	PCRE2_UCHAR text[256];
	PCRE2_SIZE at;
	uint32_t n = 0;
	int code;
	/* One in another character set is taken byte by byte, as its writer meant it. */
	bool unicode = utf8 && utf8_valid(span_str(pattern));
	pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
				       options | (unicode ? PCRE2_UTF : 0), &code, &at, NULL);

	if (!re) {
		pcre2_get_error_message(code, text, sizeof text);
		return err_set(e, RC_SYNTAX, "error in regex at offset %zu: %s", (size_t)at,
			       (const char *)text);
	}
	make_limits();
	pcre2_pattern_info(re, PCRE2_INFO_CAPTURECOUNT, &n);
	c = xcalloc(1, sizeof *c);
	c->code = re;
	if (!(c->data = pcre2_match_data_create_from_pattern(re, NULL)))
		abort();
	*groups = n;
	*out = c;
	return RC_OK;
}

static enum rc match(void *re, struct span subject, struct span *group, size_t n, struct err *e)
{
	struct compiled *c = re;
	PCRE2_SIZE *at;
	PCRE2_UCHAR text[256];
	int r = pcre2_match(c->code, (PCRE2_SPTR)subject.p, subject.n, 0, 0, c->data, limits);

	if (r == PCRE2_ERROR_NOMATCH)
		return RC_NOTFOUND;
	if (r < 0) {
		pcre2_get_error_message(r, text, sizeof text);
		return err_set(e, RC_LIMIT, "%s", (const char *)text);
	}
	at = pcre2_get_ovector_pointer(c->data);
	for (size_t i = 0; i < n; i++) /* \K may put the start behind the end */
		group[i] = i >= (size_t)r || at[2 * i] == PCRE2_UNSET || at[2 * i] > at[2 * i + 1]
			       ? SPAN_NONE
			       : span_make(subject.p + at[2 * i], at[2 * i + 1] - at[2 * i]);
	return RC_OK;
}

static void release(void *re)
{
	struct compiled *c = re;

	pcre2_match_data_free(c->data);
	pcre2_code_free(c->code);
	free(c);
}

static const struct pattern_engine engine = {
	.name = "pcre",
	.options = PCRE2_CASELESS | PCRE2_DOTALL,
	.below_range = "out of range",
	.unclosed = "ignoring",
	.obsolete = 'X',
	.toggle = toggle,
	.compile = compile,
	.match = match,
	.release = release,
};

static enum rc open_pcre(struct map *m, struct err *e)
{
	return pattern_open(m, &engine, e);
}

const struct map_driver map_pcre = {
	.name = "pcre",
	.flags = MD_PATTERN | MD_NOFOLD | MD_EMPTY_KEY,
	.open = open_pcre,
	.lookup = pattern_lookup,
	.close = pattern_close,
	.changed = pattern_changed,
};
