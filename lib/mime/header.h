/* mime/header.h - header fields of RFC 5322 messages whose lines end with LF or CRLF. */
#ifndef MIME_HEADER_H
#define MIME_HEADER_H

#include "base/arena.h"
#include "base/buf.h"

struct header_field {
	struct span name; /* without colon */
	struct span body; /* after the colon up to but not including the line end; folded lines inside */
	struct span all;  /* name to line end, inclusive */
};
/* Takes the next field off *rest. RC_EOF at the empty line (consumed) or the end of input; RC_SYNTAX at a
 * line that is neither field nor continuation: the header ends there without an empty line and *rest stays at
 * it (RFC 5322 readers treat it as body). */
enum rc header_next(struct span *rest, struct header_field *f);
/* All of the field, without the white space that obsolete syntax has before the colon: a rule for "Name:" is for it, too. */
struct span header_text(const struct header_field *f, struct arena *a);
/* Whether `text`, with its line end or without, is one field and nothing more. */
bool header_is_field(struct span text);
/* Length of the header including the empty line. */
size_t header_length(struct span message);
/* Of a stored message, which may begin with the "From " line of an mbox (">From " in one that was forwarded):
 * length of that line, 0 none; and of the header with it. */
size_t header_mbox_line(struct span message);
size_t header_length_stored(struct span message);
/* First field of that name (ASCII case folded), RC_NOTFOUND. */
enum rc header_find(struct span header, const char *name, struct header_field *f);
/* Body with foldings undone (CRLF WSP -> WSP) and trimmed. */
struct span header_unfold(struct arena *a, struct span body);
/* A whole field that holds a list of addresses, its lines broken anew behind commas. The line end stays as it is. */
struct span header_fold_list(struct arena *a, struct span field);
/* RFC 2047 words decoded to UTF-8 (charsets through iconv; unknown ones leave the word as it is). At most 64
 * KiB out. */
struct span header_decode(struct arena *a, struct span unfolded);
/* Text of that character set as RFC 2047 "Q" words for a phrase or a comment, each at most 75 bytes long, one a line
 * ("\n " between them); UTF-8 characters stay in one word. */
struct span header_encode(struct arena *a, struct span text, struct span charset);
/* Appends `bytes` as UTF-8; false, and nothing appended, when the character set is unknown or the bytes are
 * not of it. */
bool charset_to_utf8(struct buf *out, struct span charset, struct span bytes);

#endif
