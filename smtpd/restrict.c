/* restrict.c - reading lists of restrictions, and running them. */
#include "restrict.h"
#include "base/table.h"
#include <stdarg.h>

#define DEPTH_MAX      20   /* classes within classes */
#define TEXT_RULES_MAX 1000 /* restrictions with arguments in results of tables */
#define WISHES_MAX                                                                                           \
	(64 * 1024) /* of memory that a session keeps: a client that greets for ever gets no more */

static struct arena forever;
static struct table *classes; /* name -> struct rule_list, while and after it is read */

/* ---- reading ---- */

static const struct restriction class_rule = { "(class)", ARG_NONE, run_class, 0 };
static const struct restriction unknown_rule = { "(unknown)", ARG_NONE, run_unknown_name, 0 };
static const struct restriction implicit_table = { "(table)", ARG_TABLE, run_access, -1 };

static const struct restriction *find(struct span name)
{
	for (const struct restriction *r = restrictions; r->name != NULL; r++)
		if (span_is_ci(name, r->name))
			return r;
	return NULL;
}

static bool is_class(struct span name)
{
	struct span rest = span_str(conf_str(service_conf(), "smtpd_restriction_classes")), word;

	while (span_next_word(&rest, ", \t\r\n", &word))
		if (span_eq(word, name))
			return true;
	return false;
}

/* A class is a parameter of its own, whose name the table of parameters does not know. */
static struct rule_list *read_class(struct span name, unsigned depth)
{
	struct rule_list *l = classes != NULL ? table_get(classes, name) : NULL;
	struct span text;
	char *param = arena_cstr(&forever, name);
	struct err e;

	if (l != NULL)
		return l;
	if (classes == NULL)
		classes = table_new();
	const char *raw = conf_raw(service_conf(), param);
	if (conf_expand(service_conf(), span_str(raw), &forever, &text, &e) != RC_OK)
		die("%s: %s", param, e.text);
	l = rules_read(param, text, depth + 1);
	table_set(classes, name, l);
	return l;
}

static void open_table(const char *param, struct rule *r)
{
	struct err e;

	/* A table that cannot be opened answers "cannot say", which is a 451. */
	if (maps_open(param, r->arg, MAP_FOLD_KEY | MAP_PARTIAL, &r->maps, &e) != RC_OK) {
		log_warning("%s", e.text);
		r->def = &unknown_rule;
	}
}

static void take_argument(const char *param, struct rule *r, const struct span *v, size_t n, size_t *i)
{
	bool optional = r->def->arg == ARG_DOMAIN_OPT;
	uint64_t number = 0;

	if (r->def->arg == ARG_NONE)
		return;
	if (*i + 1 >= n) {
		if (!optional) {
			log_warning("%s: restriction %s needs an argument", param, r->def->name);
			r->def = &unknown_rule;
		}
		return;
	}
	r->arg = span_dup(&forever, v[++*i]);
	switch (r->def->arg) {
	case ARG_TABLE:
		open_table(param, r);
		break;
	case ARG_DOMAIN:
	case ARG_DOMAIN_OPT:
		r->state = dnsbl_read(r->arg);
		break;
	case ARG_SERVICE:
		r->state = policy_read(r->arg);
		break;
	case ARG_NUMBER:
		if (span_to_u64(r->arg, 3600, &number) != RC_OK)
			log_warning("%s: %s: bad number \"" SPAN_FMT "\"", param, r->def->name,
				    SPAN_ARG(r->arg));
		r->number = (int64_t)number;
		break;
	case ARG_NONE:
		break;
	}
}

static struct rule *add(struct rule_list *l)
{
	if (l->n == l->cap)
		l->rule = arena_grow(&forever, l->rule, l->n, &l->cap, sizeof(*l->rule));
	l->rule[l->n] = (struct rule){ 0 };
	return &l->rule[l->n++];
}

/* reject_maps_rbl, the older name: reject_rbl_client for each of maps_rbl_domains. */
static struct rule_list *read_maps_rbl(unsigned depth)
{
	struct span rest = span_str(conf_str(service_conf(), "maps_rbl_domains")), domain, text = SPAN_NONE;

	while (span_next_word(&rest, ", \t\n", &domain))
		text = span_printf(&forever, SPAN_FMT " reject_rbl_client " SPAN_FMT, SPAN_ARG(text),
				   SPAN_ARG(domain));
	return rules_read("maps_rbl_domains", text, depth);
}

