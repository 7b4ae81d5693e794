/* bounce/dsn.h - a delivery status notification as a message: RFC 3464 in a multipart/report of RFC 6522,
 * with the rules of RFC 3461. */
#ifndef BOUNCE_DSN_H
#define BOUNCE_DSN_H

#include "conf/bounce_template.h"
#include "ipc/proto.h"
#include "queue/envelope.h"

struct dsn {
	enum bounce_kind kind;
	const struct bounce_template *text;
	bool copy; /* to the postmaster, who did not send the message: the header of it only */
	const struct envelope *env;	/* of the message that is reported on */
	const struct bounce_rcpt *rcpt; /* those to report: chosen by the caller */
	size_t rcpts;
	struct span to;	     /* who gets the report */
	struct span content; /* the original, as much of it as is at hand; LF line ends */
	bool cut;	     /* there was more */
	bool headers_only;   /* RET=HDRS, or a kind that never returns content */
	int64_t retry_until_us;
	struct span qid; /* of the report */
	int64_t now_us;
};
/* The whole message, LF line ends. RC_LIMIT when it does not fit out->max: ask again with headers_only. */
MUST_CHECK enum rc dsn_write(const struct conf *c, const struct dsn *d, struct buf *out);

#endif
