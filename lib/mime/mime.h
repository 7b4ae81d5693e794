/* mime/mime.h - structure of a message (RFC 2045, 2046, 2183, 2231): parsed once, in one pass, with bounded
 * depth and parts. */
#ifndef MIME_MIME_H
#define MIME_MIME_H

#include "mime/address.h"
#include "mime/header.h"

#define MIME_DEPTH_MAX 32 /* deeper parts are leaves of type application/octet-stream */
#define MIME_PARTS_MAX 1000

struct mime_param {
	struct span name, value; /* RFC 2231 continuations joined, percent-decoding done, charset kept as
				    UTF-8 where known */
	struct span extended;	 /* "charset'language'percent-coded" as one value, when it was written so;
				    SPAN_NONE */
};
struct mime_part {
	struct span type,
	    subtype; /* as written; "TEXT" "PLAIN" by default (US-ASCII), "MESSAGE" "RFC822" in digest */
	struct mime_param *param;
	size_t params;
	struct span id, description, encoding; /* encoding "7BIT" by default */
	struct span disposition;
	struct mime_param *disp_param;
	size_t disp_params;
	struct span md5, language, location;
	uint64_t header_off, header_len; /* bytes in the message as given */
	uint64_t body_off, body_len;
	uint32_t body_lines;			 /* LF count */
	uint64_t crlf_header_len, crlf_body_len; /* sizes with CRLF line ends, when the message has bare LF */
	struct mime_part *child, *next; /* multipart: parts; message/rfc822: one child, the inner message */
};
/* The root part lives in `a`. Never fails: what is malformed is text. `message` may have LF or CRLF line
 * ends. */
struct mime_part *mime_parse(struct span message, struct arena *a);

#endif
