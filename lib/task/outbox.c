/* task/outbox.c - see the header. */
#include "task/outbox.h"
#include <errno.h>
#include <sys/socket.h>

void outbox_init(struct outbox *o, int fd, size_t max, int64_t stall_s)
{
	*o = (struct outbox){ .fd = fd, .stall_s = stall_s };
	buf_init(&o->pending, max);
	waitq_init(&o->idle);
}

static void wipe(struct outbox *o)
{
	if (o->pending.p)
		explicit_bzero(o->pending.p, o->pending.cap);
	buf_reset(&o->pending);
	buf_trim_memory(&o->pending);
}

static enum rc fail(struct outbox *o, enum rc rc)
{
	o->failed = true;
	(void)shutdown(o->fd, SHUT_RDWR);
	wipe(o);
	return rc;
}

/* RC_AGAIN: the socket is full. */
static enum rc send_some(struct outbox *o)
{
	while (o->pending.n) {
		ssize_t n = send(o->fd, o->pending.p, o->pending.n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? RC_AGAIN : fail(o, RC_SYS);
		buf_consume(&o->pending, (size_t)n);
	}
	wipe(o);
	return RC_OK;
}

static void pump(void *arg)
{
	struct outbox *o = arg;

	while (!o->failed && send_some(o) == RC_AGAIN)
		if (task_wait_fd(o->fd, TASK_WRITE, deadline_s(o->stall_s)) != RC_OK)
			(void)fail(o, RC_TIMEOUT);
	o->running = false;
	waitq_wake_all(&o->idle);
}

enum rc outbox_put(struct outbox *o, struct span record, struct err *e)
{
	if (o->failed)
		return err_set(e, RC_SYS, "the connection is broken");
	if (buf_append(&o->pending, record) != RC_OK)
		return err_set(e, fail(o, RC_LIMIT), "the peer does not read");
	if (o->running)
		return RC_OK;
	switch (send_some(o)) {
	case RC_OK:
		return RC_OK;
	case RC_AGAIN:
		o->running = true;
		task_spawn(pump, o);
		return RC_OK;
	default:
		return err_sys(e, "send");
	}
}

void outbox_end(struct outbox *o)
{
	if (!o->failed)
		(void)fail(o, RC_EOF);
	while (o->running)
		if (waitq_wait(&o->idle, DEADLINE_NEVER) != RC_OK)
			break;
	buf_release(&o->pending);
}
