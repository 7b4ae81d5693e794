/* mime/encode_words.c - RFC 2047 encoded words, written. */
#include "mime/header.h"

#define WORD_MAX  75 /* section 2 */
#define FRAME_LEN 7  /* "=?" "?Q?" "?=" */

/* Bytes of the character at the start of `s`: 1 where it is not UTF-8. */
static size_t char_length(struct span s)
{
	unsigned char c = (unsigned char)s.p[0];
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1, k = 1;

	while (k < n && k < s.n && ((unsigned char)s.p[k] & 0xc0) == 0x80)
		k++;
	return k == n ? n : 1;
}

/* Section 5 (3): what stands for itself in a phrase is safe everywhere. */
static bool stands(char c)
{
	return ascii_isalnum(c) || (c != '\0' && strchr("!*+-/", c) != NULL);
}

static size_t encoded_length(struct span s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += stands(s.p[i]) || s.p[i] == ' ' ? 1 : 3;
	return n;
}

static void put(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == ' ')
			(void)buf_putc(b, '_');
		else if (stands(s.p[i]))
			(void)buf_putc(b, s.p[i]);
		else
			(void)buf_printf(b, "=%02X", (unsigned char)s.p[i]);
}

struct span header_encode(struct arena *a, struct span text, struct span charset)
{
	size_t room = charset.n + FRAME_LEN + 12 < WORD_MAX ? WORD_MAX - FRAME_LEN - charset.n : 12;
	size_t used = room; /* no word is open */
	struct span out;
	struct buf b;

	buf_init(&b, 65536);
	while (text.n > 0) {
		struct span one = span_head(text, char_length(text));

		if (used + encoded_length(one) > room) {
			(void)buf_printf(&b, "%s=?" SPAN_FMT "?Q?", b.n > 0 ? "?=\n " : "",
					 SPAN_ARG(charset));
			used = 0;
		}
		put(&b, one);
		used += encoded_length(one);
		text = span_skip(text, one.n);
	}
	(void)buf_puts(&b, b.n > 0 ? "?=" : "");
	out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return out;
}
