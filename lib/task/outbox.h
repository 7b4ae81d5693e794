/* task/outbox.h - the writing side of a plain descriptor that many tasks write whole records to. (A stream
 * has one writer at a time, and its reader flushes, too: who shares a connection reads it through a stream
 * and writes it through this.) */
#ifndef TASK_OUTBOX_H
#define TASK_OUTBOX_H

#include "base/buf.h"
#include "task/task.h"

struct outbox {
	int fd;
	struct buf pending;
	bool running, failed;
	struct waitq idle;
	int64_t stall_s;
};
/* The descriptor stays the caller's. max: bytes that may wait; stall_s: a peer that takes nothing for so long
 * is cut off. */
void outbox_init(struct outbox *o, int fd, size_t max, int64_t stall_s);
/* Never waits: sends what goes, a task of its own sends the rest. After a failure (RC_SYS; RC_LIMIT: the peer
 * does not read) the connection is shut down, and whoever reads it finds its end. Sent bytes are wiped: they
 * may be passwords. */
MUST_CHECK enum rc outbox_put(struct outbox *o, struct span record, struct err *e);
/* Before the descriptor is closed; in a task. Waits for the sending task; what was not sent is lost. */
void outbox_end(struct outbox *o);

#endif
