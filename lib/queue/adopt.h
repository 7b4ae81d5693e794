/* queue/adopt.h - the queue that Postfix left becomes ours, where it stands. */
#ifndef QUEUE_ADOPT_H
#define QUEUE_ADOPT_H

#include "queue/queue.h"

/* What is told of each file. why: NULL, or why it is not taken over; later: it stays, and may be tried again (disk full), else it was moved to
 * corrupt/. */
typedef void adopt_fn(void *arg, const char *name, const struct err *why, bool later);

/* Every file of Postfix's in directory `where`, however deep hash_queue_depth made it, becomes a queue file of ours of the same id:
 * arrival time, sender, the recipients that are left, hold and the time of the next attempt stay. What was active is incoming.
 * The old file goes when the new one is on stable storage: a crash leaves one of them, or both, which the next call settles. Files of
 * ours, and others, are left alone. Blocking.
 * errors   RC_SYS: not all of the directory could be read */
MUST_CHECK enum rc queue_adopt(struct queue *q, enum queue_where where, adopt_fn *tell, void *arg,
			       struct err *e);

#endif
