/* restrict_access.c - access tables (access(5)): which keys are asked in which order, and what a result
 * means. */
#include "restrict.h"
#include "access_action.h"

#define PREPEND_MAX 8000 /* bytes of all PREPEND of a message, but for the last one */

/* ---- results ---- */

struct action {
	struct session *s;
	struct check *c;
	unsigned code;	       /* of a refusal; 0: none of the table's */
	struct span dsn, text; /* behind the action's word */
	struct span subject;
	const char *class, *source; /* source: the table's name */
};

static const char *story(const struct action *a, const char *otherwise)
{
	if (a->text.n > 0)
		return arena_printf(a->c->a, "<" SPAN_FMT ">: %s " SPAN_FMT, SPAN_ARG(a->subject), a->class,
				    SPAN_ARG(span_head(a->text, 500)));
	return arena_printf(a->c->a, "<" SPAN_FMT ">: %s %s", SPAN_ARG(a->subject), a->class, otherwise);
}

static void log_it(const struct action *a, const char *what, const char *otherwise)
{
	log_action(a->s, what, a->s->where, a->c->rcpt, story(a, otherwise));
}

/* The same where the text behind the word is an argument: "<subject>: Recipient address triggers BCC a@b". */
static void log_trigger(const struct action *a, const char *what, const char *word)
{
	log_action(a->s, what, a->s->where, a->c->rcpt,
		   arena_printf(a->c->a, "<" SPAN_FMT ">: %s triggers %s " SPAN_FMT, SPAN_ARG(a->subject),
				a->class, word, SPAN_ARG(span_head(a->text, 500))));
}

/* The text alone, as the table has it. */
static void log_text(const struct action *a, const char *what)
{
	log_action(a->s, what, a->s->where, a->c->rcpt, arena_cstr(a->c->a, span_head(a->text, 500)));
}

/* RFC 3463: X.1.Y tells of an address, and of which one. A table that is asked about senders as well as recipients may
 * name the other kind; of a host neither is true. */
static const char *fitting_detail(const char *class, unsigned detail)
{
	static const char *const sender[] = { "0", "7", "8", "7", "0", "0", "7", "7", "8" }, *const rcpt[] = {
		"0", "1", "2", "3", "4", "5", "6", "3", "2"
	};

	if (strcmp(class, "Sender address") == 0)
		return detail < ARRAY_LEN(sender) ? sender[detail] : "0";
	if (strcmp(class, "Recipient address") == 0)
		return detail < ARRAY_LEN(rcpt) ? rcpt[detail] : "0";
	return NULL;
}

struct span restrict_fitting_dsn(const char *class, struct span dsn, struct arena *a)
{
	struct span fits;
	uint64_t detail;
	const char *other;

	if (dsn.n < 5 || dsn.p[2] != '1' || dsn.p[3] != '.' ||
	    span_to_u64(span_skip(dsn, 4), 999, &detail) != RC_OK)
		return dsn;
	other = fitting_detail(class, (unsigned)detail);
	fits =
	    other != NULL ? span_printf(a, "%c.1.%s", dsn.p[0], other) : span_printf(a, "%c.0.0", dsn.p[0]);
	if (!span_eq(fits, dsn))
		log_info("mapping DSN status " SPAN_FMT " into %s status " SPAN_FMT, SPAN_ARG(dsn), class,
			 SPAN_ARG(fits));
	return fits;
}

/* With a status of the table's, or `dsn`: "5.7.1 <subject>: class rejected: text". */
static enum outcome refuse(const struct action *a, int64_t code, const char *dsn)
{
	struct span status = a->dsn.n > 0 ? restrict_fitting_dsn(a->class, a->dsn, a->c->a) : span_str(dsn),
		    text = a->text.n > 0 ? span_head(a->text, 500) : SPAN("Access denied");

	text = span_printf(a->c->a, "<" SPAN_FMT ">: %s rejected: " SPAN_FMT, SPAN_ARG(a->subject), a->class,
			   SPAN_ARG(text));
	return restrict_reject_bare(a->s, a->c, code, status, text);
}

static enum outcome act_ok(const struct action *a)
{
	log_permit(a->s, a->c, "OK", arena_printf(a->c->a, "from %s", a->source));
	return PERMIT;
}

static enum outcome act_dunno(const struct action *a)
{
	(void)a;
	return DUNNO;
}

