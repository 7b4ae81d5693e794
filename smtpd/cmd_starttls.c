/* cmd_starttls.c - STARTTLS (RFC 3207), and TLS from the first byte (RFC 8314 section 3.3). What was sent in
 * clear text behind the command is never taken for protected: it is dropped before the handshake. */
#include "restrict.h"
#include "log/event.h"

static void log_tls(const struct session *s)
{
	const struct tls_info *t = s->tls;
	struct buf b;

	buf_init(&b, 1000);
	(void)buf_printf(&b, "%s TLS connection established from %s: %s with cipher %s (%d/%d bits)",
			 t->peer_fingerprint[0] == '\0' ? "Anonymous"
			 : t->peer_trusted		? "Trusted"
							: "Untrusted",
			 session_client(s), t->protocol, t->cipher, t->bits, t->alg_bits);
	tls_info_exchange(t, " ", &b);
	log_info("%s", buf_cstr(&b));
	buf_release(&b);
}

bool tls_start(struct session *s)
{
	struct tls_info *info = xcalloc(1, sizeof(*info));
	struct tls_trace trace = { session_client(s), conf.tls_loglevel };
	struct err e;
	enum rc rc =
	    tls_server_start(conf.tls_server, s->io, &trace, info, deadline_s(conf.starttls_timeout_s), &e);

	if (rc != RC_OK) {
		tls_log_failure(true, session_client(s), rc, &e);
		log_info("lost connection after %s from %s", s->where, session_client(s));
		free(info);
		s->hangup = true;
		return false;
	}
	s->tls = info;
	EVENT("tls", EV_CSTR("side", "server"), EV_TEXT("peer_name", s->client.name),
	      EV_TEXT("peer_address", s->client.addr), EV_CSTR("protocol", info->protocol),
	      EV_CSTR("cipher", info->cipher), EV_NUMBER("bits", info->bits),
	      EV_CSTR("key_exchange", info->kex), EV_CSTR("subject", info->peer_subject),
	      EV_FLAG("verified", info->peer_trusted), EV_FLAG("reused", info->reused));
	if (conf.tls_loglevel > 0)
		log_tls(s);
	if (!info->reused && !limit_event(s, LIMIT_TLS)) {
		reply(s, "421 4.7.0 %s Error: too many new TLS sessions from %s", conf.myhostname,
		      session_client(s));
		return false;
	}
	if (conf.tls_req && !info->peer_trusted) {
		const char *why = info->peer_fingerprint[0] ? "Client certificate not trusted"
							    : "No client certificate presented";

		log_info("NOQUEUE: abort: TLS from %s: %s", session_client(s), why);
		reply(s, "421 4.7.1 %s Error: %s", conf.myhostname, why);
		s->tls_refused = true;
		return false;
	}
	return true;
}

bool cmd_starttls(struct session *s, struct span arg)
{
	if (arg.n > 0) {
		reply(s, "501 5.5.4 Syntax: STARTTLS");
		return false;
	}
	if (s->tls != NULL) {
		reply(s, "554 5.5.1 Error: TLS already active");
		return false;
	}
	if (conf.tls == TLS_NONE || (s->discard_ehlo & KW_STARTTLS)) {
		reply(s, "502 5.5.1 Error: command not implemented");
		return false;
	}
	struct err e;

	if (conf.tls_server == NULL || tls_server_ready(conf.tls_server, session_deadline(), &e) != RC_OK) {
		reply(s, "454 4.7.0 TLS not available due to local problem");
		return false;
	}
	if (limit_tls_reached(s)) {
		reply(s, "454 4.7.0 Error: too many new TLS sessions from %s", session_client(s));
		return false;
	}
	transaction_end(s);
	stream_drop_input(s->io); /* logged when the command came */
	reply(s, "220 2.0.0 Ready to start TLS");
	if (stream_flush(s->io, session_deadline(), &e) != RC_OK)
		return session_lost(s, RC_EOF);
	stream_drop_input(s->io);
	/* RFC 3207 section 4.2: what the client said before is forgotten. */
	s->client.helo = SPAN_NONE;
	s->client.sasl_user = s->client.sasl_method = SPAN_NONE;
	return tls_start(s) || s->tls_refused; /* STARTTLS itself is done, though the client is sent away */
}
