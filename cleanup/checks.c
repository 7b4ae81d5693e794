/* checks.c - header_checks(5) and body_checks: what the right-hand side of a match means. */
#include "cleanup.h"
#include "log/event.h"
#include "mime/address_log.h"
#include "smtp/check_action.h"

struct verb {
	struct job *j;
	const char *class; /* "header" or "body" */
	struct span shown; /* what matched, for the log */
	struct span arg, dsn;
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

static enum check_act do_reject(const struct verb *v)
{
	struct span dsn = v->dsn.n > 0 ? v->dsn : SPAN("5.7.1"),
		    text = v->arg.n > 0 ? v->arg : SPAN("message content rejected");

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
	log_act(v, "prepend", v->arg);
	*v->before = v->arg;
	return CA_KEEP;
}

static enum check_act do_replace(const struct verb *v)
{
	log_act(v, "replace", v->arg);
	*v->text = v->arg;
	return CA_KEEP;
}

static enum check_act do_redirect(const struct verb *v)
{
	log_act(v, "redirect", v->arg);
	v->j->redirect = v->arg;
	v->j->checks = false; /* nobody is asked about mail that is on its way elsewhere */
	return CA_KEEP;
}

static enum check_act do_bcc(const struct verb *v)
{
	struct job *j = v->j;

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

static enum check_act (*const run[CHECK_VERBS])(const struct verb *v) = {
	[CHECK_DUNNO] = do_nothing,	[CHECK_BCC] = do_bcc,	    [CHECK_DISCARD] = do_discard,
	[CHECK_FILTER] = do_filter,	[CHECK_HOLD] = do_hold,	    [CHECK_IGNORE] = do_ignore,
	[CHECK_INFO] = do_info,		[CHECK_PASS] = do_pass,	    [CHECK_PREPEND] = do_prepend,
	[CHECK_REDIRECT] = do_redirect, [CHECK_REJECT] = do_reject, [CHECK_REPLACE] = do_replace,
	[CHECK_STRIP] = do_strip,	[CHECK_WARN] = do_warn,
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
	struct verb v = { .j = j, .class = class, .shown = *text, .text = text, .before = before };
	struct check_action action;
	struct span value;
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
	if (check_action_parse(value, name_of(table), class[0] == 'h', &action, &e) != RC_OK) {
		log_warning("%s", e.text);
		return CA_KEEP;
	}
	v.arg = action.text;
	v.dsn = action.dsn;
	return run[action.verb](&v);
}