static enum outcome act_refuse(const struct action *a)
{
	if (a->code == 0)
		return refuse(a, conf.code.access_reject, "5.7.1");
	return refuse(a, a->code, a->code >= 500 ? "5.7.1" : "4.7.1");
}

static enum outcome act_defer(const struct action *a)
{
	return refuse(a, conf.code.access_defer, "4.7.1");
}

static enum outcome act_hangup(const struct action *a)
{
	log_it(a, "hangup", "triggers HANGUP");
	a->s->hangup = true; /* without a word: check_..() sends no reply after it */
	a->c->verdict = (struct verdict){ 0 };
	return REJECT;
}

static enum outcome act_defer_if_permit(const struct action *a)
{
	return restrict_defer_if_permit(
	    a->s, a->c, "4.7.1", "%s rejected: " SPAN_FMT, a->class,
	    SPAN_ARG(a->text.n > 0 ? span_head(a->text, 400) : SPAN("Service unavailable")));
}

static enum outcome act_defer_if_reject(const struct action *a)
{
	struct session *s = a->s;

	if (!a->c->warn_only && s->defer_if_reject.code == 0)
		s->defer_if_reject =
		    (struct verdict){ (uint16_t)conf.code.access_defer, SPAN("4.7.1"),
				      span_printf(a->c->a, "<" SPAN_FMT ">: %s rejected: " SPAN_FMT,
						  SPAN_ARG(a->subject), a->class,
						  SPAN_ARG(a->text.n > 0 ? span_head(a->text, 400)
									 : SPAN("Service unavailable"))) };
	return DUNNO;
}

static enum outcome act_discard(const struct action *a)
{
	if (a->s->tx == NULL)
		return DUNNO;
	log_it(a, "discard", "triggers DISCARD action");
	a->s->tx->discard = true;
	return PERMIT_ALL;
}

static enum outcome act_hold(const struct action *a)
{
	if (a->s->tx == NULL || a->s->tx->hold)
		return DUNNO;
	log_it(a, "hold", "triggers HOLD action");
	a->s->tx->hold = true;
	return DUNNO;
}

static enum outcome act_filter(const struct action *a)
{
	if (a->s->tx == NULL)
		return DUNNO;
	log_trigger(a, "filter", "FILTER");
	a->s->tx->filter = span_dup(&a->s->tx_arena, a->text);
	return DUNNO;
}

static enum outcome act_redirect(const struct action *a)
{
	if (a->s->tx == NULL)
		return DUNNO;
	log_trigger(a, "redirect", "REDIRECT");
	a->s->tx->redirect = span_dup(&a->s->tx_arena, a->text);
	return DUNNO;
}

static enum outcome act_bcc(const struct action *a)
{
	struct transaction *tx = a->s->tx;

	if (tx == NULL || tx->bccs >= 100)
		return DUNNO;
	log_trigger(a, "bcc", "BCC");
	for (size_t i = 0; i < tx->bccs; i++)
		if (span_eq(tx->bcc[i], a->text))
			return DUNNO;
	if (tx->bccs == tx->bcc_cap)
		tx->bcc = arena_grow(&a->s->tx_arena, tx->bcc, tx->bccs, &tx->bcc_cap, sizeof(*tx->bcc));
	tx->bcc[tx->bccs++] = span_dup(&a->s->tx_arena, a->text);
	return DUNNO;
}

static enum outcome act_prepend(const struct action *a)
{
	struct transaction *tx = a->s->tx;

	if (tx == NULL)
		return DUNNO;
	if (tx->prepend.n > PREPEND_MAX) {
		log_warning("access table: more than %d bytes of PREPEND", PREPEND_MAX);
		return DUNNO;
	}
	tx->prepend =
	    span_printf(&a->s->tx_arena, SPAN_FMT SPAN_FMT "\n", SPAN_ARG(tx->prepend), SPAN_ARG(a->text));
	return DUNNO;
}

static enum outcome act_warn(const struct action *a)
{
	log_text(a, "warn");
	return DUNNO;
}

static enum outcome act_info(const struct action *a)
{
	log_text(a, "info");
	return DUNNO;
}

static enum outcome act_rules(const struct action *a)
{
	return rules_run_text(a->s, a->c, a->text, a->source);
}

/* What is done to mail that goes into the queue cannot be done to mail that goes to a filter instead. */
static const char *const unavailable[ACCESS_VERBS] = {
	[ACCESS_BCC] = "BCC",	[ACCESS_DISCARD] = "DISCARD",	[ACCESS_FILTER] = "FILTER",
	[ACCESS_HOLD] = "HOLD", [ACCESS_REDIRECT] = "REDIRECT",
};

