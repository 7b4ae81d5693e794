/* restrict.c - running lists of restrictions, and what comes of one. */
#include "restrict.h"
#include <stdarg.h>

void log_permit(struct session *s, struct check *c, const char *action, const char *from)
{
	struct err e;

	if (match_list_empty(conf.log_permits) ||
	    match_domain(conf.log_permits, span_str(action), &e) != RC_OK)
		return;
	log_action(s, "permit", s->where, c->rcpt,
		   arena_printf(c->a, "action=%s for %s=" SPAN_FMT " %s", action, c->class,
				SPAN_ARG(c->subject), from));
}

/* What a restriction that permits has judged: the client, the recipient, or what its list is about. */
static void log_permitted(struct session *s, struct check *c, const struct restriction *def)
{
	struct check of = *c;

	if (strncmp(def->name, "permit", 6) != 0)
		return; /* a table speaks for itself (access_result()), a class through what is in it */
	if (strstr(def->name, "_destination") != NULL || strstr(def->name, "_backup") != NULL) {
		of.class = "Recipient address";
		of.subject = c->rcpt;
	} else if (def->name[6] != '\0') {
		of.class = "Client host";
		of.subject = span_printf(c->a, "%s", session_client(s));
	}
	log_permit(s, &of, def->name, "");
}

enum outcome rules_run(struct session *s, struct check *c, const struct rule_list *l)
{
	bool outer = c->warn_only;
	struct span subject = c->subject;
	const char *class = c->class;

	if (c->depth == 0) /* a wish of one list says nothing about the next */
		s->defer_if_reject = (struct verdict){ 0 };
	if (++c->depth > DEPTH_MAX) {
		log_warning("restrictions nested too deeply");
		c->depth--;
		return restrict_trouble(s, c);
	}
	for (size_t i = 0; i < l->n; i++) {
		enum outcome o;

		if (s->tx != NULL && s->tx->discard) { /* nobody is told of what does not exist */
			c->depth--;
			return PERMIT_ALL;
		}
		c->warn_only = outer || l->rule[i].warn;
		c->subject = subject;
		c->class = class;
		o = l->rule[i].def->run(s, c, &l->rule[i]);
		if (o == PERMIT)
			log_permitted(s, c, l->rule[i].def);
		c->warn_only = outer;
		if (o == REJECT && s->defer_if_reject.code != 0 && c->verdict.code >= 500)
			c->verdict = s->defer_if_reject;
		if (o != DUNNO) {
			c->depth--;
			return o;
		}
	}
	c->depth--;
	return DUNNO;
}

/* Names in a table's result: read when they come. */
enum outcome rules_run_text(struct session *s, struct check *c, struct span text, const char *table)
{
	struct span word;
	enum outcome o = DUNNO;
	struct span subject = c->subject;
	bool warn = false;

	while (o == DUNNO && span_next_word(&text, ", \t", &word)) {
		struct rule r;
		struct rule_list one = { .rule = &r, .n = 1, .cap = 1 };

		c->subject = subject;
		if (span_is_ci(word, "warn_if_reject")) {
			warn = true;
			continue;
		}
		if (rule_from_result(word, &text, table, &r) != RC_OK)
			return restrict_config_error(c);
		r.warn = warn;
		warn = false;
		o = rules_run(s, c, &one);
	}
	return o;
}

enum outcome run_class(struct session *s, struct check *c, const struct rule *r)
{
	return rules_run(s, c, r->list);
}

enum outcome run_unknown_name(struct session *s, struct check *c, const struct rule *r)
{
	(void)s;
	log_warning("unknown smtpd restriction: \"" SPAN_FMT "\"", SPAN_ARG(r->arg));
	return restrict_config_error(c);
}

/* ---- outcomes ---- */

const char *restrict_text(struct check *c, const struct verdict *v)
{
	return v->dsn.n > 0 ? arena_printf(c->a, "%u " SPAN_FMT " " SPAN_FMT, v->code, SPAN_ARG(v->dsn),
					   SPAN_ARG(v->text))
			    : arena_printf(c->a, "%u " SPAN_FMT, v->code, SPAN_ARG(v->text));
}

enum outcome restrict_reject_bare(struct session *s, struct check *c, int64_t code, struct span dsn,
				  struct span text)
{
	struct verdict v = { (uint16_t)code, span_dup(c->a, dsn), span_dup(c->a, text) };

	if (v.code < 500 && v.dsn.n > 0 &&
	    v.dsn.p[0] == '5') /* the codes are parameters: the class follows */
		v.dsn = span_printf(c->a, "4" SPAN_FMT, SPAN_ARG(span_skip(v.dsn, 1)));
	else if (v.code >= 500 && v.dsn.n > 0 && v.dsn.p[0] == '4')
		v.dsn = span_printf(c->a, "5" SPAN_FMT, SPAN_ARG(span_skip(v.dsn, 1)));
	if (c->warn_only) {
		log_action(s, "reject_warning", s->where, c->rcpt, restrict_text(c, &v));
		return DUNNO;
	}
	c->verdict = v;
	return REJECT;
}

enum outcome restrict_reject(struct session *s, struct check *c, int64_t code, const char *dsn,
			     const char *fmt, ...)
{
	char text[700];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return restrict_reject_bare(s, c, code, span_str(dsn),
				    span_printf(c->a, "<" SPAN_FMT ">: %s", SPAN_ARG(c->subject), text));
}

enum outcome restrict_config_error(struct check *c)
{
	c->verdict = (struct verdict){ 451, SPAN("4.3.5"), SPAN("Server configuration error") };
	return REJECT;
}

enum outcome restrict_table_error(struct check *c, const char *class)
{
	c->verdict =
	    (struct verdict){ 451, SPAN("4.3.5"),
			      span_printf(c->a, "<" SPAN_FMT ">: %s rejected: Server configuration error",
					  SPAN_ARG(c->subject), class) };
	return REJECT;
}

enum outcome restrict_trouble(struct session *s, struct check *c)
{
	return restrict_reject(s, c, 451, "4.3.0", "Temporary lookup failure");
}

enum outcome restrict_defer_if_permit(struct session *s, struct check *c, const char *dsn, const char *fmt,
				      ...)
{
	char text[700];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	struct verdict v = { 450, span_dup(c->a, span_str(dsn)),
			     span_printf(c->a, "<" SPAN_FMT ">: %s", SPAN_ARG(c->subject), text) };

	if (c->warn_only)
		log_action(s, "reject_warning", s->where, c->rcpt, restrict_text(c, &v));
	else if (s->defer_if_permit.code == 0)
		s->defer_if_permit = v;
	return DUNNO;
}
