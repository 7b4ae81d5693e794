/* mime/convert.h - 7-bit content from an 8-bit message. */
#ifndef MIME_CONVERT_H
#define MIME_CONVERT_H

#include "base/buf.h"

#define CONVERT_MAX (128 * 1024 * 1024) /* octets of a message that is held in memory for it */

/* Leaf parts with 8-bit bytes become quoted-printable (RFC 6152 section 3); `declared`: only those whose
 * Content-Transfer-Encoding says 8bit or binary. RC_LIMIT: too large, or a composite part with 8-bit content of its own;
 * RC_SYNTAX: its structure is confused. */
MUST_CHECK enum rc convert_7bit(struct span message, bool declared, struct buf *out, struct err *e);

#endif
