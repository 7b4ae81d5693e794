/* conf/names.c - names that are not built in and yet are read: referred to as $name, classes of restrictions,
 * parameters of a service in master.cf (slow_destination_rate_delay), parameters of a table defined in
 * main.cf (ldap:name). */
#include "conf/conf_int.h"
#include "conf/mastercf.h"

struct conf_names {
	const struct conf *c;
	bool any_service;	/* what services there are is not known */
	struct table *services; /* struct service: what a name in master.cf stands for */
	struct table *referred;
	struct table *tables; /* names of tables whose parameters are in main.cf: ldap:NAME */
	struct arena arena;
};

/* Which suffixes of parameters a service has: <service>_time_limit belongs to programs that run commands, the others
 * to those that the queue manager talks to. */
struct service {
	bool agent, command;
};

static void refer(struct conf_names *k, struct span name)
{
	(void)table_set(k->referred, name, k);
}

bool conf_next_reference(struct span text, size_t *pos, struct span *name)
{
	for (size_t i = *pos; i + 1 < text.n; i++) {
		size_t from = i + 1, n;

		if (text.p[i] != '$')
			continue;
		if (text.p[from] == '{' || text.p[from] == '(') /* a second one begins a comparison */
			from++;
		while (from < text.n && ascii_isspace(text.p[from]))
			from++;
		for (n = from; n < text.n && conf_name_char(text.p[n]); n++)
			;
		if (n == from)
			continue;
		*pos = i + 1;
		*name = span_make(text.p + from, n - from);
		return true;
	}
	return false;
}

static void refer_names(struct conf_names *k, struct span text)
{
	struct span name;

	for (size_t pos = 0; conf_next_reference(text, &pos, &name);)
		refer(k, name);
}

/* Every "TYPE:NAME" in `text` of the types that may have their parameters in main.cf. */
static void note_tables(struct conf_names *k, struct span text)
{
	static const char *const types[] = { "ldap:", "mysql:", "pgsql:", "sqlite:", "memcache:" };

	if (span_chr(text, ':') < 0)
		return;
	for (size_t t = 0; t < ARRAY_LEN(types); t++) {
		struct span rest = text, type = span_str(types[t]);

		for (ptrdiff_t at; (at = span_find(rest, type)) >= 0;) {
			size_t n = 0;

			rest = span_skip(rest, (size_t)at + type.n);
			while (n < rest.n && conf_name_char(rest.p[n]))
				n++;
			if (n > 0)
				(void)table_set(k->tables, span_head(rest, n), k);
		}
	}
}

static void refer_classes(struct conf_names *k)
{
	struct span list, *word;
	size_t n;

	if (conf_expand(k->c, span_str(conf_raw(k->c, "smtpd_restriction_classes")), &k->arena, &list,
			NULL) != RC_OK ||
	    conf_words(list, false, &k->arena, &word, &n, NULL) != RC_OK)
		return;
	for (size_t i = 0; i < n; i++)
		refer(k, word[i]);
}

static bool runs(const struct master_entry *en, const char *const *programs)
{
	for (; en->argc > 0 && *programs != NULL; programs++)
		if (span_is(en->argv[0], *programs))
			return true;
	return false;
}

/* Several services may have one name: smtp inet, smtp unix. */
static void note_service(struct conf_names *k, const struct master_entry *en)
{
	static const char *const agents[] = { "smtp", "lmtp", "local", "virtual", "pipe", "error", NULL };
	static const char *const commands[] = { "pipe", "spawn", NULL };
	struct service *s = table_get(k->services, en->name);

	if (s == NULL) {
		s = arena_alloc(&k->arena, sizeof(*s));
		(void)table_set(k->services, en->name, s);
	}
	s->agent |= runs(en, agents);
	s->command |= runs(en, commands);
}

struct conf_names *conf_names_new(const struct conf *c, const struct mastercf *services)
{
	struct conf_names *k = xcalloc(1, sizeof(*k));
	const char *name, *raw;
	unsigned line;

	k->c = c;
	k->any_service = services == NULL;
	k->services = table_new();
	k->referred = table_new();
	k->tables = table_new();
	arena_init(&k->arena);
	for (const struct param *p = conf_params; p->name != NULL; p++)
		refer_names(k, span_str(p->def));
	for (size_t pos = 0; conf_next(c, &pos, &name, &raw, &line);) {
		refer_names(k, span_str(raw));
		note_tables(k, span_str(raw));
	}
	for (size_t i = 0; services != NULL && i < services->n; i++) {
		note_service(k, &services->entry[i]);
		for (size_t j = 0; j < services->entry[i].argc; j++)
			refer_names(k, services->entry[i].argv[j]);
	}
	refer_classes(k);
	return k;
}

void conf_names_free(struct conf_names **n)
{
	struct conf_names *k = *n;

	if (k == NULL)
		return;
	table_free(&k->services, NULL);
	table_free(&k->referred, NULL);
	table_free(&k->tables, NULL);
	arena_release(&k->arena);
	free(k);
	*n = NULL;
}

/* Is it FROM_<parameter> of a table "TYPE:FROM"? */
static bool is_table_parameter(const struct conf_names *k, struct span name)
{
	for (size_t n = 1; n < name.n; n++)
		if (name.p[n] == '_' && table_get(k->tables, span_head(name, n)) != NULL)
			return true;
	return false;
}

bool conf_names_service(const struct conf_names *k, struct span name, const char **def)
{
	for (const struct service_param *p = conf_service_params; p->suffix != NULL; p++) {
		const struct service *s;

		if (!span_ends(name, span_str(p->suffix)) || name.n == strlen(p->suffix))
			continue;
		if (k->any_service)
			return true;
		s = table_get(k->services, span_head(name, name.n - strlen(p->suffix)));
		if (s == NULL || !(p->command ? s->command : s->agent))
			continue;
		if (def != NULL)
			*def = p->def;
		return true;
	}
	return false;
}

bool conf_names_used(const struct conf_names *k, struct span name)
{
	return table_get(k->referred, name) != NULL || conf_names_service(k, name, NULL) ||
	       is_table_parameter(k, name);
}
