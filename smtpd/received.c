/* received.c - the trace field (RFC 5321 section 4.4; RFC 3848 for the protocol names). */
#include "smtpd.h"

static void put_tls(struct session *s, struct buf *b)
{
	const struct tls_info *t = s->tls;

	(void)buf_printf(b, "\t(using %s with cipher %s (%d/%d bits)", t->protocol, t->cipher, t->bits,
			 t->alg_bits);
	tls_info_exchange(t, "\n\t ", b);
	(void)buf_puts(b, ")\n");
	if (t->peer_fingerprint[0])
		(void)buf_printf(b, "\t(Client CN \"%s\", Issuer \"%s\" (%s))\n", t->peer_subject,
				 t->peer_issuer, t->peer_trusted ? "verified OK" : "not verified");
	else
		(void)buf_puts(b, conf.tls_ask ? "\t(Client did not present a certificate)\n"
					       : "\t(No client certificate requested)\n");
}

/* "ESMTPSA", "UTF8SMTPS", "LMTPA" ... */
static const char *with(const struct session *s, char out[16])
{
	bool utf8 = s->tx->mail.smtputf8;
	const char *base = conf.lmtp ? (utf8 ? "UTF8LMTP" : "LMTP") : utf8 ? "UTF8SMTP" : session_proto(s);

	(void)snprintf(out, 16, "%s%s%s", base, s->tls != NULL ? "S" : "",
		       s->client.sasl_user.n > 0 ? "A" : "");
	return out;
}

struct span received_field(struct session *s, struct arena *a)
{
	char date[DATE_MAX], proto[16];
	struct buf b;
	struct span out;

	buf_init(&b, 16384);
	if (s->tx->prepend.n > 0)
		(void)buf_append(&b, s->tx->prepend);
	if (conf.hide_session) {
		(void)buf_printf(&b, "Received: by %s (%s)", conf.myhostname, conf.mail_name);
		goto end;
	}
	(void)buf_printf(&b, "Received: from " SPAN_FMT " (" SPAN_FMT " [%s" SPAN_FMT "])\n",
			 SPAN_ARG(s->client.helo.n > 0 ? s->client.helo : s->client.name),
			 SPAN_ARG(s->client.name), s->client.ip.family == AF_INET6 ? "IPv6:" : "",
			 SPAN_ARG(s->client.addr));
	if (s->tls != NULL && conf.tls_header)
		put_tls(s, &b);
	if (s->client.sasl_user.n > 0 && conf.sasl_header)
		(void)buf_printf(&b, "\t(Authenticated sender: " SPAN_FMT ")\n",
				 SPAN_ARG(s->client.sasl_user));
	(void)buf_printf(&b, "\tby %s (%s) with %s", conf.myhostname, conf.mail_name, with(s, proto));
end:
	if (s->tx->qid.s[0] != '\0') /* a filter before the queue gets mail that has none */
		(void)buf_printf(&b, " id %s", s->tx->qid.s);
	wall_rfc5322((wall_t){ s->tx->arrival_us }, date);
	if (s->tx->rcpts == 1)
		(void)buf_printf(&b, "\n\tfor <" SPAN_FMT ">; %s\n", SPAN_ARG(s->tx->rcpt[0].addr), date);
	else
		(void)buf_printf(&b, ";\n\t%s\n", date);
	out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return out;
}
