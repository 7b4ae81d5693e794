/* bounce/dsn.c - writing the report. Part 1 for people, part 2 for programs (RFC 3464), part 3 the message or
 * its header. */
#include "dsn.h"
#include "base/clock.h"
#include "base/codec.h"
#include "mime/header.h"

struct kind_text {
	const char *subject, *opening, *action;
};
static const struct kind_text kinds[] = {
	[BK_FAILURE] = { "Undelivered Mail Returned to Sender",
			 "Your message could not be delivered to everybody it was addressed to. It is\n"
			 "returned below, and nothing more will be done about the addresses named here.\n",
			 "failed" },
	[BK_DELAY] = { "Delayed Mail (still being retried)",
		       "This is only a notice: you need not send your message again. It could not be\n"
		       "delivered yet to the addresses named here; delivery goes on being tried.\n",
		       "delayed" },
	[BK_SUCCESS] = { "Successful Mail Delivery Report",
			 "Your message was delivered, or passed to a system that sends no such reports,\n"
			 "for the addresses named here.\n",
			 "delivered" },
	[BK_TRACE] = { "Mail Delivery Status Report",
		       "This is the report on your message that you asked for.\n", "delivered" },
};

const char *dsn_subject(enum bounce_kind kind)
{
	return kinds[kind].subject;
}

/* Text of a peer on lines of its own field: control characters out, long lines folded, so that it can neither
 * end the field nor the part. */
static void put_text(struct buf *b, struct span text, size_t col)
{
	bool clean = utf8_valid(text);

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (col > 72 && c == ' ') {
			(void)buf_puts(b, "\n   ");
			col = 4;
		}
		(void)buf_putc(b, c < 0x20 || c == 0x7f ? ' ' : c >= 0x80 && !clean ? '?' : (char)c);
		col++;
		if (col > 900) { /* RFC 5322 2.1.1: no line beyond 998 */
			(void)buf_puts(b, "\n   ");
			col = 4;
		}
	}
}

static void put_field(struct buf *b, const char *name, const char *type, struct span value)
{
	(void)buf_printf(b, "%s: %s%s", name, type, *type ? "; " : "");
	put_text(b, value, strlen(name) + strlen(type) + 4);
	(void)buf_putc(b, '\n');
}

static void put_date_field(struct buf *b, const char *name, int64_t us)
{
	char date[DATE_MAX];

	wall_rfc5322((wall_t){ us }, date);
	(void)buf_printf(b, "%s: %s\n", name, date);
}

static const char *action_of(const struct dsn *d, const struct bounce_rcpt *r)
{
	switch (r->status) {
	case DS_BOUNCED:
		return "failed";
	case DS_RELAYED:
		return "relayed";
	case DS_EXPANDED:
		return "expanded";
	case DS_SENT:
		return "delivered";
	case DS_DEFERRED:
		return d->kind == BK_FAILURE ? "failed" : "delayed";
	default:
		return kinds[d->kind].action;
	}
}

static void put_for_people(const struct conf *c, const struct dsn *d, struct buf *b)
{
	(void)buf_printf(b, "Content-Description: Notification\nContent-Type: text/plain; charset=%s\n%s\n",
			 d->env->flags & ENVF_SMTPUTF8 ? "utf-8" : "us-ascii",
			 d->env->flags & ENVF_SMTPUTF8 ? "Content-Transfer-Encoding: 8bit\n" : "");
	(void)buf_printf(b, "The mail system at host %s reports:\n\n%s\n", conf_str(c, "myhostname"),
			 kinds[d->kind].opening);
	for (size_t i = 0; i < d->rcpts; i++) {
		const struct bounce_rcpt *r = &d->rcpt[i];

		(void)buf_putc(b, '<');
		put_text(b, r->orig.n ? r->orig : r->addr, 1);
		(void)buf_puts(b, ">: ");
		put_text(b, r->reason, 3 + r->addr.n);
		(void)buf_puts(b, "\n\n");
	}
	if (d->kind == BK_DELAY)
		put_date_field(b, "Delivery is given up after", d->retry_until_us);
}

static void put_message_fields(const struct conf *c, const struct dsn *d, struct buf *b)
{
	const char *host = conf_str(c, "myhostname");

	put_field(b, "Reporting-MTA", "dns", span_str(host));
	if (d->env->envid.n) {
		(void)buf_puts(b, "Original-Envelope-Id: ");
		put_text(b, d->env->envid, 23);
		(void)buf_putc(b, '\n');
	}
	(void)buf_printf(b, "X-%s-Queue-ID: " SPAN_FMT "\n", conf_str(c, "mail_name"), SPAN_ARG(d->env->qid));
	(void)buf_printf(b, "X-%s-Sender: %s; ", conf_str(c, "mail_name"),
			 d->env->flags & ENVF_SMTPUTF8 ? "utf-8" : "rfc822");
	put_text(b, d->env->sender, 25);
	(void)buf_putc(b, '\n');
	put_date_field(b, "Arrival-Date", d->env->arrival_us);
}

