/* restrict_stages.c - which lists are judged when: at once or at RCPT (smtpd_delay_reject), and what a refusal says. */
#include "restrict.h"

#define WISHES_MAX                                                                                           \
	(64 * 1024) /* of memory that a session keeps: a client that greets for ever gets no more */

static bool refuse(struct session *s, struct check *c)
{
	if (c->verdict.code == 0) /* HANGUP */
		return false;
	log_action(s, "reject", s->where, c->rcpt, restrict_text(c, &c->verdict));
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
static const struct restriction unlisted_names[] = { { "reject_unlisted_sender", run_unlisted, 0 },
						     { "reject_unlisted_recipient", run_unlisted, 1 } };
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

/* One list at its own time. A wish of it lives in `keep` for as long as what it is about. */
static bool judge_now(struct session *s, enum outcome (*run)(struct session *, struct check *),
		      struct verdict *wish, struct arena *keep)
{
	struct arena a;
	struct check c = { .a = &a };
	bool ok;

	arena_init(&a);
	s->defer_if_permit = (struct verdict){ 0 };
	ok = run(s, &c) != REJECT || refuse(s, &c);
	keep_wish(s, wish, keep);
	arena_release(&a);
	return ok;
}

bool check_connect(struct session *s)
{
	return judge_now(s, run_client, &s->wish[0], &s->arena);
}

bool check_helo(struct session *s)
{
	return judge_now(s, run_helo, &s->wish[1], &s->arena);
}

bool check_sender(struct session *s)
{
	return judge_now(s, run_sender, &s->wish[2], &s->tx_arena);
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
	o = run_rcpt_list(s, c, conf.relay_first ? AT_RELAY : AT_RECIPIENT);
	c->before_relay = o == REJECT && conf.old_order;
	if (o == REJECT || o == PERMIT_ALL)
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
	else if (!span_is_ci(rcpt, "postmaster"))
		restrict_tell_relay(s, &c);
	if (c.before_relay)
		log_info(OLD_DEFAULT
			 "smtpd_relay_before_recipient_restrictions=no to reject recipient \"" SPAN_FMT
			 "\" from client \"%s\"",
			 SPAN_ARG(rcpt), session_client(s));
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
	log_action(s, "reject", s->where, c.rcpt, restrict_text(&c, &c.verdict));
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
