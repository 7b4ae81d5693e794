/* content.c - the message's bytes, and how DATA wants them (RFC 5321 sections 2.3.8, 4.5.2): lines end with
 * CRLF, a leading dot is doubled, and no CR stands alone. CR and NUL inside a line become blanks, so that no
 * server, however it reads line ends, can find an end of data that is not ours. */
#include "client.h"
#include "base/codec.h"
#include "smtp/data_out.h"

#include <errno.h>
#include <unistd.h>

void content_open(struct content *c, const struct deliver *d, struct span qid)
{
	*c = (struct content){
		.all = d->content, .qid = qid, .fd = d->fd, .extent = d->extents.v, .extents = d->extents.n
	};
	content_rewind(c);
}

void content_rewind(struct content *c)
{
	c->next = c->fd < 0 ? c->all : SPAN_NONE;
	c->at = 0;
	c->off = 0;
}

void content_close(struct content *c)
{
	free(c->block);
	c->block = NULL;
}

struct read_job {
	int fd;
	char *p;
	size_t n;
	off_t off;
	ssize_t got;
	int error;
};

static void read_block(void *arg)
{
	struct read_job *j = arg;
	j->got = pread(j->fd, j->p, j->n, j->off);
	j->error = errno;
}

static enum rc next_block(struct content *c, struct span *piece, struct err *e)
{
	while (c->at < c->extents && c->off >= c->extent[c->at].len) {
		c->at++;
		c->off = 0;
	}
	if (c->at >= c->extents)
		return RC_EOF;
	uint64_t left = c->extent[c->at].len - c->off;
	if (c->block == NULL)
		c->block = xmalloc(CONTENT_BLOCK);
	struct read_job j = { c->fd,
			      c->block,
			      left < CONTENT_BLOCK ? (size_t)left : CONTENT_BLOCK,
			      (off_t)(c->extent[c->at].off + c->off),
			      0,
			      0 };
	task_offload(read_block, &j); /* the disk may take its time */
	if (j.got <= 0) {
		errno = j.got < 0 ? j.error : EIO;
		return err_sys(e, "queue file");
	}
	c->off += (uint64_t)j.got;
	*piece = span_make(c->block, (size_t)j.got);
	return RC_OK;
}

enum rc content_next(struct content *c, struct span *piece, struct err *e)
{
	if (c->fd >= 0)
		return next_block(c, piece, e);
	if (c->next.n == 0)
		return RC_EOF;
	*piece = span_head(c->next, CONTENT_BLOCK);
	c->next = span_skip(c->next, piece->n);
	return RC_OK;
}

enum rc content_whole(struct content *c, size_t max, struct buf *out, struct err *e)
{
	struct span piece;
	enum rc rc;
	buf_init(out, max);
	content_rewind(c);
	while ((rc = content_next(c, &piece, e)) == RC_OK)
		if (buf_append(out, piece) != RC_OK)
			return err_set(e, RC_LIMIT, "message too large to convert");
	return rc == RC_EOF ? RC_OK : rc;
}

enum rc content_is_8bit(struct content *c, bool *out, struct err *e)
{
	struct span piece;
	enum rc rc = RC_OK;
	*out = false;
	content_rewind(c);
	while (!*out && (rc = content_next(c, &piece, e)) == RC_OK)
		*out = !span_is_ascii(piece);
	content_rewind(c);
	return rc == RC_EOF ? RC_OK : rc;
}

uint64_t content_wire_bytes(const struct deliver *d, const struct envelope *env)
{
	uint64_t n = 0;
	const struct extent_item *x = d->extents.v;
	if (d->fd < 0) {
		struct span rest = d->content;
		n = rest.n;
		for (ptrdiff_t at; (at = span_chr(rest, '\n')) >= 0; n++)
			rest = span_skip(rest, (size_t)at + 1);
		return n;
	}
	for (size_t i = 0; i < d->extents.n; i++)
		n += x[i].len;
	return n > 0 ? n : env->size;
}

/* ---- to the wire ---- */

#define HEADER_MAX (16 * 1024 * 1024)

struct wire {
	struct data_out out;
	int64_t left_ms; /* smtp_per_request_deadline: what remains of the time; < 0: no such limit */
	mono_t since;
};

/* After a piece of n bytes: it has to leave within what is left of the time, to which the least rate adds something, up to
 * the whole of it again. */
