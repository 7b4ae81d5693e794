/* cmd_rcpt.c - RCPT (RFC 5321 section 4.1.1.3). The first accepted one gives the message its queue id. */
#include "restrict.h"
#include "log/event.h"

#define ENVELOPE_BYTES (110 * 1024) /* of recipients: what one record to cleanup(8) holds */
#define PER_RCPT       32

static bool bad_recipient(struct session *s, struct span path)
{
	log_warning("Illegal address syntax from %s in RCPT command: <" SPAN_FMT ">", session_client(s),
		    SPAN_ARG(span_head(path, 200)));
	reply(s, "501 5.1.3 Bad recipient address syntax");
	return false;
}

static bool has_room(const struct transaction *tx, struct span path)
{
	return tx->rcpts < (size_t)conf.rcpt_limit && tx->rcpts < ENV_RCPT_MAX &&
	       tx->rcpt_bytes + path.n + ORCPT_TEXT_MAX + PER_RCPT < ENVELOPE_BYTES;
}

static void name_message(struct session *s)
{
	char login[700] = "", first[700] = "";

	s->tx->qid = qid_new(service_lane());
	if (s->sasl_user.n > 0)
		(void)snprintf(login, sizeof(login), ", sasl_method=" SPAN_FMT ", sasl_username=" SPAN_FMT,
			       SPAN_ARG(s->sasl_method), SPAN_ARG(span_head(s->sasl_user, 500)));
	if (s->fwd.name.n > 0 || s->fwd.addr.n > 0)
		(void)snprintf(first, sizeof(first),
			       ", orig_queue_id=" SPAN_FMT ", orig_client=" SPAN_FMT "[" SPAN_FMT "]",
			       SPAN_ARG(s->fwd.ident), SPAN_ARG(span_head(s->fwd.name, 300)),
			       SPAN_ARG(s->fwd.addr));
	log_info("%s: client=%s%s%s", s->tx->qid.s, session_client(s), login, first);
	EVENT("message", EV_TEXT("queue_id", qid_span(&s->tx->qid)), EV_TEXT("client_name", s->name),
	      EV_TEXT("client_address", s->addr), EV_TEXT("helo", s->helo),
	      EV_CSTR("protocol", session_proto(s)), EV_FLAG("tls", s->tls != NULL),
	      EV_TEXT("sasl_method", s->sasl_method), EV_TEXT("sasl_username", s->sasl_user),
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
	if (tx->qid.s[0] == '\0')
		name_message(s);
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
	const char *bad;

	if (s->tx == NULL || s->tx->bdat) {
		reply(s, s->tx == NULL ? "503 5.5.1 Error: need MAIL command"
				       : "503 5.5.1 Error: RCPT after BDAT");
		return false;
	}
	if ((bad = params_path(arg, "TO:", conf.strict_envelopes, &path, &rest)) != NULL ||
	    (bad = params_rcpt(rest, extensions(s), &s->tx_arena, &p)) != NULL) {
		reply(s, "%s", bad);
		return false;
	}
	if (!has_room(s->tx, path))
		return too_many(s);
	if (take_path(s, path, conf.smtputf8, false, &addr) != NULL)
		return bad_recipient(s, path);
	if (!limit_event(s, LIMIT_RCPT)) {
		char text[200];

		(void)snprintf(text, sizeof(text), "450 4.7.1 Error: too many recipients from " SPAN_FMT,
			       SPAN_ARG(s->addr));
		log_action(s, "reject", "RCPT", addr, text);
		reply(s, "%s", text);
		return false;
	}
	if (!check_rcpt(s, addr, "RCPT"))
		return false;
	add(s, addr, &p);
	reply(s, "250 2.1.5 Ok");
	return true;
}
