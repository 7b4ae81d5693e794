/* bounce/dsn.c - writing the report. Part 1 for people, part 2 for programs (RFC 3464), part 3 the message or
 * its header. */
#include "dsn.h"
#include "base/clock.h"
#include "base/codec.h"
#include "log/log.h"
#include "mime/header.h"

static const char *const actions[] = {
	[BK_FAILURE] = "failed",
	[BK_DELAY] = "delayed",
	[BK_SUCCESS] = "delivered",
	[BK_TRACE] = "delivered",
};

/* Text of a peer on lines of its own field: control characters out, long lines folded, so that it can neither
 * end the field nor the part. */
static void put_text(struct buf *b, struct span text, size_t col)
{
	bool clean = utf8_valid(text);

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (col > 72 && c == ' ') {
			(void)buf_puts(b, "\n   "); /* and the blank itself */
			col = 3;
		}
		(void)buf_putc(b, c < 0x20 || c == 0x7f ? ' ' : c >= 0x80 && !clean ? '?' : (char)c);
		col++;
		if (col > 900) { /* RFC 5322 2.1.1: no line beyond 998 */
			(void)buf_puts(b, "\n    ");
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
	case DS_PASSED:
		return "relayed";
	case DS_EXPANDED:
		return "expanded";
	case DS_SENT:
		return "delivered";
	case DS_DEFERRED:
		return d->kind == BK_FAILURE ? "failed" : "delayed";
	default:
		return actions[d->kind];
	}
}

/* The text of the template. The report is UTF-8 when the message was, whatever the template says: its
 * addresses are. */
static void put_for_people(const struct conf *c, const struct dsn *d, struct buf *b)
{
	bool utf8 = d->env->flags & ENVF_SMTPUTF8;
	struct span text;
	struct arena a;
	struct err e;

	arena_init(&a);
	if (bounce_template_body(c, d->text, &a, &text, &e) != RC_OK) {
		log_warning("%s: %s", d->text->name, e.text);
		text = d->text->body;
	}
	(void)buf_puts(b, "Content-Description: Notification\nContent-Type: text/plain; charset=");
	put_text(b, utf8 ? SPAN("utf-8") : d->text->charset, 50);
	(void)buf_printf(b, "\n%s\n",
			 utf8 || !span_is_ascii(text) ? "Content-Transfer-Encoding: 8bit\n" : "");
	if (!d->copy) /* it speaks to the sender */
		(void)buf_append(b, text);
	(void)buf_putc(b, '\n');
	for (size_t i = 0; i < d->rcpts; i++) {
		const struct bounce_rcpt *r = &d->rcpt[i];

		(void)buf_putc(b, '<');
		put_text(b, r->addr, 1);
		if (r->orig.n && !span_eq_ci(r->orig, r->addr)) {
			(void)buf_puts(b, "> (expanded from <");
			put_text(b, r->orig, 20 + r->addr.n);
			(void)buf_puts(b, ">)");
		} else {
			(void)buf_putc(b, '>');
		}
		(void)buf_puts(b, ": ");
		put_text(b, r->reason, 3 + r->addr.n);
		(void)buf_puts(b, "\n\n");
	}
	arena_release(&a);
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

/* RFC 3461 4.2: as it was given with RCPT; else the address that came with it. */
static void put_original_recipient(const struct dsn *d, const struct bounce_rcpt *r, struct buf *b)
{
	struct span orig = r->orig.n ? r->orig : r->addr;
	bool utf8 = d->env->flags & ENVF_SMTPUTF8 && !span_is_ascii(orig);

	(void)buf_printf(b, "Original-Recipient: %s", r->orcpt.n ? "" : utf8 ? "utf-8;" : "rfc822;");
	put_text(b, r->orcpt.n ? r->orcpt : orig, 28);
	(void)buf_putc(b, '\n');
}

/* RFC 3464 2.3: one group per recipient. */
static void put_recipient(const struct conf *c, const struct dsn *d, const struct bounce_rcpt *r,
			  struct buf *b)
{
	const char *type = d->env->flags & ENVF_SMTPUTF8 && !span_is_ascii(r->addr) ? "utf-8" : "rfc822";
	struct span status = r->dsn;

	(void)buf_putc(b, '\n');
	put_field(b, "Final-Recipient", type, r->addr);
	put_original_recipient(d, r, b);
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
	} else if (r->reason.n) {
		(void)buf_printf(b, "Diagnostic-Code: X-%s; ", conf_str(c, "mail_name"));
		put_text(b, r->reason, 27);
		(void)buf_putc(b, '\n');
	}
	if (d->kind == BK_DELAY)
		put_date_field(b, "Will-Retry-Until", d->retry_until_us);
}

