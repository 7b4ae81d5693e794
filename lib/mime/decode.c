/* mime/decode.c - RFC 2047 encoded words to UTF-8. */
#include "base/buf.h"
#include "base/codec.h"
#include "mime/header.h"
#include <iconv.h>

#define DECODED_MAX (64 * 1024)
#define CHARSET_MAX 64

struct word {
	struct span charset, text;
	char encoding; /* 'B' or 'Q' */
	size_t length; /* of the whole "=?...?=" */
};

/* "=?charset*lang?B?text?=" at the start of s. */
static bool take_word(struct span s, struct word *w)
{
	struct span rest;
	ptrdiff_t q;

	if (!span_starts(s, SPAN("=?")))
		return false;
	rest = span_skip(s, 2);
	if ((q = span_chr(rest, '?')) <= 0 || q > CHARSET_MAX)
		return false;
	w->charset = span_head(rest, (size_t)q);
	if (span_chr(w->charset, '*') > 0)
		w->charset.n = (size_t)span_chr(w->charset, '*'); /* RFC 2231 section 5 language */
	rest = span_skip(rest, (size_t)q + 1);
	if (rest.n < 3 || rest.p[1] != '?')
		return false;
	w->encoding = ascii_upper(rest.p[0]);
	rest = span_skip(rest, 2);
	q = span_chr(rest, '?'); /* encoded-text holds none, so no text is looked through twice */
	if (q < 0 || (size_t)q + 1 >= rest.n || rest.p[q + 1] != '=' ||
	    (w->encoding != 'B' && w->encoding != 'Q'))
		return false;
	w->text = span_head(rest, (size_t)q);
	w->length = (size_t)(rest.p + q + 2 - s.p);
	return true;
}

static int hex_value(char c)
{
	return ascii_isdigit(c)	      ? c - '0'
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

static void decode_q(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '=' && i + 2 < s.n && hex_value(s.p[i + 1]) >= 0 &&
		    hex_value(s.p[i + 2]) >= 0) {
			(void)buf_putc(out, (char)(hex_value(s.p[i + 1]) * 16 + hex_value(s.p[i + 2])));
			i += 2;
		} else {
			(void)buf_putc(out, s.p[i] == '_' ? ' ' : s.p[i]);
		}
	}
}

/* Names of character sets, RFC 2978 2.3; "//" would be an instruction to iconv. */
static bool is_charset_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && (!s.p[i] || !strchr("-_.:+()", s.p[i])))
			return false;
	return s.n > 0;
}

bool charset_to_utf8(struct buf *out, struct span charset, struct span bytes)
{
	char name[CHARSET_MAX + 1], *in = bytes.n ? (char *)(uintptr_t)bytes.p : name;
	size_t left = bytes.n, n = out->n;
	iconv_t cd;
	bool ok = true;

	if (span_is_ci(charset, "utf-8") || span_is_ci(charset, "us-ascii"))
		return utf8_valid(bytes) && buf_append(out, bytes) == RC_OK;
	if (!is_charset_name(charset) || span_cstr(charset, name, sizeof(name)) != RC_OK ||
	    (cd = iconv_open("UTF-8", name)) == (iconv_t)-1)
		return false;
	while (ok && left > 0) {
		char *to = buf_reserve(out, 256);
		size_t room = 256, before = left;

		if (!to)
			break;
		(void)iconv(cd, &in, &left, &to, &room);
		out->n += 256 - room;
		ok = left < before || room < 256; /* no progress: not of this character set */
	}
	iconv_close(cd);
	if (!ok)
		out->n = n;
	return ok;
}

static bool put_word(struct buf *out, const struct word *w)
{
	struct buf raw;
	bool ok = true;

	buf_init(&raw, w->text.n + 1);
	if (w->encoding == 'B')
		ok = base64_decode(&raw, w->text) == RC_OK;
	else
		decode_q(&raw, w->text);
	ok = ok && charset_to_utf8(out, w->charset, buf_span(&raw));
	buf_release(&raw);
	return ok;
}

struct span header_decode(struct arena *a, struct span s)
{
	struct span result;
	struct buf out;
	bool after_word = false;

	if (span_find(s, SPAN("=?")) < 0)
		return s;
	buf_init(&out, DECODED_MAX);
	while (s.n && buf_ok(&out)) {
		size_t blank = 0;
		struct word w;

		while (blank < s.n && (s.p[blank] == ' ' || s.p[blank] == '\t'))
			blank++;
		if (take_word(span_skip(s, blank), &w)) {
			size_t before = out.n;

			if (!after_word) /* white space between two encoded words is not shown: RFC 2047 6.2
					  */
				(void)buf_append(&out, span_head(s, blank));
			if (put_word(&out, &w)) {
				s = span_skip(s, blank + w.length);
				after_word = true;
				continue;
			}
			out.n = before;
		}
		blank = blank ? blank : 1;
		while (blank < s.n && s.p[blank] != ' ' && s.p[blank] != '\t' &&
		       !span_starts(span_skip(s, blank), SPAN("=?")))
			blank++;
		(void)buf_append(&out, span_head(s, blank));
		s = span_skip(s, blank);
		after_word = false;
	}
	result = span_dup(a, buf_span(&out));
	buf_release(&out);
	return result;
}
