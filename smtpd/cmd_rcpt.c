/* cmd_rcpt.c - RCPT (RFC 5321 section 4.1.1.3). The first accepted one gives the message its queue id. */
#include "restrict.h"
#include "base/codec.h"
#include "log/event.h"

#define ENVELOPE_BYTES (110 * 1024) /* of recipients: what one record to cleanup(8) holds */
#define PER_RCPT       32

static bool bad_recipient(struct session *s, struct span said)
{
	log_bad_address(s, "RCPT", said);
	reply(s, "501 5.1.3 Bad recipient address syntax");
	return false;
}

static bool has_room(const struct transaction *tx, struct span path)
{
	return tx->rcpts < (size_t)conf.rcpt_limit && tx->rcpts < ENV_RCPT_MAX &&
	       tx->rcpt_bytes + path.n + ORCPT_TEXT_MAX + PER_RCPT < ENVELOPE_BYTES;
}

static bool known(struct span v)
{
	return v.n > 0 && !span_is(v, "unknown");
}

/* ", orig_queue_id=ID, orig_client=name[addr]" of what XFORWARD told. */
static void log_origin(const struct session *s, char *text, size_t size)
{
	const struct forward *f = &s->fwd;
	char id[300] = "", addr[INET_TEXT_MAX + 2] = "";

	if (known(f->ident))
		(void)snprintf(id, sizeof(id), ", orig_queue_id=" SPAN_FMT, SPAN_ARG(f->ident));
	if (known(f->addr))
		(void)snprintf(addr, sizeof(addr), "[" SPAN_FMT "]", SPAN_ARG(f->addr));
	if (f->name.n == 0 && f->addr.n == 0)
		(void)snprintf(text, size, "%s", id);
	else
		(void)snprintf(text, size, "%s, orig_client=" SPAN_FMT "%s", id,
			       SPAN_ARG(span_head(f->name, 300)), addr);
}

void transaction_name(struct session *s)
{
	char login[700] = "", first[700] = "";

	if (!conf.before_on) /* else there is no file of ours */
		s->tx->qid = qid_new(service_lane());
	if (s->client.sasl_user.n > 0)
		(void)snprintf(login, sizeof(login), ", sasl_method=" SPAN_FMT ", sasl_username=" SPAN_FMT,
			       SPAN_ARG(s->client.sasl_method),
			       SPAN_ARG(span_head(s->client.sasl_user, 500)));
	log_origin(s, first, sizeof(first));
	log_info("%s: client=%s%s%s", session_message(s), session_client(s), login, first);
	EVENT("message", EV_TEXT("queue_id", qid_span(&s->tx->qid)), EV_TEXT("client_name", s->client.name),
	      EV_TEXT("client_address", s->client.addr), EV_TEXT("helo", s->client.helo),
	      EV_CSTR("protocol", session_proto(s)), EV_FLAG("tls", s->tls != NULL),
	      EV_TEXT("sasl_method", s->client.sasl_method), EV_TEXT("sasl_username", s->client.sasl_user),
	      EV_TEXT("orig_queue_id", s->fwd.ident), EV_TEXT("orig_client_name", s->fwd.name),
	      EV_TEXT("orig_client_address", s->fwd.addr));
}

static void add(struct session *s, struct span addr, const struct rcpt_params *p)
{
	struct transaction *tx = s->tx;

	if (tx->rcpts == tx->rcpt_cap)
		tx->rcpt = arena_grow(&s->tx_arena, tx->rcpt, tx->rcpts, &tx->rcpt_cap, sizeof(*tx->rcpt));
	tx->rcpt[tx->rcpts++] = (struct env_rcpt){ .addr = addr, .orcpt = p->orcpt, .notify = p->notify };
	tx->rcpt_bytes += addr.n + p->orcpt.n + PER_RCPT;
	if (tx->qid.s[0] == '\0' && !conf.before_on)
		transaction_name(s);
}

static bool too_many(struct session *s)
{
	reply(s, "452 4.5.3 Error: too many recipients");
	return s->tx->overshoot++ < (size_t)conf.rcpt_overshoot;
}

bool cmd_rcpt(struct session *s, struct span arg)
{
	struct span path, rest, addr;
	struct rcpt_params p;
	struct verdict v;
	const char *bad;

	if (s->tx == NULL || s->tx->bdat) {
		reply(s, !session_in_mail(s) ? "503 5.5.1 Error: need MAIL command"
					     : "503 5.5.1 Error: RCPT after BDAT");
		return false;
	}
	bad = params_path(arg, "TO:", conf.strict_envelopes, &path, &rest);
	if (bad == NULL && (take_path(s, path, conf.smtputf8, false, &addr) != NULL ||
			    undeclared_domain(addr, s->tx->mail.smtputf8)))
		return bad_recipient(s, said_path(arg, rest));
	if (bad == NULL)
		bad = params_rcpt(rest, extensions(s), &s->tx_arena, &p);
	if (bad != NULL) {
		log_strict(s, "RCPT", bad, arg);
		reply(s, "%s", bad);
		return false;
	}
	if (!has_room(s->tx, path))
		return too_many(s);
	if (conf.strict_utf8 && !s->tx->mail.smtputf8 && !span_is_ascii(addr)) {
		reply(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
		return false;
	}
	if (!limit_event(s, LIMIT_RCPT)) {
		reply(s, "450 4.7.1 Error: too many recipients from " SPAN_FMT, SPAN_ARG(s->client.addr));
		return false;
	}
	if (!check_rcpt(s, addr, "RCPT"))
		return false;
	add(s, addr, &p);
	if (conf.before_on && !before_rcpt(s, &v)) {
		s->tx->rcpts--;
		reply_verdict(s, &v);
		return false;
	}
	reply(s, "250 2.1.5 Ok");
	return true;
}
