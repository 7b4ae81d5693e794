/* Decoding of bodies for SEARCH. At most as much memory as three times the message. */
#include "bodytext.h"
#include "base/buf.h"
#include "mime/mime.h"
#include <errno.h>
#include <iconv.h>

/* Two-byte letters whose small form is another two-byte letter. `c` is the code point. */
static unsigned fold_point(unsigned c)
{
	if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
		return c + 32;
	if (c >= 0x400 && c <= 0x40f)
		return c + 80;
	if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14a && c <= 0x177))
		return c | 1;
	if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
		return c & 1 ? c + 1 : c;
	if (c == 0x178)
		return 0xff;
	if (c == 0x3c2) /* final sigma */
		return 0x3c3;
	return c;
}

struct span text_fold(struct arena *a, struct span s)
{
	char *out = arena_alloc(a, s.n + 1);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		out[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : (char)c;
		if (c >= 0xc3 && c <= 0xd1 && i + 1 < s.n && ((unsigned char)s.p[i + 1] & 0xc0) == 0x80) {
			unsigned p = fold_point((c & 0x1fu) << 6 | ((unsigned char)s.p[i + 1] & 0x3fu));
			out[i] = (char)(0xc0 | p >> 6);
			out[++i] = (char)(0x80 | (p & 0x3f));
		}
	}
	return span_make(out, s.n);
}

static int hex(char c)
{
	c = ascii_lower(c);
	return ascii_isdigit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 2045 6.7; soft line ends go, what is malformed stays. */
static struct span undo_qp(struct span s, struct arena *a)
{
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '=') {
			out[n++] = s.p[i];
			continue;
		}
		size_t k = i + 1;
		while (k < s.n && (s.p[k] == ' ' || s.p[k] == '\t' || s.p[k] == '\r'))
			k++;
		if (k < s.n && s.p[k] == '\n') {
			i = k;
		} else if (i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			out[n++] = (char)((unsigned)hex(s.p[i + 1]) << 4 | (unsigned)hex(s.p[i + 2]));
			i += 2;
		} else {
			out[n++] = '=';
		}
	}
	return span_make(out, n);
}

/* Lenient: whatever is not of the alphabet is skipped (RFC 2045 6.8). */
static struct span undo_base64(struct span s, struct arena *a)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static signed char value[256];
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;
	uint32_t acc = 0;
	unsigned bits = 0;
	if (!value['B']) {
		memset(value, -1, sizeof(value));
		for (int i = 0; i < 64; i++)
			value[(unsigned char)alphabet[i]] = (signed char)i;
	}
	for (size_t i = 0; i < s.n && s.p[i] != '='; i++) {
		signed char v = value[(unsigned char)s.p[i]];
		if (v < 0)
			continue;
		acc = acc << 6 | (unsigned char)v;
		bits += 6;
		if (bits >= 8)
			out[n++] = (char)(acc >> (bits -= 8));
	}
	return span_make(out, n);
}

static struct span to_utf8(struct span s, struct span charset, struct arena *a)
{
	char name[64];
	if (!charset.n || span_is_ci(charset, "utf-8") || span_is_ci(charset, "us-ascii") ||
	    span_cstr(charset, name, sizeof(name)) != RC_OK)
		return s;
	iconv_t cd = iconv_open("UTF-8", name);
	if (cd == (iconv_t)-1)
		return s;
	size_t cap = s.n * 3 + 16;
	char *out = arena_alloc(a, cap), *op = out, *in = arena_cstr(a, s);
	size_t left = s.n, room = cap;
	while (left && iconv(cd, &in, &left, &op, &room) == (size_t)-1 && errno != E2BIG && left) {
		in++; /* one byte that is no character */
		left--;
	}
	iconv_close(cd);
	return span_make(out, (size_t)(op - out));
}

static void add_part(struct buf *b, struct span message, const struct mime_part *p, struct arena *a)
{
	for (; p; p = p->next) {
		if (p->child) {
			if (!span_is_ci(p->type,
					"multipart")) { /* the header of an embedded message is text, too */
				struct span h = span_head(span_skip(message, (size_t)p->child->header_off),
							  (size_t)p->child->header_len);
				buf_append(b, header_decode(a, header_unfold(a, h)));
				buf_putc(b, '\n');
			}
			add_part(b, message, p->child, a); /* depth: MIME_DEPTH_MAX */
			continue;
		}
		if (!span_is_ci(p->type, "text") && !span_is_ci(p->type, "message"))
			continue;
		struct span s = span_head(span_skip(message, (size_t)p->body_off), (size_t)p->body_len),
			    charset = SPAN_NONE;
		if (span_is_ci(p->encoding, "quoted-printable"))
			s = undo_qp(s, a);
		else if (span_is_ci(p->encoding, "base64"))
			s = undo_base64(s, a);
		for (size_t i = 0; i < p->params; i++)
			if (span_is_ci(p->param[i].name, "charset"))
				charset = p->param[i].value;
		buf_append(b, to_utf8(s, charset, a));
		buf_putc(b, '\n');
	}
}

struct span body_text(struct span message, struct arena *a)
{
	struct buf b;
	buf_init(&b, SIZE_MAX / 2);
	add_part(&b, message, mime_parse(message, a), a);
	struct span s = text_fold(a, buf_span(&b));
	buf_release(&b);
	return s;
}
