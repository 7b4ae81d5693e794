/* command.c - verbs and what may follow them, as a table. */
#include "command.h"

enum argument {
	ARG_NONE,
	ARG_TEXT, /* the rest of the line; spaces belong to it (RFC 1939 section 7: PASS) */
	ARG_AUTH,
	ARG_MSG,
	ARG_MSG_MAY, /* none: all messages */
	ARG_MSG_LINES,
	ARG_ANY, /* not looked at */
};
static const struct {
	const char *word;
	enum pop3_verb verb;
	enum argument argument;
} verbs[] = {
	{ "APOP", POP3_APOP, ARG_ANY },	    { "AUTH", POP3_AUTH, ARG_AUTH },
	{ "CAPA", POP3_CAPA, ARG_NONE },    { "DELE", POP3_DELE, ARG_MSG },
	{ "LIST", POP3_LIST, ARG_MSG_MAY }, { "NOOP", POP3_NOOP, ARG_NONE },
	{ "PASS", POP3_PASS, ARG_TEXT },    { "QUIT", POP3_QUIT, ARG_NONE },
	{ "RETR", POP3_RETR, ARG_MSG },	    { "RSET", POP3_RSET, ARG_NONE },
	{ "STAT", POP3_STAT, ARG_NONE },    { "STLS", POP3_STLS, ARG_NONE },
	{ "TOP", POP3_TOP, ARG_MSG_LINES }, { "UIDL", POP3_UIDL, ARG_MSG_MAY },
	{ "USER", POP3_USER, ARG_TEXT },
};

static bool fail(const char **why, const char *text)
{
	*why = text;
	return false;
}

static bool take_msg(struct span *rest, struct pop3_command *c, const char **why)
{
	struct span word;
	uint64_t v;

	if (!span_next_word(rest, " ", &word) || span_to_u64(word, UINT32_MAX, &v) != RC_OK || v == 0)
		return fail(why, "Invalid message number");
	c->has_msg = true;
	c->msg = (uint32_t)v;
	return true;
}

static bool take_auth(struct span *rest, struct pop3_command *c)
{
	struct span word;

	if (!span_next_word(rest, " ", &c->text))
		return true;
	c->has_initial = span_next_word(rest, " ", &word);
	if (c->has_initial)
		c->initial = word;
	return true;
}

static bool take_argument(enum argument kind, struct span rest, struct pop3_command *c, const char **why)
{
	struct span word;

	switch (kind) {
	case ARG_ANY:
		return true;
	case ARG_TEXT:
		c->text = rest;
		return rest.n > 0 || fail(why, "Argument missing");
	case ARG_NONE:
		break;
	case ARG_AUTH:
		take_auth(&rest, c);
		break;
	case ARG_MSG_MAY:
		if (span_trim(rest).n == 0)
			return true;
		/* fallthrough */
	case ARG_MSG:
		if (!take_msg(&rest, c, why))
			return false;
		break;
	case ARG_MSG_LINES:
		if (!take_msg(&rest, c, why))
			return false;
		if (!span_next_word(&rest, " ", &word) || span_to_u64(word, UINT32_MAX, &c->lines) != RC_OK)
			return fail(why, "Invalid line count");
		break;
	}
	return span_next_word(&rest, " ", &word) ? fail(why, "Too many arguments") : true;
}

enum rc pop3_command_parse(struct span line, struct pop3_command *out, const char **why)
{
	ptrdiff_t space = span_chr(line, ' ');
	struct span verb = space < 0 ? line : span_head(line, (size_t)space);
	struct span rest = space < 0 ? SPAN_NONE : span_skip(line, (size_t)space + 1);

	*out = (struct pop3_command){ .verb = POP3_UNKNOWN };
	*why = "Unknown command";
	if (span_chr(line, '\0') >= 0) {
		*why = "NUL in a command";
		return RC_SYNTAX;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!span_is_ci(verb, verbs[i].word))
			continue;
		out->verb = verbs[i].verb;
		return take_argument(verbs[i].argument, rest, out, why) ? RC_OK : RC_SYNTAX;
	}
	return RC_SYNTAX;
}
