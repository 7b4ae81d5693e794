/* task/stream_write.c - the writing side of a stream: collected, sent in few calls, dropped after a failure.
 */
#include "task/stream_private.h"

#include <errno.h>
#include <stdarg.h>

void stream_set_write_timeout(struct stream *s, int64_t timeout_s)
{
	s->write_timeout_ms = timeout_s * 1000;
}

enum rc stream_fail(struct stream *s, enum rc rc, int sys)
{
	s->failed = rc;
	s->failed_errno = sys;
	stream_out_release(s);
	return rc;
}

enum rc stream_failure(const struct stream *s, struct err *e)
{
	if (s->failed == RC_TIMEOUT)
		return err_set(e, RC_TIMEOUT, "timeout while writing");
	if (s->failed == RC_SYS) {
		errno = s->failed_errno;
		return err_sys(e, "write");
	}
	return s->failed;
}

/* Writes the buffered bytes and as much of *more as goes; returns when at most `may_stay` bytes of *more are
 * left. */
static enum rc send_out(struct stream *s, struct span *more, size_t may_stay, deadline_t d)
{
	size_t at = 0; /* into the buffer */

	if (s->fd < 0)
		return stream_fail(s, RC_SYS, EBADF);
	while (at < s->out_n || more->n > may_stay) {
		struct iovec iov[2];
		int count = 0, want;
		ssize_t put;
		enum rc rc;

		if (at < s->out_n)
			iov[count++] = (struct iovec){ s->out + at, s->out_n - at };
		if (more->n != 0) {
			iov[count].iov_len = more->n;
			memcpy(&iov[count++].iov_base, &more->p, sizeof(void *)); /* iovec knows no const */
		}
		put = stream_try_writev(s, iov, count, &want);
		if (put > 0) {
			size_t from_buffer = (size_t)put < s->out_n - at ? (size_t)put : s->out_n - at;

			at += from_buffer;
			*more = span_skip(*more, (size_t)put - from_buffer);
			stream_be_fair(s);
			continue;
		}
		if (put < 0 && errno != EAGAIN)
			return stream_fail(s, RC_SYS, errno);
		if ((rc = task_wait_fd(s->fd, want | TASK_DRAINED, d)) != RC_OK)
			return stream_fail(s, rc, rc == RC_SYS ? errno : 0);
		s->burst = 0;
	}
	stream_out_release(s);
	return RC_OK;
}

static void collect(struct stream *s, struct span data)
{
	if (data.n == 0)
		return;
	if (s->out == NULL)
		s->out = stream_out_new();
	memcpy(s->out + s->out_n, data.p, data.n);
	s->out_n += data.n;
}

void stream_write(struct stream *s, struct span data)
{
	if (s->failed != RC_OK)
		return;
	if (data.n > STREAM_OUT_BYTES - s->out_n &&
	    send_out(s, &data, STREAM_OUT_BYTES / 2, deadline_ms(s->write_timeout_ms)) != RC_OK)
		return;
	collect(s, data);
}

void stream_puts(struct stream *s, const char *cstr)
{
	stream_write(s, span_str(cstr));
}

void stream_printf(struct stream *s, const char *fmt, ...)
{
	char small[512], *large;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	INVARIANT(n >= 0);
	if ((size_t)n < sizeof(small)) {
		stream_write(s, span_make(small, (size_t)n));
		return;
	}
	large = xmalloc((size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(large, (size_t)n + 1, fmt, ap);
	va_end(ap);
	stream_write(s, span_make(large, (size_t)n));
	free(large);
}

enum rc stream_flush(struct stream *s, deadline_t d, struct err *e)
{
	struct span none = SPAN_NONE;

	if (s->failed == RC_OK && s->out_n != 0)
		(void)send_out(s, &none, 0, d);
	return s->failed == RC_OK ? RC_OK : stream_failure(s, e);
}
