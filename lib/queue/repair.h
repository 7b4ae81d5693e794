/* queue/repair.h - names and places of queue files put right, and what was never finished removed: postsuper(1), -s, -S and -p.
 *
 * A queue file is called by the id in its header and lies where that id belongs (queue.h): qmgr(8) looks for it nowhere else, and
 * takes a name that is no id for damage. Restoring a backup, merging two queues or moving files by hand can break that.
 * Files in maildrop/ are any user's: their names mean nothing and their headers are not believed, so they stay as they are.
 * Blocking. Works beside a running suite, too: a file in its right place is never touched, and a rename never replaces one. */
#ifndef QUEUE_REPAIR_H
#define QUEUE_REPAIR_H

#include "queue/queue.h"

enum repaired {
	REPAIR_MOVED,	   /* to the directory of its id */
	REPAIR_RENAMED,	   /* after the id in its header */
	REPAIR_RENUMBERED, /* another message has that id: copied under a new one */
	REPAIR_DOUBLE,	   /* the same message stands where it belongs: removed */
	REPAIR_PURGED,	   /* an unfinished file, removed */
	REPAIR_BOGUS,	   /* neither name nor content of a queue file: left alone */
	REPAIR_DAMAGED,	   /* a checksum is wrong; `to` says which. Left alone */
	REPAIR_FAILED,	   /* `to` says why */
};
struct repair {
	/* `from`, `to`: paths from the queue directory on; `to` may be NULL */
	void (*tell)(void *arg, enum repaired what, const char *from, const char *to);
	void *arg;
	bool structure; /* -s */
	bool contents;	/* -S: with `structure`; checksums, too */
	bool temporary; /* -p */
	bool idle; /* the suite is down: an unfinished file whose writer is gone is stale whatever its age */
};
/* One directory with all below it; QW_SLOT: pool/ and corrupt/, which have temporary files only. RC_SYS: not all of it could be
 * read or synced; what could be was put right. */
MUST_CHECK enum rc queue_repair(struct queue *q, enum queue_where where, const struct repair *r,
				struct err *e);

#endif
