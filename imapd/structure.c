/* ENVELOPE, BODYSTRUCTURE and BODY as text (RFC 3501 7.4.2), made once per message and kept in the store's
 * cache. */
#include "session.h"
#include "mime/mime.h"

#define FORMAT		    "2" /* of the text in the cache */
#define ADDRESSES_MAX	    1000
#define ENVELOPE_HEADER_MAX 65536 /* of one field: more is not shown */

static struct span field(struct span header, const char *name, struct arena *a)
{
	struct header_field f;
	if (header_find(span_skip(header, header_mbox_line(header)), name, &f) != RC_OK)
		return SPAN_NONE;
	struct span v = header_unfold(a, span_head(f.body, ENVELOPE_HEADER_MAX));
	return v.p ? v : SPAN("");
}

/* `struct mailbox` is the one of mime/address.h in this file; the store's is only passed on by pointer. */
static void put_addresses(struct buf *b, struct span text, struct arena *a);

/* RFC 3501: Sender and Reply-To default to From. */
static void put_envelope(struct buf *b, struct span header, struct arena *a)
{
	static const char *const names[] = { "From", "Sender", "Reply-To", "To", "Cc", "Bcc" };
	struct span from = field(header, "From", a);
	buf_putc(b, '(');
	put_nstring(b, field(header, "Date", a));
	buf_putc(b, ' ');
	put_nstring(b, field(header, "Subject", a));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct span v = i ? field(header, names[i], a) : from;
		if ((i == 1 || i == 2) && !v.n)
			v = from;
		buf_putc(b, ' ');
		put_addresses(b, v, a);
	}
	buf_putc(b, ' ');
	put_nstring(b, field(header, "In-Reply-To", a));
	buf_putc(b, ' ');
	put_nstring(b, field(header, "Message-ID", a));
	buf_putc(b, ')');
}

/* Continuations are joined, as RFC 2231 section 6 asks; what is in another character set stays coded, since a client
 * could not tell which one raw bytes are in. */
static void put_param(struct buf *b, const struct mime_param *p)
{
	bool coded = p->extended.p != NULL;
	struct buf name;
	buf_init(&name, 65536);
	buf_append(&name, p->name);
	if (coded)
		buf_putc(&name, '*');
	put_string(b, buf_span(&name));
	buf_putc(b, ' ');
	put_string(b, coded ? p->extended : p->value);
	buf_release(&name);
}

static void put_params(struct buf *b, const struct mime_param *v, size_t n)
{
	if (!n) {
		buf_puts(b, "NIL");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		buf_puts(b, i ? " " : "(");
		put_param(b, &v[i]);
	}
	buf_putc(b, ')');
}

/* Text is in US-ASCII unless it says otherwise (RFC 2046 4.1.2); clients like to be told. */
static void put_type_params(struct buf *b, const struct mime_part *p)
{
	bool told = !span_is_ci(p->type, "text");
	for (size_t i = 0; i < p->params; i++)
		told = told || span_is_ci(p->param[i].name, "charset");
	if (told) {
		put_params(b, p->param, p->params);
		return;
	}
	buf_putc(b, '(');
	for (size_t i = 0; i < p->params; i++) {
		put_param(b, &p->param[i]);
		buf_putc(b, ' ');
	}
	buf_puts(b, "\"charset\" \"us-ascii\")");
}

static struct span or_nil(struct span s)
{
	return s.n ? s : SPAN_NONE;
}

static void put_disposition(struct buf *b, const struct mime_part *p)
{
	if (!p->disposition.n) {
		buf_puts(b, "NIL");
		return;
	}
	buf_putc(b, '(');
	put_string(b, p->disposition);
	buf_putc(b, ' ');
	put_params(b, p->disp_param, p->disp_params);
	buf_putc(b, ')');
}

/* body-fld-lang: a string or a list of them. */
static void put_language(struct buf *b, struct span s)
{
	struct span w;
	if (!s.n) {
		buf_puts(b, "NIL");
		return;
	}
	if (span_chr(s, ',') < 0) {
		put_string(b, s);
		return;
	}
	const char *sep = "(";
	while (span_next_word(&s, ", \t", &w)) {
		buf_puts(b, sep);
		put_string(b, w);
		sep = " ";
	}
	buf_puts(b, *sep == '(' ? "NIL" : ")");
}

static void put_part(struct buf *b, struct span message, const struct mime_part *p, bool extended,
		     struct arena *a);

static void put_multipart(struct buf *b, struct span message, const struct mime_part *p, bool extended,
			  struct arena *a)
{
	buf_putc(b, '(');
	if (!p->child) /* a multipart without parts: clients want one */
		buf_printf(b, "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0%s)",
			   extended ? " NIL NIL NIL NIL" : "");
	for (const struct mime_part *c = p->child; c; c = c->next)
		put_part(b, message, c, extended, a);
	buf_putc(b, ' ');
	put_string(b, p->subtype);
	if (extended) {
		buf_putc(b, ' ');
		put_params(b, p->param, p->params);
		buf_putc(b, ' ');
		put_disposition(b, p);
		buf_putc(b, ' ');
		put_language(b, p->language);
		buf_putc(b, ' ');
		put_nstring(b, or_nil(p->location));
	}
	buf_putc(b, ')');
}

