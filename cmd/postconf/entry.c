/* entry.c - one service of master.cf as text: in columns, or its command alone. */
#include "postconf.h"

const char *const field_name[FIELDS] = { "service", "type",   "private",       "unprivileged",
					 "chroot",  "wakeup", "process_limit", "command" };
static const size_t column_goal[FIELDS] = { 0, 11, 17, 25, 33, 41, 49, 57 };

bool has_blank(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (ascii_isspace(s.p[i]))
			return true;
	return false;
}

struct span entry_quoted(struct arena *a, struct span arg)
{
	if (arg.n == 0 || arg.p[0] == '{' || has_blank(arg))
		return span_printf(a, "{" SPAN_FMT "}", SPAN_ARG(arg));
	return arg;
}

void entry_columns(struct out *out, const struct master_entry *en)
{
	for (size_t i = 0; i < FIELD_COMMAND; i++) {
		out_raw(out, en->column[i]);
		do
			out_raw(out, SPAN(" "));
		while (out->column < column_goal[i + 1]);
	}
	out->blank = false;
}

/* A setting has a line of its own when folding; so does what follows one. */
void entry_command(struct out *out, const struct conf *c, const struct master_entry *en, struct arena *a)
{
	bool options = true;

	out_word(out, en->argv[0]);
	for (size_t i = 1; i < en->argc; i++) {
		struct span arg = en->argv[i], value;
		struct err e = { 0 };

		options = options && arg.n > 0 && arg.p[0] == '-';
		if (!options || !span_is(arg, "-o") || i + 1 == en->argc) {
			out_word(out, entry_quoted(a, arg));
			continue;
		}
		value = en->argv[++i];
		if (c != NULL && conf_expand(c, value, a, &value, &e) != RC_OK)
			fatal("%s/master.cf line %u: %s", conf_dir(c), en->line, e.text);
		out_break(out);
		out_word(out, span_printf(a, "-o " SPAN_FMT, SPAN_ARG(entry_quoted(a, value))));
		if (i + 1 < en->argc && !span_is(en->argv[i + 1], "-o"))
			out_break(out);
	}
}

void entry_print(struct out *out, const struct conf *c, const struct master_entry *en, struct arena *a)
{
	entry_columns(out, en);
	entry_command(out, c, en, a);
	out_end(out);
}