static enum rc pace(struct wire *w, size_t n, struct err *e)
{
	if (w->left_ms < 0)
		return RC_OK;
	bool late = stream_flush(w->out.io, deadline_ms(w->left_ms), e) ==
		    RC_TIMEOUT; /* what else there is shows again */
	mono_t now = mono_now();
	int64_t gained = settings.min_rate > 0 ? (int64_t)n * 1000 / settings.min_rate : 0;
	w->left_ms += gained - mono_diff_ms(now, w->since);
	w->since = now;
	if (w->left_ms > settings.data_xfer_s * 1000)
		w->left_ms = settings.data_xfer_s * 1000;
	if (w->left_ms < 1)
		w->left_ms = 1;
	return late ? RC_TIMEOUT : RC_OK;
}

static enum rc put_paced(struct wire *w, struct span text, struct err *e)
{
	enum rc rc = RC_OK;
	while (rc == RC_OK && text.n > 0) {
		struct span piece = span_head(text, CONTENT_BLOCK);
		data_out(&w->out, piece);
		rc = pace(w, piece.n, e);
		text = span_skip(text, piece.n);
	}
	return rc;
}

static bool header_changes(void)
{
	return checks_of_header() || !maps_empty(settings.generic);
}

/* The header as it leaves, in `out`: the tables of checks first, then the addresses. */
static enum rc make_header(struct span qid, struct span header, struct buf *out, struct err *e)
{
	struct arena a;
	struct buf checked;
	enum rc rc = RC_OK;
	arena_init(&a);
	buf_init(&checked, HEADER_MAX);
	if (checks_of_header() && (rc = checks_header(qid, header, &a, &checked, e)) == RC_OK)
		header = buf_span(&checked);
	if (rc == RC_OK)
		rc = generic_header(header, &a, out, e);
	buf_release(&checked);
	arena_release(&a);
	return rc;
}

/* `piece` holds the header, or as much of it as there is. */
static enum rc put_first(struct wire *w, struct span qid, struct span piece, struct err *e)
{
	struct buf header;
	size_t n = header_length(piece);
	if (!header_changes() || n == 0 || n > piece.n) {
		return put_paced(w, piece, e);
	}
	buf_init(&header, HEADER_MAX);
	enum rc rc = make_header(qid, span_head(piece, n), &header, e);
	if (rc == RC_OK) {
		data_out(&w->out, buf_span(&header));
		rc = put_paced(w, span_skip(piece, n), e);
	}
	buf_release(&header);
	return rc;
}

/* What must see the whole message: 7-bit conversion, checks of parts and bodies. */
static enum rc send_whole(struct content *c, struct wire *w, bool seven, struct err *e)
{
	struct buf whole, converted, checked;
	enum rc rc = content_whole(c, CONVERT_MAX, &whole, e);
	struct span message = buf_span(&whole);
	buf_init(&converted, 4ULL * CONVERT_MAX);
	buf_init(&checked, 4ULL * CONVERT_MAX);
	if (rc == RC_OK && seven && (rc = convert_7bit(message, false, &converted, e)) == RC_OK)
		message = buf_span(&converted);
	if (rc == RC_OK && checks_of_body() && (rc = checks_message(c->qid, message, &checked, e)) == RC_OK)
		message = buf_span(&checked);
	if (rc == RC_OK)
		rc = put_first(w, c->qid, message, e);
	buf_release(&checked);
	buf_release(&converted);
	buf_release(&whole);
	return rc;
}

/* The header of a large message that does not fit its first block. */
static bool header_goes_on(struct span piece)
{
	return header_changes() && piece.n == CONTENT_BLOCK && header_length(piece) >= piece.n;
}

static enum rc send_pieces(struct content *c, struct wire *w, struct err *e)
{
	struct span piece;
	content_rewind(c);
	enum rc rc = content_next(c, &piece, e);
	if (rc == RC_OK && header_goes_on(piece))
		return send_whole(c, w, false, e);
	if (rc == RC_OK)
		rc = put_first(w, c->qid, piece, e);
	while (rc == RC_OK && (rc = content_next(c, &piece, e)) == RC_OK)
		rc = put_paced(w, piece, e);
	return rc == RC_EOF ? RC_OK : rc;
}

enum rc content_send(struct content *c, struct stream *io, bool seven, struct err *e)
{
	struct wire w = { .out = { .io = io, .line_limit = (size_t)settings.line_limit, .clean = true },
			  .left_ms = settings.per_request ? settings.data_xfer_s * 1000 : -1,
			  .since = mono_now() };
	enum rc rc = seven || checks_of_body() ? send_whole(c, &w, seven, e) : send_pieces(c, &w, e);
	if (rc == RC_OK)
		data_out_end(&w.out);
	return rc;
}
