/* task/stream_private.h - what the stream*.c files share; nobody else includes it. */
#ifndef TASK_STREAM_PRIVATE_H
#define TASK_STREAM_PRIVATE_H

#include "task/stream.h"

struct stream {
	int fd;
	struct transport t;	    /* t.read NULL: the plain descriptor */
	char *in;		    /* NULL while nothing is buffered and nobody reads */
	size_t in_at, in_n, in_cap; /* unread are in[in_at .. in_n) */
	char *out;		    /* STREAM_OUT_BYTES, or NULL */
	size_t out_n;
	bool skip_line;	  /* the rest of an overlong line is still to come */
	bool drained;	  /* the last read showed that the kernel has no more: wait before the next */
	bool last_full;	  /* the last read filled all it was offered: a TLS transport may hold more */
	bool tcp, probed; /* see short_read_drains() */
	unsigned burst;	  /* reads and writes without a wait */
	enum rc failed;	  /* of writing; sticky */
	int failed_errno;
	int64_t write_timeout_ms;
	uint64_t bytes_in, bytes_out;
};

/* One attempt each, no wait. Bytes moved, 0 at end of input, -1 with errno (EAGAIN: *want says what to wait
 * for). */
ssize_t stream_try_read(struct stream *s, void *dst, size_t n, int *want);
ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, int count, int *want);

/* Waits until one more attempt makes sense. */
enum rc stream_wait(struct stream *s, int want, deadline_t d);
/* Lets other tasks run now and then although this stream never has to wait. */
void stream_be_fair(struct stream *s);

/* The input buffer: makes room for at least one more byte; gives the memory back when nothing is unread. */
void stream_in_room(struct stream *s);
void stream_in_release(struct stream *s);
char *stream_out_new(void);
void stream_out_release(struct stream *s);
/* Reads once into the buffer, waiting if need be. RC_EOF at the end of input. */
enum rc stream_fill(struct stream *s, deadline_t d, struct err *e);

static inline size_t stream_unread(const struct stream *s)
{
	return s->in_n - s->in_at;
}

/* Writing: marks the stream as failed and drops what is buffered. */
enum rc stream_fail(struct stream *s, enum rc rc, int sys);
enum rc stream_failure(const struct stream *s, struct err *e);

#endif