static enum outcome not_before_queue(const struct action *a, const char *word)
{
	log_warning("access table %s: with smtpd_proxy_filter specified, action %s is unavailable", a->source,
		    word);
	return DUNNO;
}

static enum outcome (*const run[ACCESS_VERBS])(const struct action *) = {
	[ACCESS_DUNNO] = act_dunno,
	[ACCESS_BCC] = act_bcc,
	[ACCESS_DEFER] = act_defer,
	[ACCESS_DEFER_IF_PERMIT] = act_defer_if_permit,
	[ACCESS_DEFER_IF_REJECT] = act_defer_if_reject,
	[ACCESS_DISCARD] = act_discard,
	[ACCESS_FILTER] = act_filter,
	[ACCESS_HANGUP] = act_hangup,
	[ACCESS_HOLD] = act_hold,
	[ACCESS_INFO] = act_info,
	[ACCESS_OK] = act_ok,
	[ACCESS_PREPEND] = act_prepend,
	[ACCESS_REDIRECT] = act_redirect,
	[ACCESS_REFUSE] = act_refuse,
	[ACCESS_RULES] = act_rules,
	[ACCESS_WARN] = act_warn,
};

enum outcome access_result(struct session *s, struct check *c, struct span value, const char *source,
			   struct span subject, const char *class)
{
	struct access_action parsed;
	struct err e;

	if (span_trim(value).n == 0)
		return DUNNO;
	if (access_action_parse(value, conf.smtputf8, &parsed, &e) != RC_OK)
		log_warning("access table: %s", e.text);
	c->subject = subject;
	c->class = class; /* also of what the result names */
	struct action a = { .s = s,
			    .c = c,
			    .code = parsed.code,
			    .dsn = parsed.dsn,
			    .text = parsed.text,
			    .subject = subject,
			    .class = class,
			    .source = source };
	if (conf.before_on && unavailable[parsed.verb] != NULL)
		return not_before_queue(&a, unavailable[parsed.verb]);
	return run[parsed.verb](&a);
}

/* ---- keys ---- */

struct query {
	struct session *s;
	struct check *c;
	struct maps *maps;
	struct span value;
	enum rc rc;
};

static bool ask(struct query *q, struct span key, bool partial)
{
	struct err e;

	if (key.n == 0)
		return false;
	q->rc = partial ? maps_lookup_partial(q->maps, key, q->c->a, &q->value, &e)
			: maps_lookup(q->maps, key, q->c->a, &q->value, &e);
	return q->rc != RC_NOTFOUND;
}

/* name, then its parents: "parent" or ".parent". */
static bool ask_name(struct query *q, struct span name)
{
	struct inet_addr ip;
	ptrdiff_t dot;

	if (ask(q, name, false))
		return true;
	if (name.n > 0 && (name.p[0] == '[' || inet_addr_parse(name, &ip) == RC_OK))
		return false; /* what looks like an address has no parent domains */
	while (name.n > 0 && (dot = span_chr(span_skip(name, 1), '.')) >= 0) {
		name = span_skip(name, (size_t)dot + 2);
		if (ask(q, conf.access_parents ? name : span_make(name.p - 1, name.n + 1), true))
			return true;
	}
	return false;
}

/* The address, then the networks it is in, an octet (or a group) less each time. */
static bool ask_addr(struct query *q, struct span addr)
{
	char sep = span_chr(addr, ':') >= 0 ? ':' : '.';
	ptrdiff_t at;

	if (ask(q, addr, false))
		return true;
	while ((at = span_rchr(addr, sep)) > 0) {
		addr = span_head(addr, (size_t)at);
		while (addr.n > 0 && addr.p[addr.n - 1] == ':') /* "2001:db8::" */
			addr.n--;
		if (ask(q, addr, true))
			return true;
	}
	return false;
}

static bool ask_address(struct query *q, struct span addr)
{
	struct span ext;
	struct err e;

	if (addr.n == 0)
		return ask(q, span_str(conf.null_key), false);
	q->rc = maps_find_addr(q->maps, address_unquote(q->c->a, addr),
			       MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_DOMAIN |
				   MAPS_FIND_PARENT_DOMAINS | MAPS_FIND_LOCALPART_AT,
			       conf.extensions, false, !conf.access_parents, q->c->a, &q->value, &ext, &e);
	return q->rc != RC_NOTFOUND;
}

