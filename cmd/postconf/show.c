/* show.c - the parameters of main.cf: all, those that are set, those that are named. */
#include "postconf.h"
#include <errno.h>

struct show {
	const struct options *o;
	struct conf *c;
	struct conf *blank;	   /* an empty main.cf: computed defaults of -d come from it */
	struct mastercf *services; /* NULL when there is no master.cf */
	struct conf_names *names;
	struct arena arena;
};

struct conf *load_conf(const struct options *o)
{
	struct conf *c = NULL;
	struct err e = { 0 };

	/* -d: main.cf is not looked at */
	if ((o->defaults ? conf_parse(SPAN(""), "main.cf", o->dir, &c, &e) : conf_load(o->dir, &c, &e)) !=
	    RC_OK)
		fatal("%s", e.text);
	conf_override(c, SPAN("config_directory"), span_str(o->dir));
	for (size_t i = 0; i < o->overrides; i++) {
		struct span name, value;

		split_override(o->override[i].p, &name, &value);
		conf_override(c, name, value);
	}
	return c;
}

struct silence {
	bool quiet;    /* -q: of what is deprecated or unused nothing is said */
	bool services; /* nothing of main.cf was asked for: what it leaves unused is not said either */
};

static void report(void *arg, bool error, const char *text)
{
	const struct silence *s = arg;

	static const char *const silenced[] = { ": unused parameter: ", ": undefined parameter: ",
						" will be removed; ", " will be removed from Postfix; " };

	(void)error;
	for (size_t i = 0; s->quiet && i < ARRAY_LEN(silenced); i++)
		if (strstr(text, silenced[i]) != NULL)
			return;
	if (s->services && strstr(text, "/main.cf: unused parameter: ") != NULL)
		return;
	warn("%s", text);
}

void warn_of_settings(const struct options *o, const struct conf *c)
{
	struct silence s = { o->quiet, o->subject != S_MAIN };

	if (conf_check(c, report, &s) != RC_OK) {
		/* An unusable value is a warning here: showing it is this program's job. */
	}
}

/* The value to show, or NULL: the name is unknown (or has no default, with -d). */
static const char *value_of(struct show *s, const char *name)
{
	const struct param *p = conf_param_find(span_str(name));
	const char *raw = s->o->defaults ? NULL : conf_raw(s->c, name);

	if (p != NULL && s->o->defaults)
		raw = strcmp(name, "config_directory") == 0 ? p->def : conf_default(s->blank, p);
	if (p == NULL && raw == NULL)
		(void)conf_names_service(s->names, span_str(name), &raw);
	return raw;
}

static void print(struct show *s, const char *name, const char *raw)
{
	struct out out = { .fold = s->o->fold, .width = 80 };
	const struct param *p = conf_param_find(span_str(name));
	struct span text = span_str(raw);
	struct err e = { 0 };

	if (s->o->expand && !s->o->no_value && (p == NULL || p->type != P_RAW) &&
	    conf_expand(s->c, text, &s->arena, &text, &e) != RC_OK)
		fatal("%s: %s", name, e.text);
	if (s->o->json) {
		json_begin();
		json_member("name", span_str(name));
		json_member("value", text);
		json_end();
		return;
	}
	if (!s->o->no_name)
		out_word(&out, span_str(name));
	if (!s->o->no_name && !s->o->no_value)
		out_word(&out, SPAN("="));
	if (!s->o->no_value)
		out_words(&out, text);
	out_end(&out);
}

static unsigned class_of(const struct show *s, struct span name)
{
	if (conf_param_find(name) != NULL)
		return CLASS_BUILTIN;
	return conf_names_service(s->names, name, NULL) ? CLASS_SERVICE : CLASS_USER;
}

/* ---- lists of names ---- */

struct name_list {
	const char **name;
	size_t n, cap;
};

