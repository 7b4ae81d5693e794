/* task/stream_sendfile.c - bytes of a file to a stream: by the kernel where the wire carries them as they
 * are. */
#include "task/stream_private.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define PER_CALL_BYTES (256 * 1024) /* other tasks run in between */
#define PIECE_BYTES    (64 * 1024)

static enum rc file_too_short(struct stream *s, struct err *e)
{
	/* The peer was promised these bytes: nothing that follows would be understood. */
	stream_fail(s, RC_SYS, EIO);
	return err_set(e, RC_EOF, "the file ends before the bytes asked for");
}

/* RC_AGAIN: this descriptor or file does not take sendfile(2). */
static enum rc send_by_kernel(struct stream *s, int fd, int64_t *off, int64_t *n, deadline_t d, struct err *e)
{
	while (*n > 0) {
		size_t ask = *n < PER_CALL_BYTES ? (size_t)*n : PER_CALL_BYTES;
		off_t at = (off_t)*off;
		ssize_t put = sendfile(s->fd, fd, &at, ask);
		enum rc rc;

		if (put > 0) {
			*off += put;
			*n -= put;
			s->bytes_out += (uint64_t)put;
			stream_be_fair(s);
			continue;
		}
		if (put == 0)
			return file_too_short(s, e);
		if (errno == EINTR)
			continue;
		if (errno == EINVAL || errno == ENOSYS)
			return RC_AGAIN;
		if (errno != EAGAIN) {
			stream_fail(s, RC_SYS, errno);
			return stream_failure(s, e);
		}
		if ((rc = task_wait_fd(s->fd, TASK_WRITE | TASK_DRAINED, d)) != RC_OK) {
			stream_fail(s, rc, rc == RC_SYS ? errno : 0);
			return stream_failure(s, e);
		}
	}
	return RC_OK;
}

static enum rc send_by_hand(struct stream *s, int fd, int64_t off, int64_t n, deadline_t d, struct err *e)
{
	char *piece = xmalloc(PIECE_BYTES);
	enum rc rc = RC_OK;

	while (n > 0 && rc == RC_OK) {
		ssize_t got = pread(fd, piece, n < PIECE_BYTES ? (size_t)n : PIECE_BYTES, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int saved = errno;

			stream_fail(s, RC_SYS, saved);
			errno = saved;
			rc = err_sys(e, "read from the file");
		} else if (got == 0) {
			rc = file_too_short(s, e);
		} else {
			stream_write(s, span_make(piece, (size_t)got));
			rc = stream_flush(s, d, e);
			off += got;
			n -= got;
		}
	}
	free(piece);
	return rc;
}

enum rc stream_sendfile(struct stream *s, int fd, int64_t off, int64_t n, deadline_t d, struct err *e)
{
	enum rc rc = stream_flush(s, d, e);

	if (rc == RC_OK && s->fd < 0) {
		errno = EBADF;
		return err_sys(e, "write");
	}
	if (rc == RC_OK)
		rc = s->t.read == NULL ? send_by_kernel(s, fd, &off, &n, d, e) : RC_AGAIN;
	return rc == RC_AGAIN ? send_by_hand(s, fd, off, n, d, e) : rc;
}