static struct span header_of(struct span message, const struct mime_part *p)
{
	return span_head(span_skip(message, (size_t)p->header_off), (size_t)p->header_len);
}

static void put_leaf(struct buf *b, struct span message, const struct mime_part *p, bool extended,
		     struct arena *a)
{
	buf_putc(b, '(');
	put_string(b, p->type);
	buf_putc(b, ' ');
	put_string(b, p->subtype);
	buf_putc(b, ' ');
	put_type_params(b, p);
	buf_putc(b, ' ');
	put_nstring(b, or_nil(p->id));
	buf_putc(b, ' ');
	put_nstring(b, or_nil(p->description));
	buf_putc(b, ' ');
	put_string(b, p->encoding);
	buf_printf(b, " %llu", (unsigned long long)p->crlf_body_len);
	if (p->child) { /* message/rfc822 */
		buf_putc(b, ' ');
		put_envelope(b, header_of(message, p->child), a);
		buf_putc(b, ' ');
		put_part(b, message, p->child, extended, a);
		buf_printf(b, " %u", p->body_lines);
	} else if (span_is_ci(p->type, "text")) {
		buf_printf(b, " %u", p->body_lines);
	}
	if (extended) {
		buf_putc(b, ' ');
		put_nstring(b, or_nil(p->md5));
		buf_putc(b, ' ');
		put_disposition(b, p);
		buf_putc(b, ' ');
		put_language(b, p->language);
		buf_putc(b, ' ');
		put_nstring(b, or_nil(p->location));
	}
	buf_putc(b, ')');
}

/* Depth is MIME_DEPTH_MAX at most: mime_parse() sees to it. */
static void put_part(struct buf *b, struct span message, const struct mime_part *p, bool extended,
		     struct arena *a)
{
	if (span_is_ci(p->type, "multipart"))
		put_multipart(b, message, p, extended, a);
	else
		put_leaf(b, message, p, extended, a);
}

static void put_address(struct buf *b, const struct mailbox *m)
{
	buf_putc(b, '(');
	if (m->group_start || m->group_end) {
		buf_puts(b, "NIL NIL ");
		put_nstring(b, m->group_start ? (m->display.p ? m->display : SPAN("")) : SPAN_NONE);
		buf_puts(b, " NIL)");
		return;
	}
	put_nstring(b, or_nil(m->display.n ? m->display : m->comment));
	buf_putc(b, ' ');
	put_nstring(b, or_nil(m->route));
	buf_putc(b, ' ');
	put_nstring(b, m->local.p ? m->local : SPAN(""));
	buf_putc(b, ' ');
	/* Without a domain a group would be meant: Dovecot's word for it is kept. */
	put_nstring(b, m->domain.n ? m->domain : SPAN("MISSING_DOMAIN"));
	buf_putc(b, ')');
}

static void put_addresses(struct buf *b, struct span text, struct arena *a)
{
	struct mailbox *v;
	size_t n = 0;
	if (text.n)
		address_list_parse(text, a, ADDRESSES_MAX, &v, &n);
	if (!n) {
		buf_puts(b, "NIL");
		return;
	}
	buf_putc(b, '(');
	for (size_t i = 0; i < n; i++)
		put_address(b, &v[i]);
	buf_putc(b, ')');
}

void structure_make(struct span message, struct arena *a, struct structure *out)
{
	struct buf b;
	struct mime_part *root = mime_parse(message, a);
	buf_init(&b, 16u << 20);
	put_envelope(&b, header_of(message, root), a);
	size_t envelope = b.n;
	put_part(&b, message, root, true, a);
	size_t full = b.n;
	put_part(&b, message, root, false, a);
	struct span all = span_dup(a, buf_span(&b));
	out->envelope = span_head(all, envelope);
	out->bodystructure = span_head(span_skip(all, envelope), full - envelope);
	out->body = span_skip(all, full);
	buf_release(&b);
}

void structure_encode(const struct structure *st, struct buf *out)
{
	buf_printf(out, FORMAT " %zu %zu %zu\n", st->envelope.n, st->bodystructure.n, st->body.n);
	buf_append(out, st->envelope);
	buf_append(out, st->bodystructure);
	buf_append(out, st->body);
}

bool structure_decode(struct span blob, struct structure *out)
{
	struct span head, w[4];
	uint64_t n[3];
	if (!span_next(&blob, '\n', &head))
		return false;
	for (int i = 0; i < 4; i++)
		if (!span_next(&head, ' ', &w[i]))
			return false;
	if (!span_is(w[0], FORMAT))
		return false;
	for (int i = 0; i < 3; i++)
		if (span_to_u64(w[i + 1], 1 << 20, &n[i]) != RC_OK)
			return false;
	if (n[0] + n[1] + n[2] != blob.n)
		return false;
	out->envelope = span_head(blob, n[0]);
	out->bodystructure = span_head(span_skip(blob, n[0]), n[1]);
	out->body = span_skip(blob, n[0] + n[1]);
	return true;
}
