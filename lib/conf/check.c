/* conf/check.c - does every setting of main.cf fit its type, its bounds and a name that somebody reads? */
#include "conf/conf_int.h"
#include "conf/mastercf.h"
#include "conf/ports.h"

/* ---- one value ---- */

static const char below[] = "less than the smallest value allowed";
static const char above[] = "more than the largest value allowed";

static bool is_text(const struct param *p)
{
	return p->type == P_STR || p->type == P_RAW;
}

static char default_unit(const struct param *p)
{
	size_t n = strlen(p->def);

	return n > 0 && strchr("smhdw", p->def[n - 1]) != NULL ? p->def[n - 1] : 's';
}

static enum rc number(const struct param *p, struct span text, int64_t *value)
{
	bool negative = text.n > 1 && text.p[0] == '-';
	uint64_t u;
	enum rc rc;

	if (p->type == P_TIME)
		return conf_parse_time(text, default_unit(p), value);
	if (negative)
		text = span_skip(text, 1);
	if ((rc = span_to_u64(text, p->type == P_INT ? INT32_MAX : INT64_MAX, &u)) == RC_OK)
		*value = negative ? -(int64_t)u : (int64_t)u;
	return rc;
}

static const char shorter[] = "too short";
static const char longer[] = "too long";

/* Of texts the bounds are lengths. */
static const char *text_fault(const struct param *p, struct span text)
{
	uint64_t limit;

	text = span_trim(text);
	if (p->min != NULL && span_to_u64(span_str(p->min), SIZE_MAX, &limit) == RC_OK && text.n < limit)
		return shorter;
	if (p->max != NULL && span_to_u64(span_str(p->max), SIZE_MAX, &limit) == RC_OK && text.n > limit)
		return longer;
	return NULL;
}

static bool bound(const struct param *p, const char *text, int64_t *value)
{
	return text != NULL && number(p, span_str(text), value) == RC_OK;
}

/* "no# remark": a number, a time, yes and no end before a remark; in texts '#' may mean itself. */
static struct span before_remark(struct span text)
{
	ptrdiff_t at = span_chr(text, '#');

	return span_trim(at > 0 ? span_head(text, (size_t)at) : text);
}

const char *conf_typed_fault(const struct param *p, struct span text, int64_t *value)
{
	int64_t limit;

	if (is_text(p))
		return text_fault(p, text);
	text = before_remark(text);
	switch (p->type) {
	case P_STR:
	case P_RAW:
		break;
	case P_BOOL:
		*value = span_is_ci(text, "yes");
		return *value || span_is_ci(text, "no") ? NULL : "yes or no expected";
	case P_INT:
	case P_LONG:
	case P_TIME:
		break;
	}
	switch (number(p, text, value)) {
	case RC_OK:
		break;
	case RC_LIMIT:
		return "number too large";
	default:
		return p->type == P_TIME ? "time expected: a number and s, m, h, d or w" : "number expected";
	}
	if (bound(p, p->min, &limit) && *value < limit)
		return below;
	if (bound(p, p->max, &limit) && *value > limit)
		return above;
	return NULL;
}

/* ---- the check ---- */

struct check {
	const struct conf *c;
	struct conf_names *names;
	struct arena arena;
	void (*report)(void *arg, bool error, const char *text);
	void *arg;
	bool failed;
	struct table *told; /* of undefined names: "FILE NAME" */
	unsigned unused;    /* so far; looking for what was meant costs time */
};

#define SUGGESTIONS_MAX 100

static void PRINTF_LIKE(3, 4) say(struct check *k, bool error, const char *fmt, ...)
{
	va_list ap;
	char text[700];

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	k->failed |= error;
	k->report(k->arg, error, text);
}

/* FILE: unused parameter: NAME=VALUE, as scripts know it, and what may have been meant. */
static void say_unused(struct check *k, const char *file, struct span name, struct span value, unsigned line)
{
	const struct param *near = k->unused++ < SUGGESTIONS_MAX ? conf_param_nearest(name) : NULL;

	say(k, false, "%s: unused parameter: " SPAN_FMT "=" SPAN_FMT " (line %u%s%s%s)", file,
	    SPAN_ARG(span_head(name, 100)), SPAN_ARG(span_head(value, 200)), line,
	    near != NULL ? "; did you mean " : "", near != NULL ? near->name : "", near != NULL ? "?" : "");
}

static void check_name(struct check *k, const char *file, struct span name, struct span value, unsigned line)
{
	const char *instead = conf_deprecated(name);

	if (instead != NULL)
		say(k, false, "%s: support for parameter \"" SPAN_FMT "\" will be removed; instead, %s", file,
		    SPAN_ARG(name), instead);
	else if (conf_param_find(name) == NULL && !conf_names_used(k->names, name))
		say_unused(k, file, name, value, line);
}

