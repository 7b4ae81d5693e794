/* edit_master.c - changing master.cf: services (-M), their fields (-F) and their settings (-P).
 *
 * A changed service is written anew, in columns, where its first line was. Comments and other services stay byte
 * for byte, also comments between the lines of a service. */
#include "postconf.h"

struct edit {
	const struct options *o;
	struct mastercf *m, *again; /* the old text, the new one */
	struct request *request;
	bool *touched;		/* per service */
	struct mastercf **made; /* of texts of the command line; services point into them */
	size_t makes, makes_cap;
	struct master_entry *meant; /* what the new text has to say, in its order */
	size_t meant_n, meant_cap;
	struct arena arena;
	struct buf out;
};

static struct span value_of(const struct request *r)
{
	struct span text = span_str(r->text);
	ptrdiff_t eq = span_chr(text, '=');

	if (eq < 0)
		fatal("missing '=' after attribute name: \"%s\"", r->text);
	return span_trim(span_skip(text, (size_t)eq + 1));
}

/* One service from its text, checked as if it stood in the file. */
static struct master_entry parse_service(struct edit *ed, struct span text, const char *request)
{
	struct mastercf *m = NULL;
	struct err e = { 0 };

	if (mastercf_parse(text, "command line", NULL, &m, &e) != RC_OK)
		fatal("%s: \"%s\"", e.text, request);
	if (ed->makes == ed->makes_cap)
		ed->made = arena_grow(&ed->arena, ed->made, ed->makes, &ed->makes_cap, sizeof(*ed->made));
	ed->made[ed->makes++] = m;
	if (m->n != 1)
		fatal("bad field count: \"%s\"", request);
	return m->entry[0];
}

static void check_field(const struct request *r, struct span value)
{
	if (span_is(r->part[2], "*"))
		fatal("-Fe does not accept wild-card field name");
	if (has_blank(value))
		fatal("-Fe does not accept whitespace in non-command field: \"%s\"", r->text);
	if (value.n == 0)
		fatal("-Fe does not accept an empty field, \"-\" is its default: \"%s\"", r->text);
}

static void set_field(struct edit *ed, struct request *r, struct master_entry *en)
{
	struct buf text;
	struct out out = { .width = 80, .to = &text };
	unsigned line = en->line;

	if (!span_is(r->part[2], field_name[FIELD_COMMAND]))
		check_field(r, value_of(r));
	buf_init(&text, CONF_FILE_MAX);
	for (size_t i = 0; i < FIELDS; i++) {
		if (i > 0)
			out_raw(&out, SPAN(" "));
		out.blank = false;
		if (span_is(r->part[2], field_name[i]))
			out_raw(&out, value_of(r));
		else if (i < FIELD_COMMAND)
			out_raw(&out, en->column[i]);
		else
			entry_command(&out, NULL, en, &ed->arena);
	}
	struct span made = span_dup(&ed->arena, buf_span(&text));
	buf_release(&text);
	*en = parse_service(ed, made, r->text);
	en->line = line;
}

/* The arguments without the settings called `name`, and with `setting` in the place of the first of them, else
 * behind the last option. */
static void set_setting(struct edit *ed, struct master_entry *en, struct span name,
			const struct span *setting)
{
	struct span *argv = arena_array(&ed->arena, en->argc + 2, sizeof(*argv));
	size_t n = 0, i = 1;
	bool done = setting == NULL;

	argv[n++] = en->argv[0];
	while (i < en->argc && en->argv[i].n > 0 && en->argv[i].p[0] == '-') {
		struct span value = i + 1 < en->argc ? en->argv[i + 1] : SPAN_NONE;
		bool same = span_is(en->argv[i], "-o") && span_starts(value, name) && value.n > name.n &&
			    value.p[name.n] == '=';

		if (!same) {
			bool pair = span_is(en->argv[i], "-o") && i + 1 < en->argc;

			argv[n++] = en->argv[i++];
			if (pair)
				argv[n++] = en->argv[i++];
			continue;
		}
		if (!done) {
			argv[n++] = SPAN("-o");
			argv[n++] = *setting;
			done = true;
		}
		i += 2;
	}
	if (!done) {
		argv[n++] = SPAN("-o");
		argv[n++] = *setting;
	}
	while (i < en->argc)
		argv[n++] = en->argv[i++];
	en->argv = argv;
	en->argc = n;
}

static void change(struct edit *ed, struct request *r, struct master_entry *en)
{
	unsigned line = en->line;
	struct span setting;

	switch (ed->o->subject) {
	case S_MAIN:
	case S_SERVICES:
		*en = parse_service(ed, value_of(r), r->text);
		en->line = line;
		break;
	case S_FIELDS:
		set_field(ed, r, en);
		break;
	case S_SETTINGS:
		if (span_is(r->part[2], "*"))
			fatal("-Pe does not accept wild-card parameter name");
		if (has_blank(r->part[2]))
			fatal("missing '=' after attribute name: \"%s\"", r->text);
		if (ed->o->action == A_EDIT)
			setting = span_printf(&ed->arena, SPAN_FMT "=" SPAN_FMT, SPAN_ARG(r->part[2]),
					      SPAN_ARG(value_of(r)));
		set_setting(ed, en, r->part[2], ed->o->action == A_EDIT ? &setting : NULL);
		break;
	}
}

static bool rewrites(const struct options *o)
{
	return o->action == A_EDIT || o->subject == S_SETTINGS;
}

