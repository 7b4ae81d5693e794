/* services.c - master.cf shown: services in columns (-M), field by field (-F), and what -o sets (-P). */
#include "postconf.h"

struct view {
	const struct options *o;
	struct mastercf *m;
	struct request *request;
	struct arena arena;
};

/* -x: main.cf with what this service sets on top. */
static struct conf *conf_of(const struct view *v, const struct master_entry *en)
{
	struct span name, value;
	struct conf *c;

	if (!v->o->expand)
		return NULL;
	c = load_conf(v->o);
	conf_override(c, SPAN("service_name"), en->name);
	for (size_t pos = 1; mastercf_next_setting(en, &pos, &name, &value);)
		conf_override(c, name, value);
	return c;
}

/* Is NAME of this service asked for? */
static bool wanted(struct view *v, const struct master_entry *en, struct span name)
{
	bool want = v->o->args == 0;

	for (int i = 0; i < v->o->args; i++) {
		struct request *r = &v->request[i];

		if (!request_matches(r, en) || (!span_is(r->part[2], "*") && !span_eq(r->part[2], name)))
			continue;
		want = r->found = true;
	}
	return want;
}

static void json_service(const struct master_entry *en)
{
	json_member("service", en->name);
	json_member("type", en->column[1]);
}

static struct span command_text(struct view *v, const struct conf *c, const struct master_entry *en)
{
	struct buf b;
	struct out out = { .width = 79, .to = &b };
	struct span text;

	buf_init(&b, CONF_FILE_MAX);
	entry_command(&out, c, en, &v->arena);
	text = span_dup(&v->arena, buf_span(&b));
	buf_release(&b);
	return text;
}

static struct span field_text(struct view *v, const struct conf *c, const struct master_entry *en,
			      size_t field)
{
	return field < FIELD_COMMAND ? en->column[field] : command_text(v, c, en);
}

static void show_service(struct view *v, const struct conf *c, const struct master_entry *en)
{
	struct out out = { .fold = v->o->fold, .width = 79 };

	if (!wanted(v, en, SPAN("*")))
		return;
	if (!v->o->json) {
		entry_print(&out, c, en, &v->arena);
		return;
	}
	json_begin();
	for (size_t i = 0; i < FIELDS; i++)
		json_member(field_name[i], field_text(v, c, en, i));
	json_end();
}

/* SERVICE/TYPE/NAME = */
static void print_label(const struct view *v, struct out *out, const struct master_entry *en,
			struct span name)
{
	if (v->o->no_name)
		return;
	out_raw(out, en->name);
	out_raw(out, SPAN("/"));
	out_raw(out, en->column[1]);
	out_raw(out, SPAN("/"));
	out_word(out, name);
	if (!v->o->no_value)
		out_word(out, SPAN("="));
}

static void show_field(struct view *v, const struct conf *c, const struct master_entry *en, size_t field)
{
	struct out out = { .fold = v->o->fold, .width = 79 };

	if (!wanted(v, en, span_str(field_name[field])))
		return;
	if (v->o->json) {
		json_begin();
		json_service(en);
		json_member("field", span_str(field_name[field]));
		json_member("value", field_text(v, c, en, field));
		json_end();
		return;
	}
	print_label(v, &out, en, span_str(field_name[field]));
	if (!v->o->no_value && field == FIELD_COMMAND)
		entry_command(&out, c, en, &v->arena);
	else if (!v->o->no_value)
		out_word(&out, en->column[field]);
	out_end(&out);
}

static void show_fields(struct view *v, const struct conf *c, const struct master_entry *en)
{
	for (size_t i = 0; i < FIELDS; i++)
		show_field(v, c, en, i);
}

struct setting {
	struct span name, value;
};

static int by_name(const void *a, const void *b)
{
	const struct setting *x = a, *y = b;

	return span_cmp(x->name, y->name);
}

/* The last one of a name wins, and is the only one shown. */
static size_t settings_of(const struct master_entry *en, struct setting *s)
{
	struct span name, value;
	size_t n = 0;

	for (size_t pos = 1; mastercf_next_setting(en, &pos, &name, &value);) {
		size_t i = 0;

		while (i < n && !span_eq(s[i].name, name))
			i++;
		s[i] = (struct setting){ name, value };
		n += i == n;
	}
	if (n > 0)
		qsort(s, n, sizeof(*s), by_name);
	return n;
}

static void show_setting(struct view *v, const struct conf *c, const struct master_entry *en,
			 struct setting s)
{
	struct out out = { .fold = v->o->fold, .width = 80 };
	struct err e = { 0 };

	if (!wanted(v, en, s.name))
		return;
	if (c != NULL && conf_expand(c, s.value, &v->arena, &s.value, &e) != RC_OK)
		fatal("%s/master.cf line %u: %s", v->o->dir, en->line, e.text);
	if (v->o->json) {
		json_begin();
		json_service(en);
		json_member("name", s.name);
		json_member("value", s.value);
		json_end();
		return;
	}
	print_label(v, &out, en, s.name);
	if (!v->o->no_value)
		out_words(&out, s.value);
	out_end(&out);
}

static void show_settings(struct view *v, const struct conf *c, const struct master_entry *en)
{
	struct setting *s = arena_array(&v->arena, en->argc + 1, sizeof(*s));
	size_t n = settings_of(en, s);

	for (size_t i = 0; i < n; i++)
		show_setting(v, c, en, s[i]);
}

void show_services(const struct options *o)
{
	static void (*const show[])(struct view *, const struct conf *, const struct master_entry *) = {
		[S_SERVICES] = show_service, [S_FIELDS] = show_fields, [S_SETTINGS] = show_settings
	};
	struct view v = { .o = o };
	struct conf *c = load_conf(o);
	struct err e = { 0 };

	if (mastercf_load(o->dir, c, &v.m, &e) != RC_OK)
		fatal("%s", e.text);
	arena_init(&v.arena);
	v.request = requests_parse(o, &v.arena);
	for (size_t i = 0; i < v.m->n; i++) {
		struct conf *own = conf_of(&v, &v.m->entry[i]);

		show[o->subject](&v, own, &v.m->entry[i]);
		conf_free(&own);
	}
	(void)fflush(stdout);
	for (int j = 0; j < o->args; j++)
		if (!v.request[j].found)
			warn("unmatched request: \"%s\"", o->arg[j]);
	warn_of_settings(o, c);
	arena_release(&v.arena);
	mastercf_free(&v.m);
	conf_free(&c);
}
