/* checks.c - header_checks(5) and body_checks: what the right-hand side of a match means. */
#include "cleanup.h"
#include "log/event.h"
#include "mime/address_log.h"

struct verb {
	struct job *j;
	const char *class, *map; /* "header" or "body"; the parameter that names the table */
	struct span shown;	 /* what matched, for the log */
	struct span arg;
	struct span *text, *before;
};

/* "QID: reject: header Subject: x from client[1.2.3.4]; from=<a> to=<b> proto=ESMTP helo=<c>: text" */
void check_log(struct job *j, const char *action, const char *class, struct span what, struct span text)
{
	const struct envelope *env = &j->env;
	struct span from = address_log(env->sender), to = address_log(j->recip_log);
	struct buf b;

	buf_init(&b, LOG_LINE_MAX);
	(void)buf_printf(&b, "%s: %s: %s " SPAN_FMT " from ", j->qid.s, action, class,
			 SPAN_ARG(span_head(what, 200)));
	if (env->client_name.n > 0)
		(void)buf_printf(&b, SPAN_FMT "[" SPAN_FMT "];", SPAN_ARG(env->client_name),
				 SPAN_ARG(env->client_addr));
	else
		(void)buf_puts(&b, "local;");
	(void)buf_printf(&b, " from=<" SPAN_FMT ">", SPAN_ARG(from));
	if (j->recip_log.n > 0)
		(void)buf_printf(&b, " to=<" SPAN_FMT ">", SPAN_ARG(to));
	if (env->protocol.n > 0 && strcmp(class, "mime-error") != 0)
		(void)buf_printf(&b, " proto=" SPAN_FMT, SPAN_ARG(env->protocol));
	if (env->helo.n > 0 && strcmp(class, "mime-error") != 0)
		(void)buf_printf(&b, " helo=<" SPAN_FMT ">", SPAN_ARG(env->helo));
	if (text.n > 0)
		(void)buf_printf(&b, ": " SPAN_FMT, SPAN_ARG(text));
	log_info("%s", buf_cstr(&b));
	buf_release(&b);
	EVENT("content_check", EV_TEXT("queue_id", qid_span(&j->qid)), EV_CSTR("action", action),
	      EV_CSTR("part", class), EV_TEXT("text", span_head(what, 200)),
	      EV_TEXT("client_name", env->client_name), EV_TEXT("client_address", env->client_addr),
	      EV_TEXT("sender", env->sender), EV_TEXT("recipient", j->recip_log), EV_TEXT("reason", text));
}

static void log_act(const struct verb *v, const char *action, struct span text)
{
	check_log(v->j, action, v->class, v->shown, text);
}

/* A leading "5.7.1 " of the text becomes *dsn (RFC 3463 section 2). */
static void split_dsn(struct span *text, struct span *dsn)
{
	struct span rest = *text, w;
	size_t dots = 0;

	if (!span_next_word(&rest, " \t", &w) || w.n < 5 || w.n > 11 || (w.p[0] != '4' && w.p[0] != '5') ||
	    w.p[1] != '.')
		return;
	for (size_t i = 0; i < w.n; i++) {
		if (w.p[i] == '.')
			dots++;
		else if (!ascii_isdigit(w.p[i]))
			return;
	}
	if (dots != 2)
		return;
	*dsn = w;
	*text = span_trim(rest);
}

static enum check_act do_reject(const struct verb *v)
{
	struct span dsn = SPAN("5.7.1"), text = v->arg;

	split_dsn(&text, &dsn);
	if (text.n == 0)
		text = SPAN("message content rejected");
	log_act(v, "reject", span_printf(&v->j->a, SPAN_FMT " " SPAN_FMT, SPAN_ARG(dsn), SPAN_ARG(text)));
	job_refuse_span(v->j, dsn.p[0] == '4' ? 451 : 550, dsn, text);
	return CA_KEEP;
}

static enum check_act do_warn(const struct verb *v)
{
	log_act(v, "warning", v->arg);
	return CA_KEEP;
}

static enum check_act do_info(const struct verb *v)
{
	log_act(v, "info", v->arg);
	return CA_KEEP;
}

static enum check_act do_filter(const struct verb *v)
{
	if (v->arg.n == 0) {
		log_warning("missing FILTER command argument in %s map", v->map);
		return CA_KEEP;
	}
	if (span_chr(v->arg, ':') < 0) {
		log_warning("bad FILTER command " SPAN_FMT " in %s -- need transport:destination",
			    SPAN_ARG(v->arg), v->map);
		return CA_KEEP;
	}
	v->j->env.content_filter = v->arg;
	log_act(v, "filter", v->arg);
	return CA_KEEP;
}

static enum check_act do_pass(const struct verb *v)
{
	log_act(v, "pass", v->arg);
	v->j->checks = false;
	v->j->env.flags |= ENVF_NO_MILTERS;
	return CA_KEEP;
}

static enum check_act do_discard(const struct verb *v)
{
	log_act(v, "discard", v->arg);
	v->j->discard = true;
	v->j->checks = false;
	return CA_KEEP;
}

