/* task/stream_read.c - the reading side of a stream. Each read is tried before it is waited for. */
#include "task/stream_private.h"

#include <errno.h>

/* Before a read waits, the peer gets what it may be waiting for itself. */
static enum rc wait_for_input(struct stream *s, int want, deadline_t d, struct err *e)
{
	enum rc rc;

	if ((rc = stream_flush(s, d, e)) != RC_OK)
		return rc;
	rc = stream_wait(s, want, d);
	if (rc == RC_TIMEOUT)
		return err_set(e, RC_TIMEOUT, "timeout while reading");
	return rc == RC_OK ? RC_OK : err_sys(e, "wait for input");
}

/* What a read attempt came to; RC_AGAIN: nothing yet. */
static enum rc read_outcome(ssize_t got, struct err *e)
{
	if (got > 0)
		return RC_OK;
	if (got == 0)
		return err_set(e, RC_EOF, "connection closed by peer");
	return errno == EAGAIN ? RC_AGAIN : err_sys(e, "read");
}

enum rc stream_fill(struct stream *s, deadline_t d, struct err *e)
{
	int want = TASK_READ;
	enum rc rc;

	if (s->fd < 0)
		return err_set(e, RC_EOF, "the descriptor was given away");
	stream_be_fair(s);
	for (;;) {
		rc = RC_AGAIN;
		if (!s->drained) {
			ssize_t got;

			stream_in_room(s);
			got = stream_try_read(s, s->in + s->in_n, s->in_cap - s->in_n, &want);
			rc = read_outcome(got, e);
			if (rc == RC_OK)
				s->in_n += (size_t)got;
		}
		if (rc != RC_AGAIN)
			return rc;
		stream_in_release(s); /* a session that idles here holds no buffer */
		if ((rc = wait_for_input(s, want, d, e)) != RC_OK)
			return rc;
	}
}

/* Takes n bytes off the input; they stay in place until the next read. */
static void take(struct stream *s, size_t n)
{
	s->in_at += n;
}

static ptrdiff_t find_lf(const struct stream *s, size_t from)
{
	const char *start =
	    s->in != NULL ? s->in + s->in_at : ""; /* nothing is allocated while nothing is unread */
	const char *lf = from < stream_unread(s) ? memchr(start + from, '\n', stream_unread(s) - from) : NULL;

	return lf != NULL ? lf - start : -1;
}

/* Throws the rest of an overlong line away. */
static enum rc skip_rest(struct stream *s, deadline_t d, struct err *e)
{
	enum rc rc;

	while (s->skip_line) {
		ptrdiff_t lf = find_lf(s, 0);

		take(s, lf >= 0 ? (size_t)lf + 1 : stream_unread(s));
		s->skip_line = lf < 0;
		if (lf < 0 && (rc = stream_fill(s, d, e)) != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc line_too_long(struct stream *s, struct span *line, size_t max, struct err *e)
{
	ptrdiff_t lf = find_lf(s, 0);

	*line = span_make(s->in + s->in_at, max); /* its beginning, for the log */
	take(s, lf >= 0 ? (size_t)lf + 1 : stream_unread(s));
	s->skip_line = lf < 0;
	return err_set(e, RC_LIMIT, "line longer than %zu bytes", max);
}

enum rc stream_line(struct stream *s, struct span *line, size_t max, bool *crlf, deadline_t d, struct err *e)
{
	size_t scanned = 0;
	ptrdiff_t lf;
	enum rc rc;
	bool cr;

	if ((rc = skip_rest(s, d, e)) != RC_OK)
		return rc;
	while ((lf = find_lf(s, scanned)) < 0) {
		scanned = stream_unread(s);
		if (scanned > max && (scanned > max + 1 || s->in[s->in_n - 1] != '\r'))
			return line_too_long(s, line, max, e);
		if ((rc = stream_fill(s, d, e)) != RC_OK)
			return rc;
	}
	cr = lf > 0 && s->in[s->in_at + (size_t)lf - 1] == '\r';
	if (crlf != NULL)
		*crlf = cr;
	if ((size_t)lf - cr > max)
		return line_too_long(s, line, max, e);
	*line = span_make(s->in + s->in_at, (size_t)lf - cr);
	take(s, (size_t)lf + 1);
	return RC_OK;
}

enum rc stream_peek(struct stream *s, struct span *avail, deadline_t d, struct err *e)
{
	enum rc rc;

	if ((rc = skip_rest(s, d, e)) != RC_OK)
		return rc;
	if (stream_unread(s) == 0 && (rc = stream_fill(s, d, e)) != RC_OK)
		return rc;
	*avail = span_make(s->in + s->in_at, stream_unread(s));
	return RC_OK;
}

void stream_consume(struct stream *s, size_t n)
{
	INVARIANT(n <= stream_unread(s));
	take(s, n);
}

/* Large pieces go straight to their destination. */
static enum rc read_direct(struct stream *s, char *dst, size_t n, size_t *got_n, deadline_t d, struct err *e)
{
	int want = TASK_READ;
	enum rc rc = RC_AGAIN;

	if (s->fd < 0)
		return err_set(e, RC_EOF, "the descriptor was given away");
	stream_be_fair(s);
	for (;;) {
		if (!s->drained) {
			ssize_t got = stream_try_read(s, dst, n, &want);

			if ((rc = read_outcome(got, e)) != RC_AGAIN) {
				*got_n = got > 0 ? (size_t)got : 0;
				return rc;
			}
		}
		stream_in_release(s);
		if ((rc = wait_for_input(s, want, d, e)) != RC_OK)
			return rc;
	}
}

enum rc stream_read_exact(struct stream *s, void *dst, size_t n, deadline_t d, struct err *e)
{
	char *to = dst;
	enum rc rc;

	if ((rc = skip_rest(s, d, e)) != RC_OK)
		return rc;
	while (n != 0) {
		size_t got = stream_unread(s) < n ? stream_unread(s) : n;

		if (got != 0) {
			memcpy(to, s->in + s->in_at, got);
			take(s, got);
		} else if (n >= STREAM_IN_BYTES) {
			rc = read_direct(s, to, n, &got, d, e);
		} else {
			rc = stream_fill(s, d, e);
		}
		if (rc != RC_OK)
			return rc;
		to += got;
		n -= got;
	}
	return RC_OK;
}

size_t stream_buffered(const struct stream *s)
{
	return stream_unread(s);
}

void stream_drop_input(struct stream *s)
{
	take(s, stream_unread(s));
	stream_in_release(s);
}

bool stream_has_input(struct stream *s)
{
	int want;
	ssize_t got;

	if (stream_unread(s) != 0)
		return !s->skip_line;
	if (s->t.read == NULL || !s->last_full)
		return false;
	/* The transport may hold decrypted bytes that no event of the descriptor will announce: one look. */
	stream_in_room(s);
	got = stream_try_read(s, s->in + s->in_n, s->in_cap - s->in_n, &want);
	if (got > 0)
		s->in_n += (size_t)got;
	else
		stream_in_release(s); /* an end or an error shows again at the next read */
	return got > 0 && !s->skip_line;
}
