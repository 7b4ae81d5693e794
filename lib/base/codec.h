/* base/codec.h - base64 (RFC 4648 section 4), hexadecimal, percent and xtext (RFC 3461 section 4) coding, strings of JSON.
 * Decoders are strict: they accept or return RC_SYNTAX, never repair. */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include "base/buf.h"
#include <stdio.h>

void base64_encode(struct buf *out, struct span in); /* no line breaks */
MUST_CHECK enum rc base64_decode(struct buf *out,
				 struct span in); /* padding required; RC_LIMIT past out->max */
void hex_encode(struct buf *out, struct span in); /* lower case */
MUST_CHECK enum rc hex_decode(struct buf *out, struct span in);
void xtext_encode(struct buf *out, struct span in);
MUST_CHECK enum rc xtext_decode(struct buf *out, struct span in);
/* A string of JSON (RFC 8259 section 7) with its quotes. In text that is not UTF-8 each byte beyond ASCII becomes the
 * character of that number, as postqueue(1) shows it. */
void json_print(FILE *out, struct span text);
bool utf8_valid(struct span s);	   /* RFC 3629: no overlong forms, surrogates, or beyond U+10FFFF */
bool span_is_ascii(struct span s); /* no byte above 0x7f */
/* Equal in a time that depends on the lengths only. */
bool span_eq_secret(struct span a, struct span b);
void random_bytes(void *out, size_t n); /* getrandom(2); never fails once the kernel pool is ready */
uint32_t crc32c(uint32_t crc,
		struct span data); /* Castagnoli; start with 0. SSE4.2 when the processor has it */
uint32_t crc32c_by_table(uint32_t crc, struct span data); /* the same sum without the instruction */

#endif
