/* conf/check.c - does every setting of main.cf fit its type, its bounds and a name that somebody reads? */
#include "conf/conf_int.h"
#include "conf/mastercf.h"

/* ---- one value ---- */

static const char below[] = "less than the smallest value allowed";
static const char above[] = "more than the largest value allowed";

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

static bool bound(const struct param *p, const char *text, int64_t *value)
{
	return text != NULL && number(p, span_str(text), value) == RC_OK;
}

const char *conf_typed_fault(const struct param *p, struct span text, int64_t *value)
{
	int64_t limit;

	text = span_trim(text);
	switch (p->type) {
	case P_STR:
	case P_RAW:
		return NULL;
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
};

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

static void check_unknown(struct check *k, const char *name, unsigned line)
{
	struct span s = span_str(name);
	const struct param *near;

	if (conf_names_used(k->names, s))
		return;
	near = conf_param_nearest(s);
	if (near != NULL)
		say(k, false, "%s line %u: unknown parameter %.100s; did you mean %s?", k->c->file, line,
		    name, near->name);
	else
		say(k, false, "%s line %u: unknown parameter %.100s", k->c->file, line, name);
}

static void check_bounds(struct check *k, const struct param *p, const char *value, const char *fault,
			 unsigned line)
{
	char range[100] = "";

	if (fault != below && fault != above)
		; /* the bounds are not the point */
	else if (p->min != NULL && p->max != NULL)
		(void)snprintf(range, sizeof(range), " (%s to %s)", p->min, p->max);
	else if (p->min != NULL && strcmp(p->min, "0") != 0)
		(void)snprintf(range, sizeof(range), " (at least %s)", p->min);
	say(k, true, "%s line %u: %s = %.100s: %s%s", k->c->file, line, p->name, value, fault, range);
}

static void check_setting(struct check *k, const char *name, const char *raw, unsigned line)
{
	const struct param *p = conf_param_find(span_str(name));
	struct span value;
	struct err e = { 0 };
	const char *fault;
	int64_t number_value;

	if (p == NULL)
		check_unknown(k, name, line);
	if (p != NULL && p->type == P_RAW)
		return;
	if (conf_expand(k->c, span_str(raw), &k->arena, &value, &e) != RC_OK) {
		say(k, true, "%s line %u: %.100s: %s", k->c->file, line, name, e.text);
		return;
	}
	if (p == NULL)
		return;
	if ((fault = conf_typed_fault(p, value, &number_value)) != NULL)
		check_bounds(k, p, value.p, fault, line);
	else if (p->state == PS_REFUSED && strcmp(raw, conf_default(k->c, p)) != 0)
		say(k, true, "%s line %u: %s is refused: %s", k->c->file, line, name, p->meaning);
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
	for (size_t i = 0; i < c->warnings; i++)
		report(arg, false, c->warning[i]);
	for (size_t pos = 0; conf_next(c, &pos, &name, &raw, &line);)
		check_setting(&k, name, raw, line);
	conf_names_free(&k.names);
	mastercf_free(&services);
	arena_release(&k.arena);
	return k.failed ? RC_SYNTAX : RC_OK;
}
