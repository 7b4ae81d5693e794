/* transfer.c - one mail transaction (RFC 5321 section 3.3): MAIL, RCPT, DATA, with PIPELINING in as few round
 * trips as there can be (RFC 2920), and LMTP's reply for each recipient (RFC 2033 section 4.2). */
#include "client.h"
#include "base/codec.h"
#include "log/log.h"
#include "mime/address.h"

#define WINDOW 100 /* RCPT commands in flight: their replies fit any socket buffer */

/* Where a transaction stands. */
struct transaction {
	struct delivery *dl;
	struct session *s;
	bool mail_failed, data_sent, data_ok, dot_sent, seven;
	size_t accepted;
	struct why mail_why;
	struct span mail_diag;
};

static bool probe(const struct delivery *dl)
{
	return (dl->d->flags & DELF_VERIFY) != 0;
}

static bool ends_at_rcpt(const struct delivery *dl)
{
	return probe(dl) && !settings.probe_data;
}

/* ---- what a reply means ---- */

static void said(struct transaction *t, const char *command, struct why *w, struct span *diag)
{
	char dsn[SMTP_DSN_MAX];
	*diag = session_said(t->s, t->dl->a);
	session_dsn(t->s, dsn);
	/* Success is said where it cannot be: 2xx to DATA. */
	why_set(w, dsn, "%shost %s said: " SPAN_FMT " (in reply to %s)",
		t->s->reply.code / 100 == 2 ? "Protocol error: " : "", t->s->name_addr, SPAN_ARG(*diag),
		command);
}

static void rcpt_fail(struct transaction *t, struct rcpt *r, const char *command)
{
	struct delivery *dl = t->dl;
	struct why w;
	struct span diag;
	said(t, command, &w, &diag);
	if (w.dsn[0] == '4' && !dl->final && !dl->hold)
		log_info(SPAN_FMT ": %s", SPAN_ARG(dl->env.qid), w.text); /* the next host is asked */
	else
		rcpt_failed(dl, r, &w, diag);
}

/* A server with DSN reports success itself (RFC 3461 section 5.2.2): no report of ours. */
static void rcpt_sent(struct transaction *t, struct rcpt *r)
{
	const struct smtp_reply *p = &t->s->reply;
	bool reports = (t->s->ehlo.features & FEAT_DSN) != 0;
	struct span text = session_said(t->s, t->dl->a);
	enum deliver_status st = reports ? DS_PASSED : settings.assume_final ? DS_SENT : DS_RELAYED;
	rcpt_result(t->dl, r, st, p->dsn[0] != '\0' ? span_str(p->dsn) : SPAN("2.0.0"), text, text);
}

/* ---- commands ---- */

static struct span xtext(struct arena *a, struct span in)
{
	struct buf b;
	buf_init(&b, 3 * in.n + 1);
	xtext_encode(&b, in);
	struct span out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return out;
}

/* smtp_quote_rfc821_envelope = no: for servers that do not know quotes (RFC 5321 section 4.1.2). */
static struct span path(const struct delivery *dl, struct span addr)
{
	return settings.quote_envelope ? addr : address_unquote(dl->a, addr);
}