static void read_name(const char *param, struct rule *r, struct span word, unsigned depth)
{
	r->arg = span_dup(&forever, word);
	if ((r->def = find(word)) != NULL)
		return;
	if (span_is_ci(word, "reject_maps_rbl")) {
		r->def = &class_rule;
		r->list = read_maps_rbl(depth);
	} else if (is_class(word) && depth < DEPTH_MAX) {
		r->def = &class_rule;
		r->list = read_class(word, depth);
	} else if (span_chr(word, ':') > 0) {
		r->def = &implicit_table;
		open_table(param, r);
	} else {
		log_warning("%s: unknown smtpd restriction: \"" SPAN_FMT "\"", param, SPAN_ARG(word));
		r->def = &unknown_rule;
	}
}

struct rule_list *rules_read(const char *param, struct span text, unsigned depth)
{
	struct rule_list *l = arena_alloc(&forever, sizeof(*l));
	struct span *v;
	size_t n;
	struct err e;
	bool warn = false;

	if (conf_words(text, true, &forever, &v, &n, &e) != RC_OK)
		die("%s: %s", param, e.text);
	for (size_t i = 0; i < n; i++) {
		struct rule *r;

		if (span_is_ci(v[i], "warn_if_reject")) {
			warn = true;
			continue;
		}
		r = add(l);
		r->warn = warn;
		warn = false;
		read_name(param, r, v[i], depth);
		if (r->def != &implicit_table)
			take_argument(param, r, v, n, &i);
	}
	return l;
}

bool rules_guard(const struct rule_list *l)
{
	static const char *const guards[] = {
		"reject_unauth_destination", "defer_unauth_destination", "reject", "defer",
		"defer_if_permit",	     "check_relay_domains"
	};

	for (size_t i = 0; i < l->n; i++) {
		if (l->rule[i].list != NULL && rules_guard(l->rule[i].list))
			return true;
		for (size_t k = 0; k < ARRAY_LEN(guards) && !l->rule[i].warn; k++)
			if (strcmp(l->rule[i].def->name, guards[k]) == 0)
				return true;
	}
	return false;
}

/* ---- running ---- */

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

	if (def->arg == ARG_TABLE || def->arg == ARG_SERVICE || strncmp(def->name, "permit", 6) != 0)
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

/* What a result names with an argument is read once and kept: tables hold few such texts. */
static const struct rule *rule_of_text(const struct restriction *def, struct span arg)
{
	static struct table *known;
	struct span key = span_printf(&forever, "%s " SPAN_FMT, def->name, SPAN_ARG(span_head(arg, 250)));
	struct rule *r;

	if (known == NULL)
		known = table_new();
	if ((r = table_get(known, key)) != NULL)
		return r;
	if (def->arg == ARG_TABLE ||
	    table_count(known) >= TEXT_RULES_MAX) /* no table is opened in the sandbox */
		return NULL;
	struct span v[2] = { span_str(def->name), span_dup(&forever, arg) };
	size_t i = 0;

	r = arena_alloc(&forever, sizeof(*r));
	*r = (struct rule){ .def = def };
	take_argument("access table", r, v, 2, &i);
	table_set(known, key, r);
	return r;
}

/* Names in a table's result: read when they come. */
enum outcome rules_run_text(struct session *s, struct check *c, struct span text, const char *table)
{
	struct span word;
	enum outcome o = DUNNO;
	struct span subject = c->subject;
	bool warn = false;

