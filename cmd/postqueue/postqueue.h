/* cmd/postqueue/postqueue.h - postqueue(1): options in postqueue.c, where the listing comes from in source.c,
 * its two shapes in print.c. */
#ifndef POSTQUEUE_H
#define POSTQUEUE_H

#include "conf/conf.h"

struct queued_rcpt {
	struct span addr, orig, reason; /* orig: "" when the same */
	bool bounced; /* failed for good, the sender is not told yet; else it is tried again */
};
struct queued {
	struct span queue, id, sender;
	int64_t arrival_s, size;
	bool forced_expire;
	struct queued_rcpt *rcpt;
	size_t rcpts, cap;
};
/* Called for each message; what it points to is gone after. */
typedef void queued_fn(void *arg, const struct queued *m);

/* From showq(8), or, for root while the suite is down, from the directories. Dies with status 69 when neither
 * is possible. */
void source_each(const struct conf *c, queued_fn *fn, void *arg);

struct printer {
	bool json, long_ids;
	size_t count;
	int64_t bytes;
};
queued_fn print_message;
void print_end(const struct printer *p);

#endif
