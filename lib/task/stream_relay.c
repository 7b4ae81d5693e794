/* task/stream_relay.c - two streams joined, in one task: an idle pair costs one stack and no buffers. */
#include "task/sched.h"
#include "task/stream_private.h"

#include <errno.h>

/* One direction: what `from` has read goes out of its buffer directly to `to`. */
struct way {
	struct stream *from, *to;
	struct stream *blocked; /* whom to wait for, and ... */
	int want;		/* ... for what; 0: nothing to wait for */
	bool moved, ended;
};

static enum rc way_read(struct way *w, struct err *e)
{
	struct stream *s = w->from;
	ssize_t got = -1;
	int want = TASK_READ;

	w->blocked = s;
	w->want = TASK_READ;
	if (s->drained)
		return RC_OK;
	stream_in_room(s);
	got = stream_try_read(s, s->in + s->in_n, s->in_cap - s->in_n, &want);
	w->want = want;
	if (got > 0) {
		s->in_n += (size_t)got;
		w->moved = true;
	} else if (got == 0) {
		w->ended = true;
	} else if (errno != EAGAIN) {
		return err_sys(e, "read");
	}
	return RC_OK;
}

static enum rc way_write(struct way *w, struct err *e)
{
	struct stream *s = w->from;
	struct iovec iov = { s->in + s->in_at, stream_unread(s) };
	int want;
	ssize_t put = stream_try_writev(w->to, &iov, 1, &want);

	w->blocked = w->to;
	w->want = want;
	if (put > 0) {
		s->in_at += (size_t)put;
		w->moved = true;
	} else if (put < 0 && errno != EAGAIN) {
		stream_fail(w->to, RC_SYS, errno);
		return stream_failure(w->to, e);
	}
	return RC_OK;
}

/* Moves what can be moved without a wait: at most one read and one write. */
static enum rc way_step(struct way *w, struct err *e)
{
	enum rc rc = RC_OK;

	w->moved = false;
	if (stream_unread(w->from) == 0)
		rc = way_read(w, e);
	if (rc == RC_OK && stream_unread(w->from) != 0)
		rc = way_write(w, e);
	stream_in_release(w->from);
	return rc;
}

/* The wants of both ways, one entry for each descriptor. */
static enum rc relay_wait(const struct way ways[2], int64_t idle_s, struct err *e)
{
	struct fd_wait w[2] = { { .fd = -1 } };
	size_t n = 0;
	enum rc rc;

	for (int i = 0; i < 2; i++) {
		int fd = ways[i].blocked->fd;

		ways[i].blocked->drained = false;
		if (n == 1 && w[0].fd == fd)
			w[0].events |= ways[i].want;
		else
			w[n++] = (struct fd_wait){ .fd = fd, .events = ways[i].want };
	}
	rc = sched_wait_fds(w, n, deadline_s(idle_s));
	if (rc == RC_TIMEOUT)
		return err_set(e, RC_TIMEOUT, "idle for %lld seconds", (long long)idle_s);
	return rc == RC_OK ? RC_OK : err_sys(e, "wait for input");
}

enum rc stream_relay(struct stream *a, struct stream *b, int64_t idle_s, struct err *e)
{
	struct way ways[2] = { { .from = a, .to = b }, { .from = b, .to = a } };
	enum rc rc;

	INVARIANT(a->fd >= 0 && b->fd >= 0);
	if ((rc = stream_flush(a, deadline_s(idle_s), e)) != RC_OK)
		return rc;
	if ((rc = stream_flush(b, deadline_s(idle_s), e)) != RC_OK)
		return rc;
	for (;;) {
		for (int i = 0; i < 2; i++) {
			if ((rc = way_step(&ways[i], e)) != RC_OK)
				return rc;
			if (ways[i].ended) /* all it sent was passed on: reading starts only when nothing is
					      unread */
				return RC_OK;
		}
		if (ways[0].moved || ways[1].moved)
			stream_be_fair(a);
		else if ((rc = relay_wait(ways, idle_s, e)) != RC_OK)
			return rc;
	}
}