	while (o == DUNNO && span_next_word(&text, ", \t", &word)) {
		const struct restriction *def = find(word);
		struct rule r = { .def = def, .arg = word, .warn = warn };
		struct rule_list one = { &r, 1, 1 };
		const struct rule *known;
		struct span arg;

		c->subject = subject;

		if (span_is_ci(word, "warn_if_reject")) {
			warn = true;
			continue;
		}
		warn = false;
		if (def == NULL && is_class(word)) {
			r.def = &class_rule;
			r.list = read_class(word, c->depth < DEPTH_MAX ? c->depth : DEPTH_MAX);
		} else if (def != NULL && def->arg != ARG_NONE && span_next_word(&text, ", \t", &arg) &&
			   (known = rule_of_text(def, arg)) != NULL) {
			bool warned = r.warn;

			r = *known;
			r.warn = warned;
		} else if (def == NULL || def->arg != ARG_NONE) {
			if (def == NULL)
				log_warning("unknown smtpd restriction: \"" SPAN_FMT "\"", SPAN_ARG(word));
			else
				log_warning("access table %s: " SPAN_FMT
					    " cannot be used in a result: name a "
					    "restriction class instead",
					    table, SPAN_ARG(word));
			return restrict_config_error(c);
		}
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

static const char *verdict_text(struct check *c, const struct verdict *v)
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
		log_action(s, "reject_warning", s->where, c->rcpt, verdict_text(c, &v));
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
		log_action(s, "reject_warning", s->where, c->rcpt, verdict_text(c, &v));
	else if (s->defer_if_permit.code == 0)
		s->defer_if_permit = v;
	return DUNNO;
}

/* ---- the steps ---- */

static bool refuse(struct session *s, struct check *c)
{
	if (c->verdict.code == 0) /* HANGUP */
		return false;
	log_action(s, "reject", s->where, c->rcpt, verdict_text(c, &c->verdict));
	s->rcpt_now = c->rcpt;
	s->policy = true;
	reply_verdict(s, &c->verdict);
	s->policy = false;
	s->rcpt_now = SPAN_NONE;
	return false;
}

static struct span client_subject(struct session *s, struct arena *a)
{
	return span_printf(a, "%s", session_client(s));
}

static void at_client(struct session *s, struct check *c)
{
	c->stage = AT_CLIENT;
	c->subject = client_subject(s, c->a);
	c->class = "Client host";
}

static enum outcome run_client(struct session *s, struct check *c)
{
	at_client(s, c);
	return rules_run(s, c, conf.restrict_at[AT_CLIENT]);
}

static enum outcome run_helo(struct session *s, struct check *c)
{
	if (s->client.helo.n == 0)
		return DUNNO;
	c->stage = AT_HELO;
	c->subject = s->client.helo;
	c->class = "Helo command";
	return rules_run(s, c, conf.restrict_at[AT_HELO]);
}

static void at_sender(struct session *s, struct check *c)
{
	c->stage = AT_SENDER;
	c->subject = address_unquote(c->a, s->tx->sender);
	c->class = "Sender address";
}

/* What smtpd_reject_unlisted_sender and ..._recipient add to every list. */
static const struct restriction unlisted_names[] = { { "reject_unlisted_sender", ARG_NONE, run_unlisted, 0 },
						     { "reject_unlisted_recipient", ARG_NONE, run_unlisted,
						       1 } };
static const struct rule unlisted_sender = { .def = &unlisted_names[0] },
			 unlisted_rcpt = { .def = &unlisted_names[1] };

static enum outcome run_sender(struct session *s, struct check *c)
{
	enum outcome o;

	if (s->tx == NULL)
		return DUNNO;
	at_sender(s, c);
	o = rules_run(s, c, conf.restrict_at[AT_SENDER]);
	if (o != REJECT && o != PERMIT_ALL && conf.reject_unlisted_sender)
		o = run_unlisted(s, c, &unlisted_sender);
	return o;
}

/* Without smtpd_delay_reject: a wish to defer waits for the recipients. */
static void keep_wish(struct session *s, struct verdict *kept, struct arena *a)
{
	struct verdict v = s->defer_if_permit;

	*kept = (struct verdict){ 0 };
	if (v.code != 0 && a->used_bytes < WISHES_MAX)
		*kept = (struct verdict){ v.code, span_dup(a, v.dsn), span_dup(a, v.text) };
	s->defer_if_permit = (struct verdict){ 0 };
}

bool check_connect(struct session *s)
{
	struct arena a;
	struct check c = { .a = &a };
	bool ok;

	arena_init(&a);
	s->defer_if_permit = (struct verdict){ 0 };
	ok = run_client(s, &c) != REJECT || refuse(s, &c);
	keep_wish(s, &s->wish[0], &s->arena);
	arena_release(&a);
	return ok;
}

bool check_helo(struct session *s)
{
	struct arena a;
	struct check c = { .a = &a };
	bool ok;

	arena_init(&a);
	s->defer_if_permit = (struct verdict){ 0 };
	ok = run_helo(s, &c) != REJECT || refuse(s, &c);
	keep_wish(s, &s->wish[1], &s->arena);
	arena_release(&a);
	return ok;
}

bool check_sender(struct session *s)
{
	struct arena a;
	struct check c = { .a = &a };
	bool ok;

	arena_init(&a);
	s->defer_if_permit = (struct verdict){ 0 };
	ok = run_sender(s, &c) != REJECT || refuse(s, &c);
	keep_wish(s, &s->wish[2], &s->tx_arena);
	arena_release(&a);
	return ok;
}

static enum outcome run_rcpt_list(struct session *s, struct check *c, enum stage stage)
{
	c->stage = stage;
	c->subject = address_unquote(c->a, c->rcpt);
	c->class = "Recipient address";
	return rules_run(s, c, conf.restrict_at[stage]);
}

static enum outcome run_all_for_rcpt(struct session *s, struct check *c)
{
	static enum outcome (*const early[])(struct session *, struct check *) = { run_client, run_helo,
										   run_sender };
	enum outcome o;

