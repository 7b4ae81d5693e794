/* starttls.c - TLS on a session (RFC 3207) and the log line about it. */
#include "client.h"
#include "log/event.h"
#include "log/log.h"

static void log_tls(const struct session *s)
{
	const struct tls_info *i = &s->tls_info;
	struct buf more;
	EVENT("tls", EV_CSTR("side", "client"), EV_CSTR("relay", s->relay), EV_CSTR("protocol", i->protocol),
	      EV_CSTR("cipher", i->cipher), EV_NUMBER("bits", i->bits), EV_CSTR("key_exchange", i->kex),
	      EV_CSTR("subject", i->peer_subject), EV_FLAG("verified", i->peer_verified),
	      EV_FLAG("reused", i->reused));
	if (settings.tls_log < 1)
		return;
	buf_init(&more, 1000);
	tls_info_exchange(i, " ", &more);
	log_info("%s TLS connection %s to %s: %s with cipher %s (%d/%d bits)%s",
		 i->peer_fingerprint[0] == '\0' ? "Anonymous"
		 : i->peer_verified		? "Verified"
		 : i->peer_trusted		? "Trusted"
						: "Untrusted",
		 i->reused ? "reused" : "established", s->relay, i->protocol, i->cipher, i->bits, i->alg_bits,
		 buf_cstr(&more));
	buf_release(&more);
}

static enum rc failed(struct session *s, const struct tls_policy *p, enum rc rc, const struct err *e,
		      struct why *w)
{
	s->unusable = true;
	if (rc == RC_GONE) {
		why_set(w, "4.7.5", "Server certificate not verified");
		return RC_DENIED;
	}
	if (rc == RC_DENIED) { /* RFC 3207 section 6: what came before the handshake is not to be believed */
		log_warning("%s: input in clear text behind the reply to STARTTLS", s->relay);
		why_set(w, "4.7.5", "Cannot start TLS: handshake failure");
		return RC_DENIED;
	}
	if (e != NULL)
		tls_log_failure(false, s->relay, rc, e);
	why_set(w, "4.7.5", "Cannot start TLS: handshake failure");
	/* RC_SYNTAX lets the caller fall back to clear text where the policy allows that. */
	return p->level == TLS_MAY ? RC_SYNTAX : RC_DENIED;
}

/* Whether the server agrees. RC_NOTFOUND: it does not, and the policy says that is all right. */
static enum rc ask(struct session *s, const struct tls_policy *p, struct arena *a, struct why *w)
{
	session_puts(s, "STARTTLS");
	enum rc rc = session_reply(s, settings.starttls_s, "receiving the STARTTLS response", w);
	if (rc != RC_OK || s->reply.code / 100 == 2)
		return rc;
	if (p->level == TLS_MAY && !s->closing)
		return RC_NOTFOUND;
	char dsn[SMTP_DSN_MAX];
	session_dsn(s, dsn);
	why_set(w, dsn, "TLS is required, but host %s refused to start TLS: " SPAN_FMT, s->name_addr,
		SPAN_ARG(session_said(s, a)));
	return RC_DENIED;
}

/* What the configuration says of ciphers and protocols. */
static bool usable(const struct session *s, const struct tls_policy *p)
{
	if (p->ciphers == NULL)
		log_warning("%s: invalid cipher grade: \"%s\"", s->relay, p->grade);
	else if (!tls_protocols_ok(p->protocols))
		log_warning("%s: Invalid TLS protocol list \"%s\": aborting TLS session", s->relay,
			    p->protocols);
	else
		return true;
	return false;
}

enum rc session_starttls(struct session *s, const struct target *t, const struct tls_policy *p, bool wrapper,
			 struct arena *a, struct why *w)
{
	struct err e;
	struct span *names, sni = p->sni != NULL ? span_str(p->sni) : t->host;
	struct tls_demand want = { .level = p->level,
				   .names_n = policy_names(p, t, a, &names),
				   .protocols = p->protocols,
				   .ciphers = p->ciphers,
				   .anchors = p->anchors,
				   .trace = { s->relay, settings.tls_log } };
	want.names = names;
	if (!wrapper) {
		enum rc rc = ask(s, p, a, w);
		if (rc == RC_NOTFOUND)
			return RC_OK;
		if (rc != RC_OK)
			return rc;
	}
	if (!usable(s, p))
		return failed(s, p, RC_LIMIT, NULL, w);
	enum rc rc = tls_client_start(settings.tls, s->io, sni, span_str(s->relay), &want, &s->tls_info,
				      deadline_s(settings.starttls_s), &e);
	if (rc == RC_OK || rc == RC_GONE)
		log_tls(s);
	if (rc != RC_OK)
		return failed(s, p, rc, &e, w);
	s->tls = true;
	return RC_OK;
}