/* RFC 3464 2.3: one group per recipient. */
static void put_recipient(const struct dsn *d, const struct bounce_rcpt *r, struct buf *b)
{
	const char *type = d->env->flags & ENVF_SMTPUTF8 && !span_is_ascii(r->addr) ? "utf-8" : "rfc822";
	struct span status = r->dsn;

	(void)buf_putc(b, '\n');
	put_field(b, "Final-Recipient", type, r->addr);
	if (r->orcpt.n) {
		ptrdiff_t semi = span_chr(r->orcpt, ';');

		(void)buf_puts(b, "Original-Recipient: ");
		if (semi > 0) {
			put_text(b, span_head(r->orcpt, (size_t)semi), 20);
			(void)buf_puts(b, "; ");
			put_text(b, span_skip(r->orcpt, (size_t)semi + 1), 28);
		} else {
			put_text(b, r->orcpt, 20);
		}
		(void)buf_putc(b, '\n');
	}
	(void)buf_printf(b, "Action: %s\n", action_of(d, r));
	(void)buf_puts(b, "Status: ");
	put_text(b, status.n ? status : SPAN("4.0.0"), 8);
	(void)buf_putc(b, '\n');
	if (r->remote_mta.n)
		put_field(b, "Remote-MTA", "dns", r->remote_mta);
	if (r->diag_text.n && r->diag_type.n) {
		(void)buf_printf(b, "Diagnostic-Code: " SPAN_FMT "; ", SPAN_ARG(r->diag_type));
		put_text(b, r->diag_text, 24);
		(void)buf_putc(b, '\n');
	} else if (r->reason.n && r->status != DS_SENT) {
		(void)buf_puts(b, "Diagnostic-Code: X-Postern; ");
		put_text(b, r->reason, 27);
		(void)buf_putc(b, '\n');
	}
	if (d->kind == BK_DELAY)
		put_date_field(b, "Will-Retry-Until", d->retry_until_us);
}

static void put_original(const struct dsn *d, struct buf *b, bool utf8)
{
	size_t head = header_length(d->content);
	bool whole = !d->headers_only && !d->cut;
	struct span part = whole ? d->content : span_head(d->content, head);

	(void)buf_printf(b, "Content-Description: %s\nContent-Type: %s\n",
			 whole ? "Undelivered Message" : "Undelivered Message Headers",
			 whole ? (utf8 ? "message/global" : "message/rfc822")
			       : (utf8 ? "message/global-headers" : "text/rfc822-headers"));
	if (!span_is_ascii(part))
		(void)buf_puts(b, "Content-Transfer-Encoding: 8bit\n");
	(void)buf_putc(b, '\n');
	(void)buf_append(b, part);
	if (part.n == 0 || part.p[part.n - 1] != '\n')
		(void)buf_putc(b, '\n');
}

static void put_header(const struct conf *c, const struct dsn *d, struct buf *b, const char *boundary)
{
	const char *host = conf_str(c, "myhostname");
	char date[DATE_MAX];

	wall_rfc5322((wall_t){ d->now_us }, date);
	(void)buf_printf(b, "Received: by %s (%s)\n\tid " SPAN_FMT "; %s\n", host, conf_str(c, "mail_name"),
			 SPAN_ARG(d->qid), date);
	(void)buf_printf(b, "Date: %s\nFrom: MAILER-DAEMON@%s (Mail Delivery System)\n", date,
			 conf_str(c, "myorigin"));
	(void)buf_printf(b, "Subject: %s\nTo: ", kinds[d->kind].subject);
	put_text(b, d->to, 4);
	(void)buf_puts(b, "\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"); /* RFC 3834 */
	(void)buf_printf(b, "Content-Type: multipart/report; report-type=%s;\n\tboundary=\"%s\"\n",
			 "delivery-status", boundary);
	if (!span_is_ascii(d->content) || (d->env->flags & ENVF_SMTPUTF8))
		(void)buf_puts(b, "Content-Transfer-Encoding: 8bit\n");
	(void)buf_printf(b, "Message-Id: <" SPAN_FMT "." SPAN_FMT "@%s>\n\n", SPAN_ARG(d->env->qid),
			 SPAN_ARG(d->qid), host);
	(void)buf_puts(b, "This is a MIME-encapsulated message.\n\n");
}

enum rc dsn_write(const struct conf *c, const struct dsn *d, struct buf *b)
{
	bool utf8 = d->env->flags & ENVF_SMTPUTF8;
	unsigned char salt[8];
	char boundary[160], hex[17];

	random_bytes(salt, sizeof(salt)); /* so that no message can hold the boundary of its own bounce */
	for (size_t i = 0; i < sizeof(salt); i++)
		snprintf(hex + 2 * i, 3, "%02X", salt[i]);
	snprintf(boundary, sizeof(boundary), SPAN_FMT ".%s/%.100s", SPAN_ARG(span_head(d->qid, 24)), hex,
		 conf_str(c, "myhostname"));
	put_header(c, d, b, boundary);
	(void)buf_printf(b, "--%s\n", boundary);
	put_for_people(c, d, b);
	(void)buf_printf(b, "\n--%s\nContent-Description: Delivery report\nContent-Type: message/%s\n\n",
			 boundary, utf8 ? "global-delivery-status" : "delivery-status");
	put_message_fields(c, d, b);
	for (size_t i = 0; i < d->rcpts; i++)
		put_recipient(d, &d->rcpt[i], b);
	(void)buf_printf(b, "\n--%s\n", boundary);
	put_original(d, b, utf8);
	(void)buf_printf(b, "\n--%s--\n", boundary);
	return buf_ok(b) ? RC_OK : RC_LIMIT;
}