enum rc access_find_name(struct maps *m, struct span name, struct arena *a, struct span *value)
{
	struct check c = { .a = a };
	struct query q = { .c = &c, .maps = m, .rc = RC_NOTFOUND };

	(void)ask_name(&q, name);
	*value = q.value;
	return q.rc;
}

enum rc access_find_addr(struct maps *m, struct span addr, struct arena *a, struct span *value)
{
	struct check c = { .a = a };
	struct query q = { .c = &c, .maps = m, .rc = RC_NOTFOUND };

	(void)ask_addr(&q, addr);
	*value = q.value;
	return q.rc;
}

/* A client certificate is known by its fingerprint or by that of its key. */
static bool ask_ccert(struct query *q, int64_t order)
{
	const struct tls_info *t = q->s->tls;

	if (t == NULL || t->peer_fingerprint[0] == '\0')
		return false;
	restrict_tell_digest();
	for (order = order != 0 ? order : CCERT_CERT | CCERT_KEY << 2; order != 0; order >>= 2)
		if (ask(q,
			span_str((order & 3) == CCERT_CERT ? t->peer_fingerprint : t->peer_key_fingerprint),
			false))
			return true;
	return false;
}

enum { KEY_CLIENT, KEY_REVERSE, KEY_HELO, KEY_SENDER, KEY_RCPT, KEY_SASL, KEY_ETRN, KEY_CCERT };

/* A table without check_..._access in front means the one of its list. */
static int implied(enum stage stage)
{
	static const int keys[STAGES] = {
		[AT_CLIENT] = KEY_CLIENT,    [AT_HELO] = KEY_HELO,	[AT_SENDER] = KEY_SENDER,
		[AT_RELAY] = KEY_RCPT,	     [AT_RECIPIENT] = KEY_RCPT, [AT_DATA] = KEY_RCPT,
		[AT_END_OF_DATA] = KEY_RCPT, [AT_ETRN] = KEY_ETRN
	};
	return keys[stage];
}

enum outcome run_access(struct session *s, struct check *c, const struct rule *r)
{
	struct query q = { .s = s, .c = c, .maps = r->maps, .rc = RC_NOTFOUND };
	struct span subject = span_printf(c->a, "%s", session_client(s));
	const char *class = "Client host";

	switch (r->def->which >= 0 ? r->def->which : implied(c->stage)) {
	case KEY_CLIENT:
		(void)(ask_name(&q, s->client.name) || ask_addr(&q, s->client.addr));
		break;
	case KEY_REVERSE:
		(void)(ask_name(&q, s->client.rname) || ask_addr(&q, s->client.addr));
		subject = s->client.rname;
		class = "Unverified Client host";
		break;
	case KEY_HELO:
		(void)(s->client.helo.n > 0 && ask_name(&q, s->client.helo));
		subject = s->client.helo;
		class = "Helo command";
		break;
	case KEY_SENDER:
		(void)(s->tx != NULL && ask_address(&q, restrict_canonical(s, c, s->tx->sender)));
		subject = s->tx != NULL ? address_unquote(c->a, s->tx->sender) : SPAN_NONE;
		class = "Sender address";
		break;
	case KEY_RCPT:
		(void)(c->rcpt.n > 0 && ask_address(&q, restrict_canonical(s, c, c->rcpt)));
		subject = address_unquote(c->a, c->rcpt);
		class = "Recipient address";
		break;
	case KEY_SASL:
		(void)(s->client.sasl_user.n > 0 && ask(&q, s->client.sasl_user, false));
		subject = s->client.sasl_user;
		class = "SASL login name";
		break;
	case KEY_CCERT:
		if (!ask_ccert(&q, r->number))
			break;
		subject = span_printf(c->a, "%s", s->tls->peer_subject);
		class = "Client certificate";
		break;
	case KEY_ETRN:
		(void)ask_name(&q, c->subject);
		subject = c->subject;
		class = "Etrn command";
		break;
	}
	if (q.rc == RC_NOTFOUND)
		return DUNNO;
	if (q.rc != RC_OK) {
		c->subject = subject;
		return restrict_table_error(c, class);
	}
	return access_result(s, c, q.value,
			     r->maps != NULL && maps_count(r->maps) > 0 ? map_name(maps_at(r->maps, 0)) : "",
			     subject, class);
}
