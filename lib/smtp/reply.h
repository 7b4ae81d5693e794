/* smtp/reply.h - what a server says (RFC 5321 section 4.2, RFC 2034 for the enhanced codes). The one parser
 * of multi-line replies: bounded in line length, lines and bytes. Servers say many things: any code of three digits
 * is taken, what it means is the caller's to judge, and in a reply of many lines the last one decides. */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include "base/arena.h"
#include "task/stream.h"

#define SMTP_REPLY_LINE_MAX                                                                                  \
	4096 /* RFC 5321 section 4.5.3.1.5: 512; extensions and real servers pass that   \
				  */
#define SMTP_REPLY_LINES 2000
#define SMTP_REPLY_BYTES (16 * 1024) /* kept; what comes beyond is read and dropped */
#define SMTP_DSN_MAX	 12

struct smtp_reply {
	unsigned code; /* 0 to 999 */
	char
	    dsn[SMTP_DSN_MAX]; /* "2.1.5" when the last line has one of the code's class (2, 4, 5), else "" */
	struct buf text; /* the lines as they came, joined by '\n'; control characters but tab are '?' */
	/* private */
	unsigned lines;
	bool more;
};
void smtp_reply_init(struct smtp_reply *r);
void smtp_reply_release(struct smtp_reply *r);
void smtp_reply_reset(struct smtp_reply *r);
/* One line without its end. RC_OK: the reply is complete; RC_AGAIN: more lines follow; RC_SYNTAX: the line is none of a
 * reply, and was not taken; RC_LIMIT: too many. */
MUST_CHECK enum rc smtp_reply_feed(struct smtp_reply *r, struct span line);
/* Reads one whole reply. errors as stream_line(), and those of smtp_reply_feed(). */
MUST_CHECK enum rc smtp_reply_read(struct smtp_reply *r, struct stream *s, deadline_t d, struct err *e);
/* All lines joined by blanks, tabs as '?': for logs and reports. Lives in `a`. */
struct span smtp_reply_text(const struct smtp_reply *r, struct arena *a);
/* Line number `i` without its code; false: no such line. */
bool smtp_reply_line(const struct smtp_reply *r, size_t i, struct span *out);

#endif