/* "value # remark": the remark is part of the value, if that is a text. */
static void check_remark(struct check *k, const char *file, struct span value, bool typed)
{
	struct span rest = value;

	for (ptrdiff_t at; (at = span_chr(rest, '#')) >= 0; rest = span_skip(rest, (size_t)at + 1)) {
		struct span word, tail = span_skip(rest, (size_t)at);

		if (!typed && rest.p + at > value.p && !ascii_isspace(rest.p[at - 1]))
			continue;
		if (!span_next_word(&tail, " \t,", &word))
			word = SPAN("#");
		say(k, false, "%s: #comment after other text is not allowed: " SPAN_FMT " " SPAN_FMT "...",
		    file, SPAN_ARG(word), SPAN_ARG(span_head(span_trim(tail), 20)));
		return;
	}
}

/* FILE: undefined parameter: NAME, once for each file. `own`: a service whose -o settings count, too, or NULL. */
static void check_references(struct check *k, const char *file, struct span text, unsigned line,
			     const struct master_entry *own)
{
	struct span name;

	for (size_t pos = 0; conf_next_reference(text, &pos, &name);) {
		struct span key =
		    span_printf(&k->arena, "%s " SPAN_FMT, file, SPAN_ARG(span_head(name, 200)));
		bool known = conf_param_find(name) != NULL || conf_entry(k->c, name) != NULL ||
			     table_get(k->c->over, name) != NULL ||
			     conf_names_service(k->names, name, NULL) || table_get(k->told, key) != NULL;

		for (size_t j = 1; !known && own != NULL && j + 1 < own->argc; j++)
			known = span_is(own->argv[j], "-o") && span_starts(own->argv[j + 1], name) &&
				own->argv[j + 1].n > name.n && own->argv[j + 1].p[name.n] == '=';
		if (known)
			continue;
		(void)table_set(k->told, key, k);
		say(k, false, "%s: undefined parameter: " SPAN_FMT " (line %u)", file,
		    SPAN_ARG(span_head(name, 100)), line);
	}
}

static void check_bounds(struct check *k, const char *file, const struct param *p, const char *value,
			 const char *fault, unsigned line)
{
	char range[100] = "";
	size_t n = strlen(value);

	if (fault == shorter)
		(void)snprintf(range, sizeof(range), " (bad string length %zu < %s)", n, p->min);
	else if (fault == longer)
		(void)snprintf(range, sizeof(range), " (bad string length %zu > %s)", n, p->max);
	else if (fault != below && fault != above)
		; /* the bounds are not the point */
	else if (p->min != NULL && p->max != NULL)
		(void)snprintf(range, sizeof(range), " (%s to %s)", p->min, p->max);
	else if (p->min != NULL && strcmp(p->min, "0") != 0)
		(void)snprintf(range, sizeof(range), " (at least %s)", p->min);
	say(k, true, "%s line %u: %s = %.100s: %s%s", file, line, p->name, value, fault, range);
}

/* Texts with a syntax of their own. */
static const char *special_fault(struct check *k, const struct param *p, struct span value, struct err *e)
{
	struct span out;

	if (strcmp(p->name, "known_tcp_ports") == 0)
		return port_names_check(arena_cstr(&k->arena, value), e) == RC_OK ? NULL : e->text;
	if (strcmp(p->name, "compatibility_level") != 0 ||
	    conf_expand(k->c, span_printf(&k->arena, "${{" SPAN_FMT "} <level {1}}", SPAN_ARG(value)),
			&k->arena, &out, e) == RC_OK)
		return NULL;
	return arena_printf(&k->arena, "%s = " SPAN_FMT ": a level like 3.6 expected", p->name,
			    SPAN_ARG(span_head(value, 100)));
}

/* "5days" is five days, but "1d12h" is one. */
static void check_unit(struct check *k, const char *file, const struct param *p, struct span value,
		       unsigned line)
{
	struct span text = before_remark(value), read = span_head(text, conf_time_digits(text) + 1);

	if (p->type == P_TIME && read.n < text.n)
		say(k, false, "%s line %u: %s = " SPAN_FMT " means " SPAN_FMT ": what follows is not read",
		    file, line, p->name, SPAN_ARG(span_head(text, 100)), SPAN_ARG(read));
}

static void check_value(struct check *k, const char *file, const struct param *p, struct span value,
			unsigned line)
{
	int64_t number_value;
	struct conf_choice choice;
	struct err e;
	const char *fault = conf_typed_fault(p, value, &number_value);

	if (fault != NULL && !is_text(p) &&
	    span_trim(value).n == 0) /* templates leave such lines behind: not worth a standstill */
		say(k, false, "%s line %u: %s is empty (%s); using the default", file, line, p->name, fault);
	else if (fault != NULL)
		check_bounds(k, file, p, arena_cstr(&k->arena, value), fault, line);
	else if (!conf_choice(p->name, value, &choice) && choice.fatal)
		say(k, true, "%s line %u: %s: \"" SPAN_FMT "\" is none of its words: %s", file, line, p->name,
		    SPAN_ARG(span_head(choice.wrong, 100)), choice.words);
	else if ((fault = special_fault(k, p, value, &e)) != NULL)
		say(k, true, "%s line %u: %s", file, line, fault);
	else if (p->state == PS_REFUSED && !span_is(value, conf_default(k->c, p)))
		say(k, true, "%s line %u: %s is refused: %s", file, line, p->name, p->meaning);
	else
		check_unit(k, file, p, value, line);
}