static void apply(struct edit *ed)
{
	for (size_t i = 0; i < ed->m->n; i++) {
		struct master_entry old = ed->m->entry[i]; /* the requests mean what stands in the file */

		for (int j = 0; j < ed->o->args; j++) {
			if (!request_matches(&ed->request[j], &old))
				continue;
			ed->request[j].found = ed->touched[i] = true;
			if (rewrites(ed->o))
				change(ed, &ed->request[j], &ed->m->entry[i]);
		}
	}
}

static void put(struct edit *ed, struct span s)
{
	if (buf_append(&ed->out, s) != RC_OK)
		fatal("%s/master.cf would be longer than %zu bytes", ed->o->dir, CONF_FILE_MAX);
}

static void put_entry(struct edit *ed, const struct master_entry *en)
{
	struct out out = { .fold = true, .width = 79, .to = &ed->out };

	entry_print(&out, NULL, en, &ed->arena);
}

static void mean(struct edit *ed, const struct master_entry *en)
{
	if (ed->meant_n == ed->meant_cap)
		ed->meant =
		    arena_grow(&ed->arena, ed->meant, ed->meant_n, &ed->meant_cap, sizeof(*ed->meant));
	ed->meant[ed->meant_n++] = *en;
}

static bool blank_or_comment(struct span line)
{
	line = span_trim(line);
	return line.n == 0 || line.p[0] == '#';
}

static void put_line(struct edit *ed, struct span line, const struct master_entry *en, bool starts)
{
	if (en == NULL || blank_or_comment(line)) {
		put(ed, line);
		put(ed, SPAN("\n"));
	} else if (rewrites(ed->o)) {
		if (starts)
			put_entry(ed, en);
	} else if (ed->o->action == A_COMMENT) {
		put(ed, SPAN("#"));
		put(ed, line);
		put(ed, SPAN("\n"));
	}
}

static void write_text(struct edit *ed, struct span text)
{
	const struct master_entry *en = NULL;
	struct span line;
	unsigned number = 0;
	size_t next = 0;

	while (text.n > 0 &&
	       span_next(&text, '\n', &line)) { /* after the last service the number is of no use */
		bool starts = next < ed->m->n && ed->m->entry[next].line == ++number;

		if (starts) {
			en = ed->touched[next] ? &ed->m->entry[next] : NULL;
			if (en == NULL || rewrites(ed->o))
				mean(ed, &ed->m->entry[next]);
			next++;
		}
		put_line(ed, line, en, starts);
	}
}

/* What no service matched: -M makes a new one of it. */
static void finish_requests(struct edit *ed)
{
	for (int j = 0; j < ed->o->args; j++) {
		struct request *r = &ed->request[j];

		if (r->found || (ed->o->subject == S_SERVICES && ed->o->action != A_EDIT))
			continue;
		if (ed->o->subject == S_SERVICES && !span_is(r->part[0], "*") && !span_is(r->part[1], "*")) {
			struct master_entry en = parse_service(ed, value_of(r), r->text);

			put_entry(ed, &en);
			mean(ed, &en);
			continue;
		}
		warn("unmatched service_name/type: \"%s\"", r->text);
	}
}

static bool same_service(const struct master_entry *a, const struct master_entry *b)
{
	bool same = a->argc == b->argc;

	for (size_t i = 0; same && i < FIELD_COMMAND; i++)
		same = span_eq(a->column[i], b->column[i]);
	for (size_t i = 0; same && i < a->argc; i++)
		same = span_eq(a->argv[i], b->argv[i]);
	return same;
}

/* Not every value can be written so that it is read again: braces in it may have no partner. */
static void check_result(struct edit *ed)
{
	const struct mastercf *m;
	struct err e = { 0 };

	if (mastercf_parse(buf_span(&ed->out), "the new master.cf", NULL, &ed->again, &e) != RC_OK)
		fatal("nothing was changed: %s", e.text);
	m = ed->again;
	for (size_t i = 0; i < ed->meant_n; i++)
		if (i >= m->n || !same_service(&m->entry[i], &ed->meant[i]))
			fatal("nothing was changed: service " SPAN_FMT
			      " would be read as another one from %s/master.cf; are its braces balanced?",
			      SPAN_ARG(ed->meant[i].name), ed->o->dir);
	if (m->n > ed->meant_n)
		fatal("nothing was changed: %s/master.cf would have one service more, " SPAN_FMT, ed->o->dir,
		      SPAN_ARG(m->entry[ed->meant_n].name));
}

/* `file` is what messages call it. */
static struct span new_text(struct edit *ed, struct span text, const char *file)
{
	struct err e = { 0 };

	ed->request = requests_parse(ed->o, &ed->arena);
	if (mastercf_parse(text, file, NULL, &ed->m, &e) != RC_OK)
		fatal("%s", e.text);
	ed->touched = arena_array(&ed->arena, ed->m->n + 1, sizeof(*ed->touched));
	apply(ed);
	write_text(ed, text);
	finish_requests(ed);
	check_result(ed);
	return buf_span(&ed->out);
}

static void edit_init(struct edit *ed, const struct options *o)
{
	*ed = (struct edit){ .o = o };
	arena_init(&ed->arena);
	buf_init(&ed->out, CONF_FILE_MAX);
}

static void edit_release(struct edit *ed)
{
	for (size_t i = 0; i < ed->makes; i++)
		mastercf_free(&ed->made[i]);
	mastercf_free(&ed->m);
	mastercf_free(&ed->again);
	buf_release(&ed->out);
	arena_release(&ed->arena);
}

void edit_services(const struct options *o)
{
	struct edit ed;
	struct target t;

	edit_needs_argument(o);
	edit_init(&ed, o);
	target_open(&t, o, "master.cf");
	target_finish(&t, new_text(&ed, span_make(t.bytes, t.n), t.path));
	edit_release(&ed);
}