	for (size_t i = 0; conf.delay_reject && i < ARRAY_LEN(early); i++)
		if ((o = early[i](s, c)) == REJECT || o == PERMIT_ALL)
			return o;
	if ((o = run_rcpt_list(s, c, conf.relay_first ? AT_RELAY : AT_RECIPIENT)) == REJECT ||
	    o == PERMIT_ALL)
		return o;
	if ((o = run_rcpt_list(s, c, conf.relay_first ? AT_RECIPIENT : AT_RELAY)) == REJECT ||
	    o == PERMIT_ALL)
		return o;
	if (s->defer_if_permit.code != 0) { /* comes true before anything is told of the recipient */
		c->verdict = s->defer_if_permit;
		return REJECT;
	}
	if (conf.reject_unlisted_rcpt) {
		c->stage = AT_RECIPIENT;
		c->subject = c->rcpt;
		return run_unlisted(s, c, &unlisted_rcpt);
	}
	return DUNNO;
}

bool check_rcpt(struct session *s, struct span rcpt, const char *where)
{
	struct arena a;
	struct check c = { .a = &a, .rcpt = rcpt };
	enum outcome o;
	bool ok = true;

	arena_init(&a);
	s->where = where;
	s->defer_if_permit = s->defer_if_reject = (struct verdict){ 0 };
	for (size_t i = 0; !conf.delay_reject && i < ARRAY_LEN(s->wish) && s->defer_if_permit.code == 0; i++)
		s->defer_if_permit = s->wish[i];
	/* RFC 5321 section 4.5.1: the postmaster of whatever this host is must be reachable. */
	o = span_is_ci(rcpt, "postmaster") ? PERMIT : run_all_for_rcpt(s, &c);
	if (o != REJECT && o != PERMIT_ALL && s->defer_if_permit.code != 0) {
		c.verdict = s->defer_if_permit;
		o = REJECT;
	}
	if (o == REJECT)
		ok = refuse(s, &c);
	s->defer_if_permit = s->defer_if_reject = (struct verdict){ 0 };
	arena_release(&a);
	return ok;
}

/* A list behind which none follows: a wish to defer comes true here. */
static enum outcome run_last(struct session *s, struct check *c)
{
	enum outcome o;

	s->defer_if_permit = (struct verdict){ 0 };
	o = rules_run(s, c, conf.restrict_at[c->stage]);
	if (o != REJECT && o != PERMIT_ALL && s->defer_if_permit.code != 0) {
		c->verdict = s->defer_if_permit;
		o = REJECT;
	}
	s->defer_if_permit = s->defer_if_reject = (struct verdict){ 0 };
	return o;
}

bool check_data(struct session *s)
{
	struct arena a;
	struct check c = { .a = &a,
			   .stage = AT_DATA,
			   .subject = SPAN("DATA"),
			   .class = "Data command",
			   .rcpt = s->tx->rcpts == 1 ? s->tx->rcpt[0].addr : SPAN_NONE };
	bool ok;

	if (conf.restrict_at[AT_DATA]->n == 0)
		return true;
	arena_init(&a);
	ok = run_last(s, &c) != REJECT || refuse(s, &c);
	arena_release(&a);
	return ok;
}

bool check_end_of_data(struct session *s, struct verdict *v)
{
	struct check c = { .a = &s->tx_arena,
			   .stage = AT_END_OF_DATA,
			   .subject = SPAN("END-OF-MESSAGE"),
			   .class = "End-of-data",
			   .rcpt = s->tx->rcpts == 1 ? s->tx->rcpt[0].addr : SPAN_NONE };

	if (conf.restrict_at[AT_END_OF_DATA]->n == 0 || run_last(s, &c) != REJECT)
		return true;
	*v = c.verdict;
	if (v->code == 0) /* HANGUP */
		return false;
	log_action(s, "reject", s->where, c.rcpt, verdict_text(&c, &c.verdict));
	return false;
}

bool check_etrn(struct session *s, struct span domain)
{
	struct arena a;
	struct check c = { .a = &a, .stage = AT_ETRN, .subject = domain, .class = "Etrn command" };
	bool ok = true;

	arena_init(&a);
	s->etrn = domain;
	if (conf.delay_reject)
		ok = (run_client(s, &c) != REJECT && run_helo(s, &c) != REJECT) || refuse(s, &c);
	c.stage = AT_ETRN;
	c.subject = domain;
	c.class = "Etrn command";
	if (ok)
		ok = run_last(s, &c) != REJECT || refuse(s, &c);
	s->etrn = SPAN_NONE;
	arena_release(&a);
	return ok;
}