static void put_original(const struct dsn *d, struct buf *b, bool utf8)
{
	const char *what = d->kind == BK_FAILURE ? "Undelivered " : "";
	size_t head = header_length(d->content);
	bool whole = !d->headers_only && !d->cut;
	struct span part = whole ? d->content : span_head(d->content, head);

	(void)buf_printf(b, "Content-Description: %s%s\nContent-Type: %s\n", what,
			 whole ? "Message" : "Message Headers",
			 whole ? (utf8 ? "message/global" : "message/rfc822")
			       : (utf8 ? "message/global-headers" : "text/rfc822-headers"));
	if (!span_is_ascii(part))
		(void)buf_puts(b, "Content-Transfer-Encoding: 8bit\n");
	(void)buf_puts(b, "\nReturn-Path: <");
	put_text(b, d->env->sender, 14);
	(void)buf_puts(b, ">\n");
	(void)buf_append(b, part);
	if (part.n == 0 || part.p[part.n - 1] != '\n')
		(void)buf_putc(b, '\n');
}

/* "MAILER-DAEMON (Mail Delivery System)" or "Name <address>": its address gets our domain, unless it has one, or
 * header_from_format asks for the other of these forms. */
static void put_from(const struct conf *c, struct span from, struct buf *b)
{
	ptrdiff_t paren = span_chr(from, '('), angle = span_chr(from, '<');
	struct span addr = from, name = SPAN_NONE;

	if (angle >= 0) {
		addr = span_skip(from, (size_t)angle + 1);
		addr = span_trim(span_head(addr, addr.n - (span_ends_ci(addr, SPAN(">")) ? 1 : 0)));
		name = span_trim(span_head(from, (size_t)angle));
	} else if (paren >= 0) {
		addr = span_trim(span_head(from, (size_t)paren));
		name = span_skip(from, (size_t)paren + 1);
		name = span_head(name, name.n - (span_ends_ci(name, SPAN(")")) ? 1 : 0));
	}
	if (strcmp(conf_str(c, "header_from_format"), "obsolete") == 0) {
		put_text(b, addr, 6);
		if (span_chr(addr, '@') < 0)
			(void)buf_printf(b, "@%s", conf_str(c, "myorigin"));
		if (name.n)
			(void)buf_printf(b, " (" SPAN_FMT ")", SPAN_ARG(name));
		return;
	}
	put_text(b, name, 6);
	(void)buf_puts(b, name.n ? " <" : "<");
	put_text(b, addr, 8 + name.n);
	if (span_chr(addr, '@') < 0)
		(void)buf_printf(b, "@%s", conf_str(c, "myorigin"));
	(void)buf_putc(b, '>');
}

static void put_header(const struct conf *c, const struct dsn *d, struct buf *b, const char *boundary)
{
	const char *host = conf_str(c, "myhostname");
	char date[DATE_MAX];

	wall_rfc5322((wall_t){ d->now_us }, date);
	(void)buf_printf(b, "Received: by %s (%s)\n\tid " SPAN_FMT "; %s\n", host, conf_str(c, "mail_name"),
			 SPAN_ARG(d->qid), date);
	(void)buf_printf(b, "Date: %s\nFrom: ", date);
	put_from(c, d->text->from, b);
	(void)buf_puts(b, "\nSubject: ");
	put_text(b, d->copy && d->text->postmaster_subject.n ? d->text->postmaster_subject : d->text->subject,
		 9);
	(void)buf_puts(b, "\nTo: ");
	put_text(b, d->to, 4);
	if (d->env->message_id.n && conf_bool(c, "enable_threaded_bounces")) {
		(void)buf_puts(b, "\nReferences: ");
		put_text(b, d->env->message_id, 12);
		(void)buf_puts(b, "\nIn-Reply-To: ");
		put_text(b, d->env->message_id, 13);
	}
	(void)buf_printf(b, "\nAuto-Submitted: %s\nMIME-Version: 1.0\n", /* RFC 3834 */
			 d->copy ? "auto-generated" : "auto-replied");
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
		put_recipient(c, d, &d->rcpt[i], b);
	(void)buf_printf(b, "\n--%s\n", boundary);
	put_original(d, b, utf8);
	(void)buf_printf(b, "\n--%s--\n", boundary);
	return buf_ok(b) ? RC_OK : RC_LIMIT;
}
