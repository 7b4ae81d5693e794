/* access_action.c - see access_action.h. */
#include "access_action.h"
#include "mime/address.h"
#include "mime/header.h"
#include "smtp/dsn.h"

#define FILTER_MAX 500 /* bytes of transport:destination */

static const struct {
	const char *word;
	enum access_verb verb;
} words[] = {
	{ "OK", ACCESS_OK },
	{ "RELAY", ACCESS_OK },
	{ "DUNNO", ACCESS_DUNNO },
	{ "REJECT", ACCESS_REFUSE },
	{ "DEFER", ACCESS_DEFER },
	{ "HANGUP", ACCESS_HANGUP },
	{ "DEFER_IF_PERMIT", ACCESS_DEFER_IF_PERMIT },
	{ "DEFER_IF_REJECT", ACCESS_DEFER_IF_REJECT },
	{ "DISCARD", ACCESS_DISCARD },
	{ "HOLD", ACCESS_HOLD },
	{ "FILTER", ACCESS_FILTER },
	{ "REDIRECT", ACCESS_REDIRECT },
	{ "BCC", ACCESS_BCC },
	{ "PREPEND", ACCESS_PREPEND },
	{ "WARN", ACCESS_WARN },
	{ "INFO", ACCESS_INFO },
};

static bool all_digits(struct span w)
{
	for (size_t i = 0; i < w.n; i++)
		if (!ascii_isdigit(w.p[i]))
			return false;
	return w.n > 0;
}

/* "550", "450": not what is a number alone. */
static bool refusal_code(struct span word, unsigned *code)
{
	uint64_t v;

	if (word.n != 3 || span_to_u64(word, 599, &v) != RC_OK || v < 400)
		return false;
	*code = (unsigned)v;
	return true;
}

static void find_verb(struct span value, struct span word, struct access_action *out)
{
	out->verb = ACCESS_RULES;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (span_is_ci(word, words[i].word)) {
			out->verb = words[i].verb;
			return;
		}
	if (all_digits(span_trim(value)))
		out->verb = ACCESS_OK;
	else if (refusal_code(word, &out->code))
		out->verb = ACCESS_REFUSE;
}

static enum rc judge(const struct access_action *action, bool utf8, struct err *e)
{
	switch (action->verb) {
	case ACCESS_FILTER:
		if (span_chr(action->text, ':') < 0 || action->text.n > FILTER_MAX)
			return err_set(e, RC_SYNTAX, "FILTER needs transport:destination");
		return RC_OK;
	case ACCESS_REDIRECT:
	case ACCESS_BCC:
		if (!address_valid(action->text, utf8))
			return err_set(e, RC_SYNTAX, "%s needs an address",
				       action->verb == ACCESS_BCC ? "BCC" : "REDIRECT");
		return RC_OK;
	case ACCESS_PREPEND:
		if (!header_is_field(action->text))
			return err_set(e, RC_SYNTAX, "PREPEND needs headername: headervalue");
		return RC_OK;
	default:
		return RC_OK;
	}
}

enum rc access_action_parse(struct span value, bool utf8, struct access_action *out, struct err *e)
{
	struct span rest = value, word;
	enum rc rc;

	*out = (struct access_action){ .verb = ACCESS_DUNNO };
	if (!span_next_word(&rest, " \t", &word))
		return RC_OK;
	find_verb(value, word, out);
	out->text = out->verb == ACCESS_RULES ? value : span_trim(rest);
	if (out->verb == ACCESS_REFUSE || out->verb == ACCESS_DEFER)
		(void)dsn_take(&out->text, "245", &out->dsn);
	if ((rc = judge(out, utf8, e)) != RC_OK)
		out->verb = ACCESS_DUNNO;
	return rc;
}