static void put_mail(struct transaction *t)
{
	const struct envelope *env = &t->dl->env;
	struct session *s = t->s;
	struct buf more;
	buf_init(&more, 4096);
	if ((s->ehlo.features & FEAT_SIZE) && !t->seven) /* RFC 1870; conversion makes it a guess */
		(void)buf_printf(&more, " SIZE=%llu", (unsigned long long)content_wire_bytes(t->dl->d, env));
	if (settings.dummy_auth && s->authenticated) /* RFC 4954 section 5 */
		(void)buf_puts(&more, " AUTH=<>");
	if ((s->ehlo.features & FEAT_8BITMIME) && env->body == BODY_8BITMIME)
		(void)buf_puts(&more, " BODY=8BITMIME");
	if ((s->ehlo.features & FEAT_SMTPUTF8) && (env->flags & ENVF_SMTPUTF8))
		(void)buf_puts(&more, " SMTPUTF8");
	if ((s->ehlo.features & FEAT_DSN) && env->envid.n > 0)
		(void)buf_printf(&more, " ENVID=" SPAN_FMT, SPAN_ARG(xtext(t->dl->a, env->envid)));
	if ((s->ehlo.features & FEAT_DSN) && env->ret != RET_NONE)
		(void)buf_puts(&more, env->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
	session_puts(s, "MAIL FROM:<" SPAN_FMT ">%s", SPAN_ARG(path(t->dl, t->dl->sender)), buf_cstr(&more));
	buf_release(&more);
	s->dirty = true;
}

static void put_notify(struct buf *b, uint16_t notify)
{
	char words[NOTIFY_TEXT];

	if (notify_words(notify, words)[0] != '\0')
		(void)buf_printf(b, " NOTIFY=%s", words);
}

/* What the client said; else, RFC 3461 section 5.2.1 allows that, the address that the message came with. */
static void put_orcpt(struct transaction *t, struct buf *b, const struct rcpt *r)
{
	struct span text = r->r->orcpt, type;
	if (text.n > 0 && span_next(&text, ';', &type) && text.n > 0)
		(void)buf_printf(b, " ORCPT=" SPAN_FMT ";" SPAN_FMT, SPAN_ARG(type),
				 SPAN_ARG(xtext(t->dl->a, text)));
	else { /* beyond ASCII it is none of type rfc822, and servers refuse it (RFC 6533 section 3) */
		struct span orig = r->r->orig.n > 0 ? r->r->orig : r->r->addr;
		if (span_is_ascii(orig))
			(void)buf_printf(b, " ORCPT=rfc822;" SPAN_FMT, SPAN_ARG(xtext(t->dl->a, orig)));
	}
}

static void put_rcpt(struct transaction *t, const struct rcpt *r)
{
	struct buf more;
	buf_init(&more, 5000);
	if (t->s->ehlo.features & FEAT_DSN) {
		put_orcpt(t, &more, r);
		put_notify(&more, t->dl->d->flags & DELF_VERIFY
				      ? 0
				      : r->r->notify); /* a probe asks for no reports */
	}
	session_puts(t->s, "RCPT TO:<" SPAN_FMT ">%s", SPAN_ARG(path(t->dl, r->addr)), buf_cstr(&more));
	buf_release(&more);
}

/* ---- replies ---- */

static enum rc read_mail(struct transaction *t, struct why *w)
{
	enum rc rc = session_reply(t->s, settings.mail_s, "sending MAIL FROM", w);
	if (rc != RC_OK || t->s->reply.code / 100 == 2)
		return rc;
	t->mail_failed = true;
	said(t, "MAIL FROM command", &t->mail_why, &t->mail_diag);
	return RC_OK;
}

static enum rc read_rcpt(struct transaction *t, struct rcpt *r, struct why *w)
{
	enum rc rc = session_reply(t->s, settings.rcpt_s, "sending RCPT TO", w);
	if (rc != RC_OK || t->mail_failed)
		return rc;
	if (t->s->reply.code / 100 != 2) {
		rcpt_fail(t, r, "RCPT TO command");
		return RC_OK;
	}
	r->accepted = true;
	t->accepted++;
	if (ends_at_rcpt(t->dl))
		rcpt_sent(t, r);
	return RC_OK;
}

static void fail_accepted(struct transaction *t, const char *command)
{
	for (size_t i = 0; i < t->dl->rcpts; i++)
		if (t->dl->rcpt[i].accepted && !t->dl->rcpt[i].done)
			rcpt_fail(t, &t->dl->rcpt[i], command);
}

/* The server is ready for content that does not come: without the dot there is no message, so nothing may follow. */
static void end_probe(struct transaction *t)
{
	for (size_t i = 0; i < t->dl->rcpts; i++)
		if (t->dl->rcpt[i].accepted)
			rcpt_sent(t, &t->dl->rcpt[i]);
	t->s->unusable = true;
}

static enum rc read_data(struct transaction *t, struct why *w)
{
	enum rc rc = session_reply(t->s, settings.data_init_s, "sending DATA command", w);
	if (rc != RC_OK)
		return rc;
	t->data_ok = t->s->reply.code / 100 == 3;
	if (!t->data_ok && !t->mail_failed)
		fail_accepted(t, "DATA command");
	if (t->data_ok && t->accepted > 0 && !t->mail_failed && probe(t->dl))
		end_probe(t);
	return RC_OK;
}

/* ---- the parts of a transaction ---- */

/* MAIL, the recipients and, with PIPELINING, DATA. */
static enum rc envelope(struct transaction *t, struct why *w)
{
	struct delivery *dl = t->dl;
	bool pipelining = (t->s->ehlo.features & FEAT_PIPELINING) != 0, mail_read = false;
	bool data = pipelining && !ends_at_rcpt(dl);
	enum rc rc = RC_OK;
	size_t window = pipelining ? WINDOW : 1;
	put_mail(t);
	if (!pipelining) {
		rc = read_mail(t, w);
		mail_read = true;
	}
	for (size_t i = 0, n; rc == RC_OK && i < dl->rcpts && !t->mail_failed; i += n) {
		for (n = 0; n < window && i + n < dl->rcpts; n++)
			if (!dl->rcpt[i + n].done)
				put_rcpt(t, &dl->rcpt[i + n]);
		bool last = i + n == dl->rcpts;
		if (last && data) {
			session_puts(t->s, "DATA");
			t->data_sent = true;
		}
		if (!mail_read)
			rc = read_mail(t, w);
		mail_read = true;
		for (size_t k = 0; rc == RC_OK && k < n; k++)
			if (!dl->rcpt[i + k].done)
				rc = read_rcpt(t, &dl->rcpt[i + k], w);
		if (rc == RC_OK && last && data)
			rc = read_data(t, w);
	}
	return rc;
}

/* RFC 2920 section 3.1: DATA was taken although no recipient was; nothing but the dot may follow. */
static enum rc empty_data(struct transaction *t, struct why *w)
{
	if (!t->data_ok)
		return RC_OK;
	stream_puts(t->s->io, ".\r\n");
	t->s->unusable = true; /* whatever it makes of that */
	(void)w;
	struct err e;
	return stream_flush(t->s->io, deadline_s(settings.data_xfer_s), &e);
}

static enum rc send_content(struct transaction *t, struct why *w)
{
	struct content c;
	struct err e;
	content_open(&c, t->dl->d, t->dl->env.qid);
	stream_set_write_timeout(t->s->io, settings.data_xfer_s);
	enum rc rc = content_send(&c, t->s->io, t->seven, &e);
	content_close(&c);
	if (rc != RC_OK && rc != RC_TIMEOUT) { /* no dot: what was sent must not become a message */
		t->s->unusable = true;
		bool forever = rc == RC_LIMIT || rc == RC_SYNTAX;
		t->s->trouble |= forever ? 0 : NOTICE_DATA;
		log_warning(SPAN_FMT ": %s", SPAN_ARG(t->dl->env.qid), e.text);
		if (rc == RC_AGAIN) /* a table of checks */
			why_set(w, "4.3.0", "local data error while talking to %s", t->s->name_addr);
		else
			why_set(w, forever ? "5.6.3" : "4.3.0", "%s",
				forever ? e.text : "message content cannot be read");
		return RC_GONE;
	}
	if (rc == RC_OK && stream_flush(t->s->io, deadline_s(settings.data_xfer_s), &e) == RC_OK)
		return RC_OK;
	rc = e.rc == RC_TIMEOUT ? RC_TIMEOUT : RC_EOF;
	/* The server may have refused in mid-transfer. */
	if (session_read(t->s, 1, &e) == RC_OK && t->s->reply.code / 100 >= 4) {
		t->s->unusable = true;
		fail_accepted(t, "end of DATA command");
		return RC_EOF;
	}
	session_why(t->s, rc, "sending message body", w);
	return RC_EOF;
}

static enum rc final_replies(struct transaction *t, struct why *w)
{
	struct delivery *dl = t->dl;
	bool each = settings.lmtp, have = false;
	for (size_t i = 0; i < dl->rcpts; i++) {
		struct rcpt *r = &dl->rcpt[i];
		if (!r->accepted || r->done)
			continue;
		if (each || !have) {
			enum rc rc =
			    session_reply(t->s, settings.data_done_s,
					  "sending end of data -- message may be sent more than once", w);
			if (rc != RC_OK)
				return rc;
			have = true;
		}
		if (t->s->reply.code / 100 == 2)
			rcpt_sent(t, r);
		else
			rcpt_fail(t, r, "end of DATA command");
	}
	t->s->dirty = false;
	return RC_OK;
}

static enum rc content(struct transaction *t, struct why *w)
{
	enum rc rc = RC_OK;
	if (!t->data_sent) {
		session_puts(t->s, "DATA");
		rc = read_data(t, w);
	}
	if (rc != RC_OK || !t->data_ok || probe(t->dl))
		return rc;
	if ((rc = send_content(t, w)) != RC_OK)
		return rc;
	if (t->s->pix & PIX_DELAY_DOT) /* all of the content has left; the dot comes in a packet of its own */
		task_sleep_ms(settings.pix_delay_s * 1000);
	stream_puts(t->s->io, ".\r\n");
	t->dot_sent = true;
	return final_replies(t, w);
}

/* ---- before it ---- */

static enum rc reset(struct session *s, struct why *w)
{
	session_puts(s, "RSET");
	enum rc rc = session_reply(s, settings.rset_s, "sending RSET command", w);
	if (rc == RC_OK && s->reply.code / 100 != 2) {
		session_why(s, RC_SYNTAX, "sending RSET command", w);
		rc = RC_SYNTAX;
	}
	s->dirty = false;
	return rc;
}

static void put_attribute(struct transaction *t, struct buf *b, unsigned feature, const char *name,
			  struct span value)
{
	if (!(t->s->ehlo.features & feature))
		return;
	if (value.n == 0)
		(void)buf_printf(b, " %s=[UNAVAILABLE]", name);
	else
		(void)buf_printf(b, " %s=" SPAN_FMT, name, SPAN_ARG(xtext(t->dl->a, value)));
}

/* Where the message came from, for a filter that is part of the same system (XFORWARD_README). */
static enum rc xforward(struct transaction *t, struct why *w)
{
	const struct envelope *env = &t->dl->env;
	struct buf line[2];
	struct inet_addr addr;
	enum rc rc = RC_OK;
	struct span ip = env->client_addr;
	if (ip.n > 0 && inet_addr_parse(ip, &addr) == RC_OK && addr.family == AF_INET6)
		ip = span_printf(t->dl->a, "IPv6:" SPAN_FMT, SPAN_ARG(env->client_addr));
	buf_init(&line[0], 4096);
	buf_init(&line[1], 4096);
	put_attribute(t, &line[0], FEAT_XFORWARD_NAME, "NAME", env->client_name);
	put_attribute(t, &line[0], FEAT_XFORWARD_ADDR, "ADDR", ip);
	put_attribute(t, &line[0], FEAT_XFORWARD_PORT, "PORT", env->client_port);
	put_attribute(t, &line[1], FEAT_XFORWARD_PROTO, "PROTO", env->protocol);
	put_attribute(t, &line[1], FEAT_XFORWARD_HELO, "HELO", env->helo);
	put_attribute(t, &line[1], FEAT_XFORWARD_IDENT, "IDENT", env->ident.n > 0 ? env->ident : env->qid);
	put_attribute(t, &line[1], FEAT_XFORWARD_SOURCE, "SOURCE",
		      env->client_name.n > 0 ? SPAN("REMOTE") : SPAN("LOCAL"));
	for (int i = 0; i < 2 && rc == RC_OK; i++) {
		if (line[i].n == 0)
			continue;
		session_puts(t->s, "XFORWARD%s", buf_cstr(&line[i]));
		rc = session_reply(
		    t->s, settings.xforward_s,
		    i == 0 ? "sending XFORWARD name/address" : "sending XFORWARD protocol/helo_name", w);
		if (rc == RC_OK && t->s->reply.code / 100 != 2)
			log_warning("host %s said: " SPAN_FMT " (in reply to XFORWARD command)",
				    t->s->name_addr, SPAN_ARG(smtp_reply_text(&t->s->reply, t->dl->a)));
	}
	buf_release(&line[0]);
	buf_release(&line[1]);
	return rc;
}

static bool needs_utf8(const struct delivery *dl)
{
	bool ascii = span_is_ascii(dl->sender);
	for (size_t i = 0; i < dl->rcpts; i++)
		ascii = ascii && span_is_ascii(dl->rcpt[i].addr);
	return !ascii;
}

/* What this server can never take. */
static bool impossible(struct transaction *t, struct why *w)
{
	const struct session *s = t->s;
	uint64_t bytes = content_wire_bytes(t->dl->d, &t->dl->env);
	if ((s->ehlo.features & FEAT_SIZE) && s->ehlo.size_limit > 0 && bytes > s->ehlo.size_limit) {
		why_set(w, "5.3.4", "message size %llu exceeds size limit %llu of server %s",
			(unsigned long long)bytes, (unsigned long long)s->ehlo.size_limit, s->name_addr);
		return true;
	}
	if (!(s->ehlo.features & FEAT_SMTPUTF8) && needs_utf8(t->dl)) { /* RFC 6531 section 3.2 */
		why_set(w, "5.6.7", "SMTPUTF8 is required, but was not offered by host %s", s->name_addr);
		return true;
	}
	return false;
}

/* 8-bit content for a server that does not take it (RFC 6152 section 3), also when nobody declared it. */
static enum rc must_convert(const struct delivery *dl, bool *yes)
{
	struct content c;
	struct err e;
	*yes = false;
	if (settings.no_convert || (dl->s->ehlo.features & FEAT_8BITMIME) != 0)
		return RC_OK;
	*yes = dl->env.body == BODY_8BITMIME;
	if (*yes)
		return RC_OK;
	content_open(&c, dl->d, dl->env.qid);
	enum rc rc = content_is_8bit(&c, yes, &e);
	content_close(&c);
	if (rc != RC_OK)
		log_warning(SPAN_FMT ": %s", SPAN_ARG(dl->env.qid), e.text);
	return rc;
}

enum rc transfer(struct delivery *dl)
{
	struct transaction t = { .dl = dl, .s = dl->s };
	struct why w;
	enum rc rc = RC_OK;
	if ((rc = must_convert(dl, &t.seven)) != RC_OK) {
		why_set(&w, "4.3.0", "message content cannot be read");
		delivery_fail(dl, &w, SPAN(""));
		return RC_OK;
	}
	for (size_t i = 0; i < dl->rcpts; i++)
		dl->rcpt[i].accepted = false;
	if (impossible(&t, &w)) {
		delivery_fail(dl, &w, SPAN(""));
		return RC_OK;
	}
	if (dl->s->dirty)
		rc = reset(dl->s, &w);
	if (rc == RC_OK && settings.send_xforward)
		rc = xforward(&t, &w);
	if (rc == RC_OK)
		rc = envelope(&t, &w);
	if (rc == RC_OK && t.mail_failed)
		delivery_fail(dl, &t.mail_why, t.mail_diag);
	if (rc == RC_OK && (t.accepted == 0 || t.mail_failed))
		rc = empty_data(&t, &w);
	else if (rc == RC_OK && !ends_at_rcpt(dl))
		rc = content(&t, &w);
	if (rc == RC_OK) {
		if (dl->s->dirty &&
		    !dl->s->unusable) /* refused: the server forgets it now, not at the next mail */
			(void)!reset(dl->s, &w);
		return RC_OK;
	}
	dl->s->unusable = true;
	if (dl->open > 0 && dl->s->uses > 1 && !t.accepted && !t.data_ok && !t.mail_failed)
		return RC_AGAIN; /* a kept connection that had died meanwhile: the same host again, on a new
				    one */
	if (t.dot_sent) /* it may have arrived: not at once to the next host as well (RFC 5321 section 4.5.3.2.6) */
		dl->final = true;
	if (dl->open > 0)
		delivery_fail(dl, &w, SPAN(""));
	return rc;
}