static enum check_act do_hold(const struct verb *v)
{
	if (!v->j->hold)
		log_act(v, "hold", v->arg);
	v->j->hold = true;
	return CA_KEEP;
}

static enum check_act do_prepend(const struct verb *v)
{
	if (v->arg.n == 0) {
		log_warning("PREPEND action without text in %s map", v->map);
		return CA_KEEP;
	}
	if (v->class[0] == 'h' && span_chr(v->arg, ':') < 1) {
		log_warning("bad PREPEND header text \"" SPAN_FMT
			    "\" in %s map -- need \"headername: headervalue\"",
			    SPAN_ARG(v->arg), v->map);
		return CA_KEEP;
	}
	log_act(v, "prepend", v->arg);
	*v->before = v->arg;
	return CA_KEEP;
}

static enum check_act do_replace(const struct verb *v)
{
	if (v->arg.n == 0) {
		log_warning("REPLACE action without text in %s map", v->map);
		return CA_KEEP;
	}
	if (v->class[0] == 'h' && span_chr(v->arg, ':') < 1) {
		log_warning("bad REPLACE header text \"" SPAN_FMT
			    "\" in %s map -- need \"headername: headervalue\"",
			    SPAN_ARG(v->arg), v->map);
		return CA_KEEP;
	}
	log_act(v, "replace", v->arg);
	*v->text = v->arg;
	return CA_KEEP;
}

static enum check_act do_redirect(const struct verb *v)
{
	if (span_chr(v->arg, '@') < 0) {
		log_warning("bad REDIRECT target \"" SPAN_FMT "\" in %s map -- need user@domain",
			    SPAN_ARG(v->arg), v->map);
		return CA_KEEP;
	}
	log_act(v, "redirect", v->arg);
	v->j->redirect = v->arg;
	v->j->checks = false; /* nobody is asked about mail that is on its way elsewhere */
	return CA_KEEP;
}

static enum check_act do_bcc(const struct verb *v)
{
	struct job *j = v->j;

	if (span_chr(v->arg, '@') < 0) {
		log_warning("bad BCC address \"" SPAN_FMT "\" in %s map -- need user@domain",
			    SPAN_ARG(v->arg), v->map);
		return CA_KEEP;
	}
	log_act(v, "bcc", v->arg);
	if (j->add_rcpts < 100) {
		if (j->add_rcpts == j->add_cap)
			j->add_rcpt =
			    arena_grow(&j->a, j->add_rcpt, j->add_rcpts, &j->add_cap, sizeof(*j->add_rcpt));
		j->add_rcpt[j->add_rcpts++] = v->arg;
	}
	return CA_KEEP;
}

static enum check_act do_ignore(const struct verb *v)
{
	(void)v;
	return CA_DROP;
}

static enum check_act do_strip(const struct verb *v)
{
	log_act(v, "strip", v->arg);
	return CA_DROP;
}

static enum check_act do_nothing(const struct verb *v)
{
	(void)v;
	return CA_KEEP;
}

static const struct {
	const char *name;
	enum check_act (*run)(const struct verb *v);
} verbs[] = {
	{ "REJECT", do_reject },     { "WARN", do_warn },	{ "INFO", do_info },
	{ "FILTER", do_filter },     { "PASS", do_pass },	{ "DISCARD", do_discard },
	{ "HOLD", do_hold },	     { "PREPEND", do_prepend }, { "REPLACE", do_replace },
	{ "REDIRECT", do_redirect }, { "BCC", do_bcc },		{ "IGNORE", do_ignore },
	{ "STRIP", do_strip },	     { "DUNNO", do_nothing },	{ "OK", do_nothing },
};

static const char *name_of(const struct maps *table)
{
	return table == settings.body_checks		? "body_checks"
	       : table == settings.mime_header_checks	? "mime_header_checks"
	       : table == settings.nested_header_checks ? "nested_header_checks"
							: "header_checks";
}

enum check_act check_text(struct job *j, struct maps *table, const char *class, struct span *text,
			  struct span *before)
{
	struct verb v = {
		.j = j, .class = class, .map = name_of(table), .shown = *text, .text = text, .before = before
	};
	struct span value, word, rest;
	struct err e;

	*before = SPAN_NONE;
	switch (maps_lookup(table, *text, &j->a, &value, &e)) {
	case RC_OK:
		break;
	case RC_NOTFOUND:
		return CA_KEEP;
	default:
		log_warning("%s: %s check: %s", j->qid.s, class, e.text);
		job_refuse(j, 451, "4.3.0", "Error: queue file write error");
		return CA_KEEP;
	}
	rest = value;
	if (!span_next_word(&rest, " \t", &word))
		return CA_KEEP;
	v.arg = span_trim(rest);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (span_is_ci(word, verbs[i].name))
			return verbs[i].run(&v);
	log_warning("unknown command in %s map: " SPAN_FMT, v.map, SPAN_ARG(value));
	return CA_KEEP;
}
