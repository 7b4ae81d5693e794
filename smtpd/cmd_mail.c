/* cmd_mail.c - MAIL (RFC 5321 section 4.1.1.2), and how a path is taken. */
#include "restrict.h"
#include "base/codec.h"
#include "net/idna.h"
#include "queue/verp.h"

/* RFC 5321 grammar; unless strict_rfc821_envelopes says so, also what can only be meant one way: first."last"@x, a@b@x,
 * and user@, of which leads_astray() knows whether it is anybody. */
static enum rc read_path(struct span path, bool utf8, struct arena *a, struct span *out)
{
	struct address_loose l;
	struct span domain;
	bool routed;

	if (address_parse_path(path, utf8, a, out, &routed) == RC_OK) {
		*out = address_quote(a, address_unquote(a, *out)); /* quotes where they are needed */
		return RC_OK;
	}
	if (conf.strict_envelopes || path.p[0] == '@')
		return RC_SYNTAX;
	address_read(path, a, &l);
	domain = l.domain.n > 0 ? l.domain : span_str(conf.myhostname);
	*out = address_join(a, l.local, l.domain);
	return l.has_at && !l.doubtful && address_valid(address_join(a, l.local, domain), utf8) ? RC_OK
												: RC_SYNTAX;
}

/* Routing in the local part (user%elsewhere@here) may lead to what is no address; user@ is one with resolve_null_domain
 * alone. */
static bool leads_astray(struct span addr, struct arena *a)
{
	struct span local = address_split(addr).local;
	bool nowhere = span_ends(addr, SPAN("@"));
	struct router_validate_reply v;

	if (!nowhere && span_chr(local, '%') < 0 && span_chr(local, '!') < 0 && span_chr(local, '@') < 0)
		return false;
	return ask_router(SPAN_NONE, addr, true, a, &v) == RC_OK ? v.code == 501 : nowhere;
}

/* A domain in Unicode that has no form in ASCII is none (RFC 6531 section 3.2). */
static bool is_no_domain(struct span domain, struct arena *a)
{
	struct span ascii;

	return !span_is_ascii(domain) && idna_to_ascii(domain, a, &ascii) != RC_OK;
}

const char *take_path(struct session *s, struct span path, bool utf8, bool null_ok, struct span *out)
{
	*out = SPAN_NONE;
	if (path.n == 0)
		return null_ok ? NULL : "syntax";
	if (path.n > ENV_ADDR_MAX - 256 || read_path(path, utf8, &s->tx_arena, out) != RC_OK)
		return "syntax";
	if (!conf.allow_min_user && out->n > 0 && out->p[0] == '-')
		return "syntax"; /* a program would take it for an option */
	if (!conf.resolve_numeric_domain && domain_is_numeric(address_split(*out).domain))
		return "syntax";
	if (is_no_domain(address_split(*out).domain, &s->tx_arena))
		return "syntax";
	return leads_astray(*out, &s->tx_arena) ? "syntax" : NULL;
}

bool undeclared_domain(struct span addr, bool smtputf8)
{
	return !smtputf8 && !span_is_ascii(address_split(addr).domain);
}

void log_bad_address(struct session *s, const char *verb, struct span text)
{
	log_warning("Illegal address syntax from %s in %s command: " SPAN_FMT, session_client(s), verb,
		    SPAN_ARG(span_head(text, 200)));
}

struct span said_path(struct span arg, struct span params)
{
	struct span said = span_trim(span_skip(arg, (size_t)(span_chr(arg, ':') + 1)));

	return span_trim(span_head(said, said.n - params.n));
}

static bool bad_sender(struct session *s, struct span said)
{
	log_bad_address(s, "MAIL", said);
	reply(s, "501 5.1.7 Bad sender address syntax");
	return false;
}

void log_strict(struct session *s, const char *verb, const char *said, struct span arg)
{
	struct span path = span_trim(span_skip(arg, (size_t)(span_chr(arg, ':') + 1)));

	struct span word;

	if (strstr(said, "address syntax") != NULL && span_next_word(&path, " \t", &word) &&
	    (word.p[0] != '<' || span_chr(word, '>') >= 0))
		log_bad_address(s, verb, word);
}

static bool refuse(struct session *s, const char *text)
{
	log_action(s, "reject", "MAIL", SPAN_NONE, text);
	reply(s, "%s", text);
	return false;
}

/* XVERP: one delivery a recipient, whose name goes into the sender's address. NULL, or the reply. */
static const char *take_verp(struct session *s, struct transaction *tx)
{
	if (!tx->mail.own_verp)
		tx->mail.verp = span_str(conf.verp_delims);
	if (!verp_delims_ok(tx->mail.verp, conf.verp_filter))
		return arena_printf(&s->tx_arena, "501 5.5.4 Error: XVERP needs two characters from %s",
				    conf.verp_filter);
	return tx->sender.n > 0 ? NULL : "503 5.5.4 Error: XVERP requires non-null sender";
}

/* false: the reply is sent. The transaction exists already, so that log lines name the sender. */
static bool accept_sender(struct session *s, struct span path, struct span said, struct span params)
{
	struct transaction *tx = s->tx;
	const char *bad;

	bad = params_mail(params, extensions(s), &s->tx_arena, &tx->mail);
	if (take_path(s, path, conf.smtputf8, true, &tx->sender) != NULL ||
	    undeclared_domain(tx->sender, tx->mail.smtputf8))
		return bad_sender(s, said);
	if (bad != NULL) {
		reply(s, "%s", bad);
		return false;
	}
	if (conf.strict_utf8 && !tx->mail.smtputf8 && !span_is_ascii(tx->sender)) {
		reply(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
		return false;
	}
	if (tx->mail.xverp && (bad = take_verp(s, tx)) != NULL) {
		reply(s, "%s", bad);
		return false;
	}
	if (conf.message_size_limit > 0 && tx->mail.size > (uint64_t)conf.message_size_limit)
		return refuse(s, "552 5.3.4 Message size exceeds fixed limit");
	if (!limit_event(s, LIMIT_MAIL)) {
		reply(s, "450 4.7.1 Error: too much mail from " SPAN_FMT, SPAN_ARG(s->client.addr));
		return false;
	}
	return conf.delay_reject || check_sender(s);
}

bool cmd_mail(struct session *s, struct span arg)
{
	struct span path, params;
	const char *bad;

	if ((conf.helo_required || conf.lmtp) && s->client.helo.n == 0) {
		reply(s, "503 5.5.1 Error: send %s first", conf.lmtp ? "LHLO" : "HELO/EHLO");
		return false;
	}
	if (session_in_mail(s)) {
		reply(s, "503 5.5.1 Error: nested MAIL command");
		return false;
	}
	if (s->bdat_failed != BDAT_FINE) {
		reply(s, "503 5.5.1 Error: MAIL after BDAT");
		return false;
	}
	if ((bad = params_path(arg, "FROM:", conf.strict_envelopes, &path, &params)) != NULL) {
		log_strict(s, "MAIL", bad, arg);
		reply(s, "%s", bad);
		return false;
	}
	s->tx = arena_alloc(&s->tx_arena, sizeof(*s->tx));
	s->tx->arrival_us = wall_now().us;
	if (!accept_sender(s, path, said_path(arg, params), params)) {
		transaction_end(s);
		return false;
	}
	if (!conf.delay_open)
		transaction_name(s);
	reply(s, "250 2.1.0 Ok");
	return true;
}
