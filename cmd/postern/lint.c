/* cmd/postern/lint.c - postern check: main.cf, and each service with its own settings, before the eyes of every
 * check. */
#include "lint.h"
#include "base/table.h"
#include "log/log.h"
#include <unistd.h>

static unsigned line_of(const struct conf *c, const char *wanted)
{
	const char *name, *raw;
	unsigned line;

	for (size_t pos = 0; conf_next(c, &pos, &name, &raw, &line);)
		if (strcmp(name, wanted) == 0)
			return line;
	return 0;
}

bool lint_is_own(const struct lint *l, const char *name)
{
	struct span key = span_str(name);

	if (l->service == NULL)
		return line_of(l->conf, name) > 0;
	for (size_t i = 2; i < l->service->argc; i++)
		if (span_is(l->service->argv[i - 1], "-o") && span_starts(l->service->argv[i], key) &&
		    l->service->argv[i].n > key.n && l->service->argv[i].p[key.n] == '=')
			return true;
	return false;
}

bool lint_is_program(const struct lint *l, const char *programs)
{
	struct span rest = span_str(programs), word;

	while (l->service != NULL && span_next_word(&rest, " ", &word))
		if (span_eq(l->service->argv[0], word))
			return true;
	return false;
}

bool lint_is_set(const struct lint *l, const char *name)
{
	return line_of(l->conf, name) > 0 || lint_is_own(l, name);
}

void lint_say(const struct lint *l, const char *name, const char *fmt, ...)
{
	unsigned line = line_of(l->conf, name);
	void (*tell)(const char *, ...) = l->refused != NULL ? log_error : log_warning;
	char text[800];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (l->service != NULL && (line == 0 || lint_is_own(l, name)))
		tell("%s/master.cf line %u: service " SPAN_FMT ": %s: %s", l->dir, l->service->line,
		     SPAN_ARG(l->service->name), name, text);
	else if (l->service != NULL && l->refused == NULL)
		tell("%s/main.cf line %u: %s: %s (service " SPAN_FMT " in line %u of master.cf)", l->dir,
		     line, name, text, SPAN_ARG(l->service->name), l->service->line);
	else if (line > 0)
		tell("%s/main.cf line %u: %s: %s", l->dir, line, name, text);
	else
		tell("%s/main.cf: %s: %s", l->dir, name, text);
	if (l->refused != NULL)
		(*l->refused)++;
}

void lint_say_service(const struct lint *l, const char *fmt, ...)
{
	char text[800];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(l->refused != NULL ? log_error : log_warning)("%s/master.cf line %u: service " SPAN_FMT ": %s",
						       l->dir, l->service->line, SPAN_ARG(l->service->name),
						       text);
	if (l->refused != NULL)
		(*l->refused)++;
}

struct span lint_value(const struct lint *l, const char *name)
{
	const char *raw = conf_raw(l->conf, name);
	struct span out;

	if (raw == NULL || conf_expand(l->conf, span_str(raw), l->a, &out, NULL) != RC_OK)
		return SPAN("");
	return span_trim(out);
}

size_t lint_words(const struct lint *l, const char *name, struct span **words)
{
	size_t n;

	return conf_words(lint_value(l, name), false, l->a, words, &n, NULL) == RC_OK ? n : 0;
}

static void look_at_service(const struct lint *base, const struct master_entry *en)
{
	struct lint l = *base;
	struct err e;

	if (en->argc > 1 && conf_load(l.dir, &l.conf, &e) != RC_OK) /* a copy, to be changed */
		die("%s", e.text);
	l.service = en;
	for (size_t i = 2; i < en->argc && en->argv[i - 1].n > 0 && en->argv[1].p[0] == '-'; i++) {
		ptrdiff_t eq = span_chr(en->argv[i], '=');

		if (span_is(en->argv[i - 1], "-o") && eq > 0)
			conf_override(l.conf, span_head(en->argv[i], (size_t)eq),
				      span_skip(en->argv[i], (size_t)eq + 1));
	}
	if (l.refused != NULL) {
		lint_refuse(&l);
		lint_agents(&l);
	} else {
		lint_commands(&l);
		lint_files(&l);
		lint_choices(&l);
		if (span_is(en->argv[0], "smtpd") || span_is(en->argv[0], "postscreen"))
			lint_smtpd(&l);
	}
	if (en->argc > 1)
		conf_free(&l.conf);
}

static void look_for_program(const struct lint *l, const struct master_entry *en)
{
	static const char *const elsewhere[] = { "scache",     "tlsproxy",  "dnsblog", "nbdb_reindexd",
						 "postscreen", "lmtp",	    "lmtpd",   "relay",
						 "defer",      "trace",	    "retry",   "oqmgr",
						 "nqmgr",      "proxywrite" };
	struct span program = en->argv[0];
	const char *path = program.p[0] == '/'
			       ? arena_cstr(l->a, program)
			       : arena_printf(l->a, "%s/" SPAN_FMT, conf_str(l->conf, "daemon_directory"),
					      SPAN_ARG(program));

	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
		if (span_is(program, elsewhere[i]))
			return;
	if (access(path, X_OK) < 0)
		log_warning("%s/master.cf line %u: service " SPAN_FMT
			    ": there is no program %s: correct the command column, "
			    "or take the line out",
			    l->dir, en->line, SPAN_ARG(en->name), path);
}

void lint_configuration(const struct control *c)
{
	struct arena a;
	struct err e;
	struct mastercf *services;
	struct lint l = { .dir = c->dir, .conf = c->conf, .a = &a };

	arena_init(&a);
	if (mastercf_load(c->dir, c->conf, &services, &e) != RC_OK)
		die("%s", e.text);
	l.services = services;
	lint_files(&l);
	lint_choices(&l);
	lint_domains(&l);
	for (size_t i = 0; i < services->n; i++) {
		look_for_program(&l, &services->entry[i]);
		look_at_service(&l, &services->entry[i]);
	}
	mastercf_free(&services);
	arena_release(&a);
}

void lint_refusals(const struct control *c, bool start)
{
	struct arena a;
	struct err e;
	struct mastercf *services;
	unsigned refused = 0;
	struct lint l = { .dir = c->dir, .conf = c->conf, .a = &a, .refused = &refused, .start = start };

	arena_init(&a);
	if (mastercf_load(c->dir, c->conf, &services, &e) != RC_OK)
		die("%s", e.text);
	l.services = services;
	l.told = table_new();
	lint_refuse(&l);
	for (size_t i = 0; i < services->n; i++)
		look_at_service(&l, &services->entry[i]);
	mastercf_free(&services);
	table_free(&l.told, NULL);
	arena_release(&a);
	if (refused > 0)
		die("%s/main.cf: the errors above must be repaired first", c->dir);
}
