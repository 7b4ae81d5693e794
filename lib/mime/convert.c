/* mime/convert.c - an 8-bit message for a server that takes 7 bits only (RFC 6152 section 3): leaf parts with
 * 8-bit bytes become quoted-printable (RFC 2045 section 6.7), the encodings of what holds them become 7bit.
 * The rest stays byte for byte. */
#include "mime/convert.h"
#include "mime/header.h"
#include "mime/mime.h"

#define QP_LINE 76

struct edit {
	size_t off, len;  /* bytes of the message that go */
	struct span with; /* come instead; `quote`: nothing, but the bytes quoted-printable */
	bool quote;
};
struct edits {
	struct edit *v;
	size_t n, cap;
	struct arena *a;
	struct span message;
	bool declared; /* only what says so of itself */
};

static bool has_8bit(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 0x7f)
			return true;
	return false;
}

static void add(struct edits *x, size_t off, size_t len, struct span with, bool quote)
{
	if (x->n == x->cap)
		x->v = arena_grow(x->a, x->v, x->n, &x->cap, sizeof *x->v);
	x->v[x->n++] = (struct edit){ off, len, with, quote };
}

/* The field Content-Transfer-Encoding of a part becomes `value`; it is added when there is none. */
static void set_encoding(struct edits *x, const struct mime_part *p, struct span field)
{
	struct span header = span_make(x->message.p + p->header_off, (size_t)p->header_len);
	struct header_field f;
	if (header_find(header, "Content-Transfer-Encoding", &f) == RC_OK) {
		add(x, (size_t)(f.all.p - x->message.p), f.all.n, field, false);
		return;
	}
	add(x, (size_t)p->header_off, 0, field, false);
}

static enum rc edit_part(struct edits *x, const struct mime_part *p, struct err *e)
{
	struct span body = span_make(x->message.p + p->body_off, (size_t)p->body_len);
	bool wide = span_is_ci(p->encoding, "8bit") || span_is_ci(p->encoding, "binary");
	bool encoded = !wide && !span_is_ci(p->encoding, "7bit");
	enum rc rc = RC_OK;
	if (encoded)
		return RC_OK;
	if (p->child != NULL) {
		if (wide)
			set_encoding(x, p, SPAN("Content-Transfer-Encoding: 7bit\n"));
		for (const struct mime_part *c = p->child; rc == RC_OK && c != NULL; c = c->next)
			rc = edit_part(x, c, e);
		return rc;
	}
	if (!has_8bit(body) || (x->declared && !wide))
		return RC_OK;
	if (span_is_ci(p->type, "message") || span_is_ci(p->type, "multipart")) /* RFC 2045 section 6.4 */
		return err_set(e, RC_LIMIT, "8-bit content that cannot be converted");
	set_encoding(x, p, SPAN("Content-Transfer-Encoding: quoted-printable\n"));
	add(x, (size_t)p->body_off, body.n, SPAN_NONE, true);
	return RC_OK;
}

static void quote_line(struct buf *out, struct span line)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t column = 0;
	for (size_t i = 0; i < line.n; i++) {
		unsigned char c = (unsigned char)line.p[i];
		bool last = i + 1 == line.n;
		bool plain = (c > ' ' && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !last);
		if (column + (plain ? 1 : 3) > QP_LINE - (last ? 0 : 1)) {
			(void)buf_puts(out, "=\n");
			column = 0;
		}
		if (plain)
			(void)buf_putc(out, (char)c);
		else {
			(void)buf_putc(out, '=');
			(void)buf_putc(out, hex[c >> 4]);
			(void)buf_putc(out, hex[c & 15]);
		}
		column += plain ? 1 : 3;
	}
}

static void quote(struct buf *out, struct span body)
{
	while (body.n > 0) {
		ptrdiff_t lf = span_chr(body, '\n');
		struct span line = lf < 0 ? body : span_head(body, (size_t)lf);
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		quote_line(out, line);
		if (lf < 0)
			return;
		(void)buf_putc(out, '\n');
		body = span_skip(body, (size_t)lf + 1);
	}
}

enum rc convert_7bit(struct span message, bool declared, struct buf *out, struct err *e)
{
	struct arena a;
	size_t at = 0;
	arena_init(&a);
	struct edits x = { .a = &a, .message = message, .declared = declared };
	enum rc rc = edit_part(&x, mime_parse(message, &a), e);
	for (size_t i = 0; rc == RC_OK && i < x.n; i++) { /* in the order of the message: the walk is */
		if (x.v[i].off < at || x.v[i].off + x.v[i].len > message.n) {
			rc = err_set(e, RC_SYNTAX, "structure of the message is confused");
			break;
		}
		(void)buf_append(out, span_make(message.p + at, x.v[i].off - at));
		at = x.v[i].off + x.v[i].len;
		if (x.v[i].quote)
			quote(out, span_make(message.p + x.v[i].off, x.v[i].len));
		else
			(void)buf_append(out, x.v[i].with);
	}
	if (rc == RC_OK)
		(void)buf_append(out, span_skip(message, at));
	arena_release(&a);
	if (rc == RC_OK && !buf_ok(out))
		return err_set(e, RC_LIMIT, "message too large to convert");
	return rc;
}
