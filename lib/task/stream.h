/* task/stream.h - a buffered byte stream over a descriptor, for tasks. Every wait has a deadline.
 * Reading: stream_line() for protocols of lines, stream_read()/stream_peek() for the rest.
 * A stream that never has to wait still lets other tasks run now and then: any call that takes a deadline may switch.
 * Writing: collected up to STREAM_OUT_BYTES, sent at stream_flush(), when full, or before a read would wait.
 * The transport below (plain descriptor or TLS, net/tls.h) may be replaced in place: stream_set_transport() refuses
 * with RC_DENIED while input is buffered, so that nothing sent in clear text is taken for protected (RFC 3207 4.2). */
#ifndef TASK_STREAM_H
#define TASK_STREAM_H

#include "base/buf.h"
#include "task/task.h"
#include <sys/uio.h>

struct stream; /* opaque */

/* What carries the bytes. read/write return bytes moved (> 0), 0 at end of file (read), or -1 with errno; on EAGAIN
 * *want tells which readiness to wait for (TASK_READ or TASK_WRITE; TLS may want the other one). */
struct transport {
	ssize_t (*read)(void *state, void *buf, size_t n, int *want);
	ssize_t (*writev)(void *state, const struct iovec *iov, int count, int *want);
	void (*shutdown)(void *state); /* close_notify or nothing; never waits */
	void (*close)(void *state);    /* frees state */
	void *state;
};

#define STREAM_IN_BYTES	 8192 /* allocated while there is unread input only: an idle stream holds no buffers */
#define STREAM_OUT_BYTES 16384

struct stream *stream_new(int fd);    /* takes over fd (made non-blocking); closed by stream_close() */
void stream_close(struct stream **s); /* does not flush; frees; leaves NULL. NULL is fine */
int stream_fd(const struct stream *s);
/* Detaches the descriptor from a plain stream: returns it, the stream can only be closed after. Unread input stays in the stream. */
int stream_release_fd(struct stream *s);
MUST_CHECK enum rc stream_set_transport(struct stream *s, const struct transport *t);
bool stream_has_input(
    struct stream *s); /* unread bytes are buffered, or ready in the transport; never waits */
size_t stream_buffered(const struct stream *s);
void stream_drop_input(struct stream *s);

/* One line with its end removed; valid until the next call on this stream. Only LF ends a line; *crlf (may be NULL)
 * tells whether CR stood before it. A line longer than max bytes: RC_LIMIT, and the next call goes on after it.
 * errors   RC_EOF (also for a last line without end), RC_TIMEOUT, RC_LIMIT, RC_SYS */
MUST_CHECK enum rc stream_line(struct stream *s, struct span *line, size_t max, bool *crlf, deadline_t d,
			       struct err *e);
/* At least one byte, at most what is buffered; does not consume. */
MUST_CHECK enum rc stream_peek(struct stream *s, struct span *avail, deadline_t d, struct err *e);
void stream_consume(struct stream *s, size_t n);
/* Exactly n bytes into dst. */
MUST_CHECK enum rc stream_read_exact(struct stream *s, void *dst, size_t n, deadline_t d, struct err *e);

/* Writing waits only when the output buffer is full; `stream_set_write_timeout` bounds that wait (default 300 s).
 * After the first failure all further writes are dropped and stream_flush() reports it. */
void stream_set_write_timeout(struct stream *s, int64_t timeout_s);
void stream_write(struct stream *s, struct span data);
void stream_puts(struct stream *s, const char *cstr);
void stream_printf(struct stream *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
MUST_CHECK enum rc stream_flush(struct stream *s, deadline_t d, struct err *e);
/* Bytes of file `fd` from `off`: sendfile where the transport is plain, else read and written. Flushes first. */
MUST_CHECK enum rc stream_sendfile(struct stream *s, int fd, int64_t off, int64_t n, deadline_t d,
				   struct err *e);
/* Both directions until one side ends (RC_OK; what it had sent was passed on first): what the login fronts do after
 * log-in. idle_s without a byte: RC_TIMEOUT. Output that was buffered is flushed first. */
MUST_CHECK enum rc stream_relay(struct stream *a, struct stream *b, int64_t idle_s, struct err *e);
uint64_t stream_bytes_in(const struct stream *s);
uint64_t stream_bytes_out(const struct stream *s);

#endif
