/* multiline.h - a message as a multi-line response (RFC 1939 section 3): CRLF line ends, dots stuffed. */
#ifndef POP3D_MULTILINE_H
#define POP3D_MULTILINE_H

#include "base/span.h"

/* Where the bytes go, a few KiB at a time; may wait. */
typedef void multiline_sink(void *arg, struct span bytes);

#define MULTILINE_ALL UINT64_MAX
/* The header, the empty line and `lines` lines of the body (MULTILINE_ALL: everything), ended by CRLF.CRLF.
 * LF and CRLF end a line; other bytes pass. The number of bytes given to sink. */
uint64_t multiline_send(struct span content, uint64_t lines, multiline_sink *sink, void *arg);
/* Bytes of `content` that multiline_send() looks at; content.n + 1 when they are more than there are. */
size_t multiline_needs(struct span content, uint64_t lines);

#endif
