/* base/codec.c - small codings, checks and sums over bytes. */
#include "base/codec.h"

#include <errno.h>
#include <sys/random.h>

/* ---- base64, RFC 4648 section 4 ---- */
static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *out, struct span in)
{
	char *to = in.n <= PTRDIFF_MAX / 2 ? buf_reserve(out, (in.n + 2) / 3 * 4) : NULL;
	const unsigned char *p = (const unsigned char *)in.p;

	if (to == NULL)
		return;
	for (size_t i = 0; i < in.n; i += 3, to += 4) {
		size_t left = in.n - i;
		uint32_t v = (uint32_t)p[i] << 16;

		v |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
		v |= left > 2 ? p[i + 2] : 0;
		to[0] = base64_alphabet[v >> 18];
		to[1] = base64_alphabet[v >> 12 & 63];
		to[2] = left > 1 ? base64_alphabet[v >> 6 & 63] : '=';
		to[3] = left > 2 ? base64_alphabet[v & 63] : '=';
	}
	out->n += (in.n + 2) / 3 * 4;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, `pad` of them padding; false for a foreign character or spare bits that are set
 * (section 3.5). */
static bool base64_group(const char in[4], unsigned pad, char out[3])
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 4; i++) {
		int digit = i < 4 - pad ? base64_value(in[i]) : 0;

		if (digit < 0)
			return false;
		v = v << 6 | (uint32_t)digit;
	}
	if ((pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
		return false;
	out[0] = (char)(v >> 16);
	out[1] = (char)(v >> 8 & 0xff);
	out[2] = (char)(v & 0xff);
	return true;
}

enum rc base64_decode(struct buf *out, struct span in)
{
	unsigned pad = 0;
	size_t n, done = 0;
	char *to;

	if (in.n % 4 != 0)
		return RC_SYNTAX;
	if (in.n != 0 && in.p[in.n - 1] == '=')
		pad = in.p[in.n - 2] == '=' ? 2 : 1;
	n = in.n / 4 * 3 - pad;
	if ((to = buf_reserve(out, n)) == NULL)
		return RC_LIMIT;
	for (size_t i = 0; i < in.n; i += 4) {
		bool last = i + 4 == in.n;
		char three[3];

		if (!base64_group(in.p + i, last ? pad : 0, three))
			return RC_SYNTAX;
		memcpy(to + done, three, last ? 3 - pad : 3);
		done += 3;
	}
	out->n += n;
	return RC_OK;
}

/* ---- hexadecimal ---- */
void hex_encode(struct buf *out, struct span in)
{
	static const char digits[] = "0123456789abcdef";
	char *to = in.n <= PTRDIFF_MAX / 2 ? buf_reserve(out, in.n * 2) : NULL;

	if (to == NULL)
		return;
	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];

		to[2 * i] = digits[c >> 4];
		to[2 * i + 1] = digits[c & 15];
	}
	out->n += in.n * 2;
}

static int hex_value(char c)
{
	if (ascii_isdigit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum rc hex_decode(struct buf *out, struct span in)
{
	char *to;

	if (in.n % 2 != 0)
		return RC_SYNTAX;
	if ((to = buf_reserve(out, in.n / 2)) == NULL)
		return RC_LIMIT;
	for (size_t i = 0; i < in.n; i += 2) {
		int high = hex_value(in.p[i]), low = hex_value(in.p[i + 1]);

		if (high < 0 || low < 0)
			return RC_SYNTAX;
		to[i / 2] = (char)(high << 4 | low);
	}
	out->n += in.n / 2;
	return RC_OK;
}

/* ---- xtext, RFC 3461 section 4: "!" to "~" but "+" and "="; all else as "+" and two upper case digits. Digits are read in either
 * case, and "=" as it is: addresses that are made of addresses (SRS, VERP) come so. ---- */
static bool is_xchar(char c)
{
	return c > ' ' && c < 0x7f && c != '+' && c != '=';
}

void xtext_encode(struct buf *out, struct span in)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];
		char hex[3] = { '+', digits[c >> 4], digits[c & 15] };

		if (is_xchar(in.p[i]))
			buf_putc(out, in.p[i]);
		else
			buf_append(out, span_make(hex, 3));
	}
}

enum rc xtext_decode(struct buf *out, struct span in)
{
	size_t before = out->n;
	enum rc rc = RC_OK;

	for (size_t i = 0; i < in.n && rc == RC_OK; i++) {
		if (is_xchar(in.p[i]) || in.p[i] == '=') {
			rc = buf_putc(out, in.p[i]);
		} else if (in.p[i] == '+' && in.n - i > 2 && hex_value(in.p[i + 1]) >= 0 &&
			   hex_value(in.p[i + 2]) >= 0) {
			rc = buf_putc(out, (char)((unsigned)hex_value(in.p[i + 1]) << 4 |
						  (unsigned)hex_value(in.p[i + 2])));
			i += 2;
		} else {
			rc = RC_SYNTAX;
		}
	}
	if (rc != RC_OK)
		out->n = before;
	return rc;
}

/* ---- character sets ---- */
#define HIGH_BITS 0x8080808080808080U

/* Number of leading bytes, in steps of eight, that are ASCII. */
static size_t ascii_prefix(const char *p, size_t n)
{
	size_t i = 0;
	uint64_t word;

	for (; i + 8 <= n; i += 8) {
		memcpy(&word, p + i, 8);
		if ((word & HIGH_BITS) != 0)
			break;
	}
	return i;
}

bool span_is_ascii(struct span s)
{
	for (size_t i = ascii_prefix(s.p, s.n); i < s.n; i++) {
		if ((s.p[i] & 0x80) != 0)
			return false;
	}
	return true;
}

static bool is_continuation(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* Length of the character at p (RFC 3629 section 4), 0 when it is none. */
static size_t utf8_char(const unsigned char *p, size_t n)
{
	unsigned char lo = 0x80, hi = 0xbf; /* bounds of the second byte */
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		lo = 0xa0; /* overlong */
	else if (p[0] == 0xed)
		hi = 0x9f; /* surrogates */
	else if (p[0] == 0xf0)
		lo = 0x90; /* overlong */
	else if (p[0] == 0xf4)
		hi = 0x8f; /* beyond U+10FFFF */
	if (n < len || p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if (!is_continuation(p[i]))
			return 0;
	}
	return len;
}

bool utf8_valid(struct span s)
{
	size_t i = 0;

	while (i < s.n) {
		size_t len = ascii_prefix(s.p + i, s.n - i);

		if (len == 0)
			len = utf8_char((const unsigned char *)s.p + i, s.n - i);
		if (len == 0)
			return false;
		i += len;
	}
	return true;
}

/* ---- secrets ---- */
bool span_eq_secret(struct span a, struct span b)
{
	volatile unsigned char differ = 0; /* volatile: no early exit is to be found here by the compiler */

	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		differ = (unsigned char)(differ | (a.p[i] ^ b.p[i]));
	return differ == 0;
}

void random_bytes(void *out, size_t n)
{
	char *p = out;

	while (n != 0) {
		ssize_t got = getrandom(p, n, 0);

		INVARIANT(got > 0 || errno == EINTR);
		if (got > 0) {
			p += got;
			n -= (size_t)got;
		}
	}
}

void json_print(FILE *out, struct span text)
{
	bool utf8 = utf8_valid(text);

	putc('"', out);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
			fprintf(out, "\\u%04x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}
