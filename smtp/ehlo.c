/* ehlo.c - see ehlo.h. */
#include "ehlo.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *keyword;
	unsigned feature;
} keywords[] = {
	{ "PIPELINING", FEAT_PIPELINING },
	{ "8BITMIME", FEAT_8BITMIME },
	{ "STARTTLS", FEAT_STARTTLS },
	{ "DSN", FEAT_DSN },
	{ "SMTPUTF8", FEAT_SMTPUTF8 },
	{ "SIZE", FEAT_SIZE },
	{ "AUTH", FEAT_AUTH },
}, xforward[] = {
	{ "NAME", FEAT_XFORWARD_NAME },	    { "ADDR", FEAT_XFORWARD_ADDR }, { "PORT", FEAT_XFORWARD_PORT },
	{ "PROTO", FEAT_XFORWARD_PROTO },   { "HELO", FEAT_XFORWARD_HELO }, { "IDENT", FEAT_XFORWARD_IDENT },
	{ "SOURCE", FEAT_XFORWARD_SOURCE },
};

static bool discarded(struct span list, struct span keyword)
{
	struct span w;
	while (span_next_word(&list, ", \t\r\n", &w))
		if (span_eq_ci(w, keyword))
			return true;
	return false;
}

static void take_xforward(struct ehlo *o, struct span rest)
{
	struct span word;
	while (span_next_word(&rest, " \t", &word))
		for (size_t i = 0; i < ARRAY_LEN(xforward); i++)
			if (span_is_ci(word, xforward[i].keyword))
				o->features |= xforward[i].feature;
}

/* Several lines with AUTH add up. */
static void take_mechanisms(struct ehlo *o, struct span rest)
{
	struct span word;
	while (span_next_word(&rest, " \t=", &word)) {
		size_t have = strlen(o->mechanisms);
		if (word.n + have + 2 <= sizeof o->mechanisms)
			snprintf(o->mechanisms + have, sizeof o->mechanisms - have, "%s" SPAN_FMT,
				 have > 0 ? " " : "", SPAN_ARG(word));
	}
}

static struct span take_size(struct ehlo *o, struct span rest)
{
	struct span word;
	uint64_t n;
	if (!span_next_word(&rest, " \t", &word))
		return SPAN_NONE;
	if (span_to_u64(word, UINT64_MAX / 2, &n) != RC_OK)
		return word;
	o->size_limit = n;
	return SPAN_NONE;
}

struct span ehlo_take(struct ehlo *o, struct span line, struct span discard)
{
	struct span word;
	if (!span_next_word(&line, " \t=", &word) || discarded(discard, word))
		return SPAN_NONE;
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
		if (span_is_ci(word, keywords[i].keyword))
			o->features |= keywords[i].feature;
	if (span_is_ci(word, "XFORWARD"))
		take_xforward(o, line);
	else if (span_is_ci(word, "AUTH"))
		take_mechanisms(o, line);
	return span_is_ci(word, "SIZE") ? take_size(o, line) : SPAN_NONE;
}
