/* local/feed.c - converts content piece by piece. Lines end with LF inside the suite. */
#include "feed.h"
#include <errno.h>
#include <unistd.h>

#define CHUNK 32768

static const char from_[] = "From ";

void feed_start(struct feed *f, const struct user_run *q)
{
	*f = (struct feed){ .q = q, .eol = q->eol.n ? q->eol : SPAN("\n"), .line_start = true };
	buf_init(&f->ready, CHUNK * 20);
}

void feed_end(struct feed *f)
{
	buf_release(&f->ready);
}

/* The next raw bytes. */
static enum rc raw(struct feed *f, char *tmp, struct span *out, struct err *e)
{
	const struct extent_item *x = f->q->extents.v;

	if (f->q->fd < 0) {
		*out = span_head(span_skip(f->q->content, f->off), CHUNK);
		f->off += out->n;
		return out->n ? RC_OK : RC_EOF;
	}
	while (f->extent < f->q->extents.n && f->off >= x[f->extent].len) {
		f->extent++;
		f->off = 0;
	}
	if (f->extent >= f->q->extents.n)
		return RC_EOF;
	uint64_t left = x[f->extent].len - f->off;
	ssize_t n =
	    pread(f->q->fd, tmp, left < CHUNK ? (size_t)left : CHUNK, (off_t)(x[f->extent].off + f->off));
	if (n <= 0)
		return n < 0 ? err_sys(e, "read queue file") : err_set(e, RC_SYS, "queue file is too short");
	f->off += (uint64_t)n;
	*out = span_make(tmp, (size_t)n);
	return RC_OK;
}

static void put(struct feed *f, struct span s)
{
	(void)buf_append(&f->ready, s);
}

/* Bytes at the start of a line are held until it is known whether they are "From ". */
static void release_held(struct feed *f)
{
	put(f, f->held);
	f->held = SPAN_NONE;
	f->line_start = false;
}

static void put_line_end(struct feed *f)
{
	put(f, f->eol);
	f->line_start = true;
}

/* True while the byte is part of a line start that is not decided yet. */
static bool at_line_start(struct feed *f, char c)
{
	if ((f->q->flags & USER_RUN_DOT) && f->held.n == 0 && c == '.') {
		put(f, SPAN(".."));
		f->line_start = false;
		return true;
	}
	if (!(f->q->flags & USER_RUN_QUOTE) || c != from_[f->held.n]) {
		release_held(f);
		return false;
	}
	f->hold[f->held.n] = c;
	f->held = span_make(f->hold, f->held.n + 1);
	if (f->held.n == sizeof from_ - 1) {
		put(f, SPAN(">"));
		release_held(f);
	}
	return true;
}

static void convert(struct feed *f, struct span s)
{
	while (s.n > 0) {
		if (f->line_start && s.p[0] != '\n' && at_line_start(f, s.p[0])) {
			s = span_skip(s, 1);
			continue;
		}
		if (f->line_start)
			release_held(f);
		ptrdiff_t nl = span_chr(s, '\n');
		put(f, span_head(s, nl < 0 ? s.n : (size_t)nl));
		s = span_skip(s, nl < 0 ? s.n : (size_t)nl + 1);
		if (nl >= 0)
			put_line_end(f);
	}
}

static void finish(struct feed *f)
{
	if (f->held.n > 0)
		release_held(f);
	if (!f->line_start)
		put_line_end(f);
	if (f->q->flags & USER_RUN_BLANK)
		put_line_end(f);
	f->ended = true;
}

/* The head is ours: its From_ line is not quoted. */
static void put_head(struct feed *f)
{
	struct span rest = f->q->head, line;

	while (span_next(&rest, '\n', &line))
		if (line.n > 0 || rest.n > 0) {
			put(f, line);
			put(f, f->eol);
		}
	f->head_done = true;
}

enum rc feed_next(struct feed *f, struct span *chunk, struct err *e)
{
	char tmp[CHUNK];
	struct span s = SPAN_NONE;

	if (!f->head_done)
		put_head(f);
	while (f->taken >= f->ready.n) {
		f->taken = 0;
		buf_reset(&f->ready);
		if (f->ended)
			return RC_EOF;
		enum rc rc = raw(f, tmp, &s, e);
		if (rc == RC_OK)
			convert(f, s);
		else if (rc == RC_EOF)
			finish(f);
		else
			return rc;
	}
	*chunk = span_skip(buf_span(&f->ready), f->taken);
	return RC_OK;
}

void feed_taken(struct feed *f, size_t n)
{
	f->taken += n;
}