static void add(struct show *s, struct name_list *l, const char *name)
{
	if (l->n == l->cap)
		l->name = arena_grow(&s->arena, l->name, l->n, &l->cap, sizeof(*l->name));
	l->name[l->n++] = name;
}

static int by_name(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static void add_services(struct show *s, struct name_list *l)
{
	for (size_t i = 0; s->services != NULL && i < s->services->n; i++)
		for (const struct service_param *p = conf_service_params; p->suffix != NULL; p++) {
			char *name = arena_printf(&s->arena, SPAN_FMT "%s",
						  SPAN_ARG(s->services->entry[i].name), p->suffix);

			if (class_of(s, span_str(name)) == CLASS_SERVICE &&
			    conf_names_service(s->names, span_str(name), NULL))
				add(s, l, name);
		}
}

/* What main.cf and -o set, so far as somebody reads it. */
static void add_settings(struct show *s, struct name_list *l)
{
	const char *name, *raw;
	struct span key;
	unsigned line;
	void *value;

	for (size_t pos = 0; conf_next(s->c, &pos, &name, &raw, &line);)
		add(s, l, name);
	for (size_t pos = 0; table_next(s->c->over, &pos, &key, &value);)
		add(s, l, arena_cstr(&s->arena, key));
}

static bool wanted(struct show *s, const char *name)
{
	unsigned class = class_of(s, span_str(name));

	if (class == CLASS_BUILTIN && conf_names_service(s->names, span_str(name), NULL))
		class |= CLASS_SERVICE;
	if ((s->o->classes & class) == 0)
		return false;
	if (class == CLASS_USER)
		return !s->o->defaults && conf_names_used(s->names, span_str(name));
	return !s->o->explicit_only || conf_is_set(s->c, name);
}

static void show_all(struct show *s)
{
	struct name_list l = { 0 };

	for (const struct param *p = conf_params; p->name != NULL; p++)
		add(s, &l, p->name);
	add_services(s, &l);
	add_settings(s, &l);
	if (l.n > 0)
		qsort(l.name, l.n, sizeof(*l.name), by_name);
	for (size_t i = 0; i < l.n; i++) {
		const char *raw;

		if ((i > 0 && strcmp(l.name[i - 1], l.name[i]) == 0) || !wanted(s, l.name[i]))
			continue;
		if ((raw = value_of(s, l.name[i])) != NULL)
			print(s, l.name[i], raw);
	}
}

static void show_named(struct show *s, const char *name)
{
	struct span key = span_str(name);
	const char *raw = value_of(s, name);

	if (raw == NULL || (class_of(s, key) == CLASS_USER && !conf_names_used(s->names, key)))
		warn("%s: unknown parameter", name);
	else if (!s->o->explicit_only || conf_is_set(s->c, name))
		print(s, name, raw);
}

void show_parameters(const struct options *o)
{
	struct show s = { .o = o };
	struct err e = { 0 };
	enum rc rc;

	arena_init(&s.arena);
	s.c = load_conf(o);
	rc = mastercf_load(o->dir, s.c, &s.services, &e);
	if (rc != RC_OK && rc != RC_NOTFOUND)
		fatal("%s", e.text);
	if (rc != RC_OK) {
		warn("%s", e.text);
		s.services = NULL;
	}
	if (conf_parse(SPAN_NONE, "main.cf", o->dir, &s.blank, &e) != RC_OK)
		fatal("%s", e.text);
	conf_find_nets(s.blank);
	s.names = conf_names_new(s.c, s.services);
	if (o->args == 0)
		show_all(&s);
	for (int i = 0; i < o->args; i++)
		show_named(&s, o->arg[i]);
	if (fflush(stdout) != 0)
		fatal("write to standard output: %s", strerror(errno));
	if (!o->defaults)
		warn_of_settings(o, s.c);
	conf_names_free(&s.names);
	mastercf_free(&s.services);
	arena_release(&s.arena);
	conf_free(&s.blank);
	conf_free(&s.c);
}
