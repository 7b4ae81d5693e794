/* smtp/check_action.c - see check_action.h. */
#include "smtp/check_action.h"
#include "mime/header.h"
#include "smtp/dsn.h"

#define SHOWN 200 /* bytes of a wrong text, in its story */

enum need { NEEDS_NOTHING, NEEDS_LINE, NEEDS_ADDRESS, NEEDS_TRANSPORT };

static const struct word {
	const char *name;
	enum check_verb verb;
	enum need need;
} words[] = {
	{ "BCC", CHECK_BCC, NEEDS_ADDRESS },	       { "DISCARD", CHECK_DISCARD, NEEDS_NOTHING },
	{ "DUNNO", CHECK_DUNNO, NEEDS_NOTHING },       { "FILTER", CHECK_FILTER, NEEDS_TRANSPORT },
	{ "HOLD", CHECK_HOLD, NEEDS_NOTHING },	       { "IGNORE", CHECK_IGNORE, NEEDS_NOTHING },
	{ "INFO", CHECK_INFO, NEEDS_NOTHING },	       { "OK", CHECK_DUNNO, NEEDS_NOTHING },
	{ "PASS", CHECK_PASS, NEEDS_NOTHING },	       { "PREPEND", CHECK_PREPEND, NEEDS_LINE },
	{ "REDIRECT", CHECK_REDIRECT, NEEDS_ADDRESS }, { "REJECT", CHECK_REJECT, NEEDS_NOTHING },
	{ "REPLACE", CHECK_REPLACE, NEEDS_LINE },      { "STRIP", CHECK_STRIP, NEEDS_NOTHING },
	{ "WARN", CHECK_WARN, NEEDS_NOTHING },
};

static enum rc judge_line(const struct word *w, struct span text, const char *map, bool header, struct err *e)
{
	if (text.n == 0)
		return err_set(e, RC_SYNTAX, "%s action without text in %s map", w->name, map);
	if (header && !header_is_field(text))
		return err_set(e, RC_SYNTAX,
			       "bad %s header text \"" SPAN_FMT
			       "\" in %s map -- need \"headername: headervalue\"",
			       w->name, SPAN_ARG(span_head(text, SHOWN)), map);
	return RC_OK;
}

static enum rc judge(const struct word *w, struct span text, const char *map, bool header, struct err *e)
{
	struct span shown = span_head(text, SHOWN);

	switch (w->need) {
	case NEEDS_NOTHING:
		return RC_OK;
	case NEEDS_LINE:
		return judge_line(w, text, map, header, e);
	case NEEDS_ADDRESS:
		if (span_chr(text, '@') >= 0)
			return RC_OK;
		return err_set(e, RC_SYNTAX, "bad %s \"" SPAN_FMT "\" in %s map -- need user@domain",
			       w->verb == CHECK_BCC ? "BCC address" : "REDIRECT target", SPAN_ARG(shown),
			       map);
	case NEEDS_TRANSPORT:
		if (text.n == 0)
			return err_set(e, RC_SYNTAX, "missing FILTER command argument in %s map", map);
		if (span_chr(text, ':') < 0)
			return err_set(e, RC_SYNTAX,
				       "bad FILTER command " SPAN_FMT " in %s -- need transport:destination",
				       SPAN_ARG(shown), map);
		return RC_OK;
	}
	return RC_OK;
}

enum rc check_action_parse(struct span value, const char *map, bool header, struct check_action *out,
			   struct err *e)
{
	struct span word, rest = value;

	*out = (struct check_action){ .verb = CHECK_DUNNO };
	if (!span_next_word(&rest, " \t", &word))
		return RC_OK;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!span_is_ci(word, words[i].name))
			continue;
		out->verb = words[i].verb;
		out->text = span_trim(rest);
		if (out->verb == CHECK_REJECT)
			(void)dsn_take(&out->text, "45", &out->dsn);
		return judge(&words[i], out->text, map, header, e);
	}
	return err_set(e, RC_SYNTAX, "unknown command in %s map: " SPAN_FMT, map,
		       SPAN_ARG(span_head(value, SHOWN)));
}
