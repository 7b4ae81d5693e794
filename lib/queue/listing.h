/* queue/listing.h - walking through the queue without changing it: for showq(8), and for postqueue(1) and
 * postsuper(1) while the suite is down. Blocking; a daemon takes it in steps through task_offload(). */
#ifndef QUEUE_LISTING_H
#define QUEUE_LISTING_H

#include "queue/queue.h"

struct listing; /* opaque: the names found, and how far we are */
/* Lists slots, incoming/, active/, deferred/, hold/, maildrop/. A directory that cannot be read is left out with the
 * story in e (RC_SYS) and the rest is still listed. */
enum rc listing_open(struct queue *q, struct listing **out, struct err *e);
void listing_close(struct listing **l);
size_t listing_count(const struct listing *l);

struct listed {
	const char
	    *queue; /* "incoming", "deferred", "hold", "maildrop": slots count as incoming; who knows what is
			      active says so */
	enum queue_where where;
	uint32_t slot;
	struct qid id;
	struct qimage image;
	struct qstatus *why; /* per recipient of the image, .status 0: nothing recorded */
};
/* The next message; memory from `a`. RC_EOF at the end. Messages that are gone meanwhile are passed over. */
MUST_CHECK enum rc listing_next(struct listing *l, struct arena *a, struct listed *out, struct err *e);

#endif
