/* login/ahead.c - a stream whose first bytes somebody else has read already: what a client sent behind its
 * log-in command travels beside the descriptor, and comes before what the socket holds. */
#include "login/private.h"
#include <sys/socket.h>

struct ahead {
	int fd;
	size_t n, at;
	char bytes[];
};

static ssize_t ahead_read(void *state, void *dst, size_t n, int *want)
{
	struct ahead *a = state;

	*want = TASK_READ;
	if (a->at == a->n)
		return recv(a->fd, dst, n, 0);
	if (n > a->n - a->at)
		n = a->n - a->at;
	memcpy(dst, a->bytes + a->at, n);
	a->at += n;
	return (ssize_t)n;
}

static ssize_t ahead_writev(void *state, const struct iovec *iov, int count, int *want)
{
	const struct ahead *a = state;
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };

	*want = TASK_WRITE;
	return sendmsg(a->fd, &m, MSG_NOSIGNAL);
}

struct stream *login_stream(int fd, struct span bytes)
{
	struct stream *io = stream_new(fd);
	struct transport t = { .read = ahead_read, .writev = ahead_writev, .close = free };
	struct ahead *a;
	bool fresh;

	if (!bytes.n)
		return io;
	a = xmalloc(sizeof(*a) + bytes.n);
	*a = (struct ahead){ .fd = fd, .n = bytes.n };
	memcpy(a->bytes, bytes.p, bytes.n);
	t.state = a;
	fresh = stream_set_transport(io, &t) == RC_OK; /* nothing was read yet: never refused */
	INVARIANT(fresh);
	return io;
}
