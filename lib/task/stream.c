/* task/stream.c - a stream's life, its transport and its buffers. */
#include "task/stream_private.h"
#include "task/sched.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITE_TIMEOUT_MS (300 * 1000) /* unless stream_set_write_timeout() says otherwise */
#define BURST_MAX	 32

struct stream *stream_new(int fd)
{
	struct stream *s = xcalloc(1, sizeof(*s));
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (flags & O_NONBLOCK) == 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	task_forget_fd(fd); /* in case a former owner of this number did not */
	s->fd = fd;
	s->write_timeout_ms = WRITE_TIMEOUT_MS;
	return s;
}

static void transport_end(struct stream *s)
{
	if (s->t.read == NULL)
		return;
	if (s->t.shutdown != NULL && s->failed == RC_OK)
		s->t.shutdown(s->t.state);
	if (s->t.close != NULL)
		s->t.close(s->t.state);
	s->t = (struct transport){ 0 };
}

void stream_close(struct stream **sp)
{
	struct stream *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	transport_end(s);
	if (s->fd >= 0) {
		task_forget_fd(s->fd);
		close(s->fd);
	}
	s->in_at = s->in_n;
	stream_in_release(s);
	stream_out_release(s);
	free(s);
}

int stream_fd(const struct stream *s)
{
	return s->fd;
}

int stream_release_fd(struct stream *s)
{
	int fd = s->fd;

	if (s->t.read != NULL)
		return -1; /* what is on the wire is not what the next owner would read */
	task_forget_fd(fd);
	s->fd = -1;
	return fd;
}

enum rc stream_set_transport(struct stream *s, const struct transport *t)
{
	enum rc rc;

	if (stream_buffered(s) != 0 || s->skip_line)
		return RC_DENIED;
	if ((rc = stream_flush(s, deadline_ms(s->write_timeout_ms), NULL)) != RC_OK)
		return rc;
	transport_end(s);
	stream_in_release(s);
	if (t != NULL)
		s->t = *t;
	s->drained = s->last_full = false;
	return RC_OK;
}

uint64_t stream_bytes_in(const struct stream *s)
{
	return s->bytes_in;
}

uint64_t stream_bytes_out(const struct stream *s)
{
	return s->bytes_out;
}

/* ---- one attempt ---- */
/* After a TCP read returned less than asked for, the kernel's buffer is empty, and what comes later raises a
 * new edge: the read that would only say EAGAIN is saved. Other kinds of descriptor may return less for other
 * reasons. */
static bool short_read_drains(struct stream *s)
{
	int domain = 0, type = 0;
	socklen_t n = sizeof(int), m = sizeof(int);

	if (!s->probed) {
		s->probed = true;
		s->tcp = getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 &&
			 getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &type, &m) == 0 && type == SOCK_STREAM &&
			 (domain == AF_INET || domain == AF_INET6);
	}
	return s->tcp;
}

ssize_t stream_try_read(struct stream *s, void *dst, size_t n, int *want)
{
	ssize_t got;

	*want = TASK_READ;
	do
		got = s->t.read != NULL ? s->t.read(s->t.state, dst, n, want) : read(s->fd, dst, n);
	while (got < 0 && errno == EINTR);
	s->last_full = got > 0 && (size_t)got == n;
	s->drained = got > 0 && !s->last_full && s->t.read == NULL && short_read_drains(s);
	if (got > 0)
		s->bytes_in += (uint64_t)got;
	if (got < 0 && errno == EWOULDBLOCK)
		errno = EAGAIN;
	return got;
}

ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, int count, int *want)
{
	ssize_t put;

	*want = TASK_WRITE;
	do
		put =
		    s->t.read != NULL ? s->t.writev(s->t.state, iov, count, want) : writev(s->fd, iov, count);
	while (put < 0 && errno == EINTR);
	if (put > 0)
		s->bytes_out += (uint64_t)put;
	if (put < 0 && errno == EWOULDBLOCK)
		errno = EAGAIN;
	return put;
}

enum rc stream_wait(struct stream *s, int want, deadline_t d)
{
	s->burst = 0;
	s->drained = false;
	return task_wait_fd(s->fd, want | TASK_DRAINED, d);
}

void stream_be_fair(struct stream *s)
{
	if (++s->burst < BURST_MAX)
		return;
	s->burst = 0;
	task_yield();
}

/* ---- buffers: a few freed ones are kept, since every command of every session takes and returns them ----
 */
#define KEPT_BUFFERS (TASK_ASAN ? 0 : 16) /* none under ASan: it shall see use after release */
struct kept {
	void *p[16];
	int n;
};
static struct kept kept_in, kept_out;

static void *buffer_take(struct kept *k, size_t bytes)
{
	return k->n != 0 ? k->p[--k->n] : xmalloc(bytes);
}

static void buffer_return(struct kept *k, void *p)
{
	if (k->n < KEPT_BUFFERS)
		k->p[k->n++] = p;
	else
		free(p);
}

void stream_forget_buffers(void)
{
	while (kept_in.n != 0)
		free(kept_in.p[--kept_in.n]);
	while (kept_out.n != 0)
		free(kept_out.p[--kept_out.n]);
}

void stream_in_release(struct stream *s)
{
	if (stream_unread(s) != 0 || s->in == NULL)
		return;
	if (s->in_cap == STREAM_IN_BYTES)
		buffer_return(&kept_in, s->in);
	else
		free(s->in);
	s->in = NULL;
	s->in_at = s->in_n = s->in_cap = 0;
}

void stream_in_room(struct stream *s)
{
	if (s->in == NULL) {
		s->in = buffer_take(&kept_in, STREAM_IN_BYTES);
		s->in_cap = STREAM_IN_BYTES;
	}
	if (s->in_at == s->in_n)
		s->in_at = s->in_n = 0;
	if (s->in_cap - s->in_n >= STREAM_IN_BYTES / 4)
		return;
	if (s->in_at >= s->in_cap / 4) {
		s->in_n -= s->in_at;
		memmove(s->in, s->in + s->in_at, s->in_n);
		s->in_at = 0;
	} else {
		s->in_cap *= 2;
		s->in = xrealloc(s->in, s->in_cap);
	}
}

char *stream_out_new(void)
{
	return buffer_take(&kept_out, STREAM_OUT_BYTES);
}

void stream_out_release(struct stream *s)
{
	if (s->out != NULL)
		buffer_return(&kept_out, s->out);
	s->out = NULL;
	s->out_n = 0;
}
