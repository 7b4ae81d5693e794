/* local/feed.h - the message as a command gets it: head, content with the line ends and quoting it asked for.
 */
#ifndef LOCAL_FEED_H
#define LOCAL_FEED_H

#include "base/buf.h"
#include "ipc/proto.h"

struct feed {
	const struct user_run *q;
	struct span eol;
	size_t extent; /* present one */
	uint64_t off;  /* in it, or in the content */
	bool line_start, head_done, ended;
	struct buf ready; /* what the command has not taken yet */
	size_t taken;
	struct span held; /* bytes at a line start that may become "From ": kept in `hold` */
	char hold[8];
};
void feed_start(struct feed *f, const struct user_run *q);
/* Bytes to be written next; stays the same until feed_taken(). RC_EOF at the end; RC_SYS when the file cannot
 * be read. */
MUST_CHECK enum rc feed_next(struct feed *f, struct span *chunk, struct err *e);
void feed_taken(struct feed *f, size_t n);
void feed_end(struct feed *f);

#endif
