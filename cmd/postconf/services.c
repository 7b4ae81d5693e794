/* services.c - the entries of master.cf, in columns (postconf -M). */
#include "postconf.h"

static const size_t column_goal[8] = { 0, 11, 17, 25, 33, 41, 49, 57 };

static bool part_matches(struct span pattern, struct span text)
{
	return span_is(pattern, "*") || span_eq(pattern, text);
}

/* "smtp", "smtp/inet", with "*" for any. */
static bool matches(const char *request, const struct master_entry *en)
{
	struct span rest = span_str(request), name = rest, type = SPAN("*");
	ptrdiff_t slash = span_rchr(rest, '/');

	if (part_matches(rest, en->name)) /* a name that holds a slash itself */
		return true;
	if (slash >= 0) {
		name = span_head(rest, (size_t)slash);
		type = span_skip(rest, (size_t)slash + 1);
	}
	return part_matches(name, en->name) && part_matches(type, en->column[1]);
}

static bool has_blank(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (ascii_isspace(s.p[i]))
			return true;
	return false;
}

static struct span quoted(struct arena *a, struct span arg)
{
	if (arg.n == 0 || arg.p[0] == '{' || has_blank(arg))
		return span_printf(a, "{" SPAN_FMT "}", SPAN_ARG(arg));
	return arg;
}

static void print_columns(struct out *out, const struct master_entry *en)
{
	for (size_t i = 0; i < 8; i++) {
		struct span text = i < 7 ? en->column[i] : en->argv[0];

		if (i > 0) {
			do {
				putchar(' ');
				out->column++;
			} while (out->column < column_goal[i]);
		}
		(void)fwrite(text.p, 1, text.n, stdout);
		out->column += text.n;
	}
	out->blank = true;
}

/* A setting has a line of its own when folding; so does what follows one. */
static void print_entry(const struct options *o, const struct conf *c, const struct master_entry *en,
			struct arena *a)
{
	struct out out = { .fold = o->fold, .width = 79 };
	bool options = true;

	print_columns(&out, en);
	for (size_t i = 1; i < en->argc; i++) {
		struct span arg = en->argv[i], value;
		struct err e = { 0 };

		options = options && arg.n > 0 && arg.p[0] == '-';
		if (!options || !span_is(arg, "-o") || i + 1 == en->argc) {
			out_word(&out, quoted(a, arg));
			continue;
		}
		value = en->argv[++i];
		if (o->expand && conf_expand(c, value, a, &value, &e) != RC_OK)
			fatal("%s/master.cf line %u: %s", o->dir, en->line, e.text);
		out_break(&out);
		out_word(&out, span_printf(a, "-o " SPAN_FMT, SPAN_ARG(quoted(a, value))));
		if (i + 1 < en->argc && !span_is(en->argv[i + 1], "-o"))
			out_break(&out);
	}
	out_end(&out);
}

void show_services(const struct options *o)
{
	struct conf *c = load_conf(o);
	struct mastercf *m = NULL;
	struct err e = { 0 };
	struct arena a;
	bool *found;

	if (mastercf_load(o->dir, c, &m, &e) != RC_OK)
		fatal("%s", e.text);
	arena_init(&a);
	found = arena_array(&a, (size_t)o->args + 1, sizeof(*found));
	for (size_t i = 0; i < m->n; i++) {
		bool show = o->args == 0;

		for (int j = 0; j < o->args; j++)
			if (matches(o->arg[j], &m->entry[i]))
				show = found[j] = true;
		if (show)
			print_entry(o, c, &m->entry[i], &a);
	}
	(void)fflush(stdout);
	for (int j = 0; j < o->args; j++)
		if (!found[j])
			warn("unmatched request: \"%s\"", o->arg[j]);
	warn_of_settings(c, m);
	arena_release(&a);
	mastercf_free(&m);
	conf_free(&c);
}