/* Names of restrictions that Postfix will give up, in the lists of smtpd. */
static void check_restrictions(struct check *k, const char *file, const char *name, struct span value)
{
	struct span word;

	if (!span_starts(span_str(name), SPAN("smtpd_")) || !span_ends(span_str(name), SPAN("_restrictions")))
		return;
	while (span_next_word(&value, ", \t\r\n", &word)) {
		const char *instead = conf_deprecated_restriction(word);

		if (instead != NULL)
			say(k, false,
			    "%s: %s: support for restriction \"" SPAN_FMT
			    "\" will be removed from Postfix; use \"%s\" instead",
			    file, name, SPAN_ARG(word), instead);
	}
}

/* Texts in which a '#' is at home are left out: banners, and names that nobody but the user knows. */
static bool may_hold_number_sign(const struct param *p)
{
	return p == NULL || p->type == P_RAW || span_ends(span_str(p->name), SPAN("_banner")) ||
	       span_ends(span_str(p->name), SPAN("_footer"));
}

static void check_setting(struct check *k, const char *name, const char *raw, unsigned line)
{
	const struct param *p = conf_param_find(span_str(name));
	struct span value;
	struct err e = { 0 };

	check_name(k, k->c->file, span_str(name), span_str(raw), line);
	if (!may_hold_number_sign(p))
		check_remark(k, k->c->file, span_str(raw), p->type != P_STR);
	if (p != NULL && p->type == P_RAW) {
		if (text_fault(p, span_str(raw)) != NULL)
			check_bounds(k, k->c->file, p, raw, text_fault(p, span_str(raw)), line);
		return;
	}
	if (conf_expand(k->c, span_str(raw), &k->arena, &value, &e) != RC_OK) {
		say(k, true, "%s line %u: %.100s: %s", k->c->file, line, name, e.text);
		return;
	}
	check_references(k, k->c->file, span_str(raw), line, NULL);
	check_restrictions(k, k->c->file, name, value);
	if (p != NULL)
		check_value(k, k->c->file, p, value, line);
}

/* "# remark" behind a command is arguments. Of a program that runs another one they may be meant. */
static void check_arguments(struct check *k, const char *file, const struct master_entry *en)
{
	if (span_is(en->argv[0], "pipe") || span_is(en->argv[0], "spawn"))
		return;
	for (size_t j = 1; j < en->argc; j++)
		if (en->argv[j].n > 0 && en->argv[j].p[0] == '#') {
			say(k, false,
			    "%s: #comment after other text is not allowed: " SPAN_FMT " " SPAN_FMT "...",
			    file, SPAN_ARG(en->argv[j]),
			    SPAN_ARG(j + 1 < en->argc ? span_head(en->argv[j + 1], 20) : SPAN_NONE));
			return;
		}
}

/* -o NAME=VALUE of one service. A value with a $name may mean another setting of the same service: it is judged
 * when the service starts. */
static void check_service(struct check *k, const char *file, const struct master_entry *en)
{
	struct span name, value;

	check_arguments(k, file, en);
	for (size_t pos = 1; mastercf_next_setting(en, &pos, &name, &value);) {
		const struct param *p = conf_param_find(name);

		check_name(k, file, name, value, en->line);
		if (p == NULL || p->type != P_RAW)
			check_references(k, file, value, en->line, en);
		if (p != NULL)
			check_restrictions(k, file, p->name, value);
		if (p != NULL && p->type == P_RAW && text_fault(p, value) != NULL)
			check_bounds(k, file, p, "", text_fault(p, value), en->line);
		if (p != NULL && p->type != P_RAW && span_chr(value, '$') < 0)
			check_value(k, file, p, value, en->line);
	}
}

enum rc conf_check(const struct conf *c, void (*report)(void *arg, bool error, const char *text), void *arg)
{
	struct check k = { .c = c, .report = report, .arg = arg };
	struct mastercf *services = NULL;
	const char *name, *raw;
	unsigned line;

	arena_init(&k.arena);
	if (mastercf_load(c->dir, c, &services, NULL) != RC_OK)
		services = NULL; /* unreadable here and now: names of services are then taken on trust */
	k.names = conf_names_new(c, services);
	k.told = table_new();
	for (size_t i = 0; i < c->warnings; i++)
		report(arg, false, c->warning[i]);
	for (size_t pos = 0; conf_next(c, &pos, &name, &raw, &line);)
		check_setting(&k, name, raw, line);
	if (services != NULL && services->lost_line > 0)
		say(&k, false, "%s/master.cf line %u: ignored, because it starts with white space", c->dir,
		    services->lost_line);
	for (size_t i = 0; services != NULL && i < services->n; i++)
		check_service(&k, arena_printf(&k.arena, "%s/master.cf", c->dir), &services->entry[i]);
	conf_names_free(&k.names);
	table_free(&k.told, NULL);
	mastercf_free(&services);
	arena_release(&k.arena);
	return k.failed ? RC_SYNTAX : RC_OK;
}
