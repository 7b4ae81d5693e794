/* queue/qfile.c - building, reading and marking one image (qfile.h). */
#include "queue/qheader.h"
#include "base/codec.h"
#include "queue/msgsize.h"
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	     4096
#define CHUNK	     (64 * 1024)
#define EXTENT_BYTES 16

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static char status_byte(uint32_t generation, unsigned state)
{
	return (char)((generation & 63) << 2 | state);
}

/* What an earlier message of this slot left is TODO; what is no state at all, too: rather twice than never.
 */
static uint16_t status_state(uint32_t generation, char byte)
{
	unsigned char b = (unsigned char)byte;

	return b >> 2 == (generation & 63) && (b & 3) <= RCPT_BOUNCED ? b & 3 : RCPT_TODO;
}

static void put_le64(char *p, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (char)(v >> 8 * i);
}

static uint64_t get_le64(const char *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)(unsigned char)p[i] << 8 * i;
	return v;
}

/* ---- building ---- */

/* Everything behind the content: envelope, extents, further states; zeros to the end of the page. The log
 * begins at the page's end. */
struct tail {
	char *p;
	size_t n;
};

static size_t states_beyond(size_t rcpts)
{
	return rcpts > QFILE_STATUS_IN_PLACE ? rcpts - QFILE_STATUS_IN_PLACE : 0;
}

static enum rc build_tail(const struct envelope *env, const struct qextent *extent, size_t extents,
			  struct qheader *h, struct arena *a, struct tail *t)
{
	size_t beyond = states_beyond(env->rcpts.n), used;
	struct buf b;

	buf_init(&b, QENVELOPE_MAX);
	if (extents > QEXTENTS_MAX || envelope_encode(env, &b) != RC_OK || !buf_ok(&b)) {
		buf_release(&b);
		return RC_LIMIT;
	}
	used = b.n + extents * EXTENT_BYTES + beyond;
	h->env_off = QFILE_CONTENT_OFF + h->content_bytes;
	h->log_off = round_up(h->env_off + used, PAGE);
	t->n = (size_t)(h->log_off - h->env_off);
	t->p = arena_alloc(a, t->n);
	memcpy(t->p, b.p, b.n);
	h->env_bytes = (uint32_t)b.n;
	h->env_crc = crc32c(0, buf_span(&b));
	buf_release(&b);
	h->extents_off = h->env_off + h->env_bytes;
	h->extents = (uint32_t)extents;
	for (size_t i = 0; i < extents; i++) {
		put_le64(t->p + h->env_bytes + i * EXTENT_BYTES, extent[i].off);
		put_le64(t->p + h->env_bytes + i * EXTENT_BYTES + 8, extent[i].len);
	}
	h->extents_crc = crc32c(0, span_make(t->p + h->env_bytes, extents * EXTENT_BYTES));
	h->status_off = beyond > 0 ? h->extents_off + extents * EXTENT_BYTES : 0;
	for (size_t i = 0; i < beyond; i++)
		t->p[h->env_bytes + extents * EXTENT_BYTES + i] =
		    status_byte(h->generation, envelope_rcpt(env, QFILE_STATUS_IN_PLACE + i)->state);
	return RC_OK;
}

static void build_first_page(const struct qheader *h, const struct envelope *env, char page[PAGE])
{
	size_t n = env->rcpts.n < QFILE_STATUS_IN_PLACE ? env->rcpts.n : QFILE_STATUS_IN_PLACE;

	qheader_write(h, page);
	for (size_t i = 0; i < n; i++)
		page[QFILE_STATUS_OFF + i] = status_byte(h->generation, envelope_rcpt(env, i)->state);
}

static enum rc init_header(struct qheader *h, const struct envelope *env, uint32_t generation)
{
	*h = (struct qheader){ .generation = generation, .state = QSTATE_LIVE, .env_flags = env->flags };
	h->rcpts = (uint32_t)env->rcpts.n;
	return qid_parse(env->qid, &h->qid) ? RC_OK : RC_SYNTAX;
}

enum rc qimage_build(const struct envelope *env, const struct span *content, size_t pieces,
		     uint32_t generation, struct arena *a, struct iovec iov[4], int *iovcnt, uint64_t *total)
{
	struct qheader h;
	struct tail t;
	char *page;
	enum rc rc;
	int n = 0;

	INVARIANT(pieces <= 2);
	if ((rc = init_header(&h, env, generation)) != RC_OK)
		return rc;
	for (size_t i = 0; i < pieces; i++) {
		h.content_bytes += content[i].n;
		h.content_crc = crc32c(h.content_crc, content[i]);
	}
	if ((rc = build_tail(env, NULL, 0, &h, a, &t)) != RC_OK)
		return rc;
	page = arena_alloc(a, PAGE);
	build_first_page(&h, env, page);
	iov[n++] = (struct iovec){ page, PAGE };
	for (size_t i = 0; i < pieces; i++)
		if (content[i].n > 0)
			iov[n++] = (struct iovec){ (void *)(uintptr_t)content[i].p, content[i].n };
	iov[n++] = (struct iovec){ t.p, t.n };
	*iovcnt = n;
	*total = h.log_off;
	return RC_OK;
}

static bool replace_cr(char *p, size_t n)
{
	bool any = false;

	for (char *cr = memchr(p, '\r', n); cr != NULL; cr = memchr(cr, '\r', n - (size_t)(cr - p))) {
		*cr = ' ';
		any = true;
	}
	return any;
}

/* What is done with the content while it is read for its checksum. */
struct on_the_way {
	bool fix_cr;
	const struct qextent *next, *end; /* of the message: what has not been counted yet */
	uint64_t content_bytes;
	struct span inserts;
	struct msgsize size;
};

/* The content at `at`, counted from its first byte, and the new text that the message has up to its end. */
static void count_chunk(struct on_the_way *w, uint64_t at, struct span chunk)
{
	for (; w->next < w->end; w->next++) {
		uint64_t from = w->next->off - QFILE_CONTENT_OFF, to = from + w->next->len,
			 chunk_end = at + chunk.n;

		if (from >= w->content_bytes) {
			msgsize_add(&w->size,
				    span_head(span_skip(w->inserts, (size_t)(from - w->content_bytes)),
					      (size_t)w->next->len));
			continue;
		}
		if (from < chunk_end && to > at)
			msgsize_add(&w->size,
				    span_skip(span_head(chunk, to < chunk_end ? (size_t)(to - at) : chunk.n),
					      from > at ? (size_t)(from - at) : 0));
		if (to > chunk_end)
			return;
	}
}

/* Checksum of a range of the file, and stray CR made spaces on the way. */
static enum rc sum_range(int fd, int64_t off, uint64_t n, struct on_the_way *w, uint32_t *crc, struct err *e)
{
	char *chunk = xmalloc(CHUNK);
	uint64_t at = 0;
	enum rc rc = RC_OK;

	while (n > 0 && rc == RC_OK) {
		size_t now = n < CHUNK ? (size_t)n : CHUNK;

		if ((rc = pread_all(fd, chunk, now, off, e)) != RC_OK)
			break;
		if (w->fix_cr && replace_cr(chunk, now))
			rc = pwrite_all(fd, chunk, now, off, e);
		*crc = crc32c(*crc, span_make(chunk, now));
		count_chunk(w, at, span_make(chunk, now));
		at += now;
		off += (int64_t)now;
		n -= now;
	}
	free(chunk);
	return rc;
}

enum rc qimage_complete(int fd, const struct envelope *env, uint64_t content_bytes, struct span inserts,
			const struct qextent *extent, size_t extents, bool stray_cr, bool count,
			struct err *e)
{
	struct envelope sized = *env;
	const struct qextent whole = { QFILE_CONTENT_OFF, content_bytes }, *x = extents > 0 ? extent : &whole;
	struct on_the_way way = { .fix_cr = stray_cr,
				  .next = count ? x : NULL,
				  .end = count ? x + (extents > 0 ? extents : 1) : NULL,
				  .content_bytes = content_bytes,
				  .inserts = inserts };
	struct arena a;
	struct qheader h;
	struct tail t;
	char *page;
	enum rc rc;

	arena_init(&a);
	if ((rc = init_header(&h, env, 1)) != RC_OK) {
		err_set(e, rc, "no queue id");
		goto done;
	}
	if ((rc = sum_range(fd, QFILE_CONTENT_OFF, content_bytes, &way, &h.content_crc, e)) != RC_OK)
		goto done;
	count_chunk(&way, content_bytes, SPAN_NONE);
	if (count)
		sized.size = way.size.bytes;
	h.content_crc = crc32c(h.content_crc, inserts);
	h.content_bytes = content_bytes + inserts.n;
	if (inserts.n > 0 && (rc = pwrite_all(fd, inserts.p, inserts.n,
					      (int64_t)(QFILE_CONTENT_OFF + content_bytes), e)) != RC_OK)
		goto done;
	if ((rc = build_tail(&sized, extent, extents, &h, &a, &t)) != RC_OK) {
		err_set(e, rc, "the envelope is too large");
		goto done;
	}
	if ((rc = pwrite_all(fd, t.p, t.n, (int64_t)h.env_off, e)) != RC_OK)
		goto done;
	if (ftruncate(fd, (off_t)h.log_off) != 0) { /* a client may have sent more than it counted */
		rc = err_sys(e, "truncate");
		goto done;
	}
	page = arena_alloc(&a, PAGE);
	build_first_page(&h, &sized, page);
	rc = pwrite_all(fd, page, PAGE, 0, e);
done:
	arena_release(&a);
	return rc;
}

/* ---- reading ---- */

static bool inside(uint64_t off, uint64_t n, uint64_t end)
{
	return off <= end && n <= end - off;
}

static enum rc check_offsets(const struct qheader *h, uint64_t end, struct err *e)
{
	size_t beyond = states_beyond(h->rcpts);

	if (!inside(QFILE_CONTENT_OFF, h->content_bytes, end) || h->env_bytes > QENVELOPE_MAX ||
	    !inside(h->env_off, h->env_bytes, end) || h->env_off < QFILE_CONTENT_OFF + h->content_bytes ||
	    h->extents > QEXTENTS_MAX || !inside(h->extents_off, (uint64_t)h->extents * EXTENT_BYTES, end) ||
	    h->rcpts > ENV_RCPT_MAX || (beyond > 0 && !inside(h->status_off, beyond, end)) ||
	    !inside(h->log_off, 0, end) || h->log_off < h->env_off + h->env_bytes)
		return err_set(e, RC_SYNTAX, "an offset of the header points outside of the file");
	return RC_OK;
}

static enum rc read_sound(int fd, int64_t off, size_t n, uint32_t crc, const char *what, struct arena *a,
			  struct span *out, struct err *e)
{
	char *p = arena_alloc(a, n > 0 ? n : 1);
	enum rc rc = pread_all(fd, p, n, off, e);

	if (rc != RC_OK)
		return rc;
	*out = span_make(p, n);
	if (crc32c(0, *out) != crc)
		return err_set(e, RC_SYNTAX, "the checksum of the %s is wrong", what);
	return RC_OK;
}

static enum rc read_extents(int fd, int64_t base, const struct qheader *h, struct arena *a,
			    struct qimage *out, struct err *e)
{
	struct span s;
	enum rc rc = read_sound(fd, base + (int64_t)h->extents_off, h->extents * EXTENT_BYTES, h->extents_crc,
				"extents", a, &s, e);

	if (rc != RC_OK)
		return rc;
	out->extents = h->extents > 0 ? h->extents : 1;
	out->extent = arena_array(a, out->extents, sizeof(*out->extent));
	out->extent[0] = (struct qextent){ QFILE_CONTENT_OFF, h->content_bytes };
	for (size_t i = 0; i < h->extents; i++) {
		struct qextent *x = &out->extent[i];

		*x = (struct qextent){ get_le64(s.p + i * EXTENT_BYTES),
				       get_le64(s.p + i * EXTENT_BYTES + 8) };
		if (x->off < QFILE_CONTENT_OFF ||
		    !inside(x->off, x->len, QFILE_CONTENT_OFF + h->content_bytes))
			return err_set(e, RC_SYNTAX, "extent %zu lies outside of the content", i);
	}
	out->content_bytes = 0;
	for (size_t i = 0; i < out->extents; i++) /* at most QEXTENTS_MAX times the file: no overflow */
		out->content_bytes += out->extent[i].len;
	return RC_OK;
}

static enum rc apply_states(int fd, int64_t base, const struct qheader *h, struct arena *a,
			    struct qimage *out, struct err *e)
{
	size_t beyond = states_beyond(h->rcpts), here = h->rcpts - beyond;
	char *p = arena_alloc(a, h->rcpts > 0 ? h->rcpts : 1);
	enum rc rc = pread_all(fd, p, here, base + QFILE_STATUS_OFF, e);

	if (rc == RC_OK && beyond > 0)
		rc = pread_all(fd, p + here, beyond, base + (int64_t)h->status_off, e);
	for (size_t i = 0; rc == RC_OK && i < h->rcpts; i++)
		envelope_rcpt(&out->env, i)->state = status_state(h->generation, p[i]);
	return rc;
}

static enum rc read_envelope(int fd, int64_t base, const struct qheader *h, struct arena *a,
			     struct qimage *out, struct err *e)
{
	enum rc rc = read_sound(fd, base + (int64_t)h->env_off, h->env_bytes, h->env_crc, "envelope", a,
				&out->envelope, e);

	if (rc != RC_OK || (rc = envelope_decode(out->envelope, a, &out->env, e)) != RC_OK)
		return rc;
	if (out->env.rcpts.n != h->rcpts)
		return err_set(e, RC_SYNTAX, "the envelope has %zu recipients, the header %u",
			       out->env.rcpts.n, h->rcpts);
	if (!span_eq(out->env.qid, qid_span(&h->qid)))
		return err_set(e, RC_SYNTAX, "header and envelope differ in the queue id");
	if (h->env_flags != UINT32_MAX)
		out->env.flags = h->env_flags;
	return apply_states(fd, base, h, a, out, e);
}

enum rc qimage_read(int fd, int64_t base, uint64_t max_bytes, bool check_content, struct arena *a,
		    struct qimage *out, struct err *e)
{
	struct on_the_way way = { 0 };
	struct qheader h;
	struct stat st;
	uint32_t crc = 0;
	enum rc rc;

	*out = (struct qimage){ 0 };
	if (fstat(fd, &st) != 0)
		return err_sys(e, "stat");
	if (st.st_size < base + QFILE_CONTENT_OFF)
		return err_set(e, RC_SYNTAX, "the file ends early");
	if (max_bytes > (uint64_t)(st.st_size - base))
		max_bytes = (uint64_t)(st.st_size - base);
	if ((rc = qheader_load(fd, base, &h, e)) != RC_OK)
		return rc;
	if (h.state == QSTATE_DONE) {
		out->done = true;
		out->generation = h.generation;
		return err_set(e, RC_GONE, "done");
	}
	out->qid = h.qid;
	out->generation = h.generation;
	if ((rc = check_offsets(&h, max_bytes, e)) != RC_OK ||
	    (rc = read_envelope(fd, base, &h, a, out, e)) != RC_OK ||
	    (rc = read_extents(fd, base, &h, a, out, e)) != RC_OK)
		return rc;
	out->next_try_us = h.next_try_us;
	out->attempts = h.attempts;
	out->stored_bytes = h.content_bytes;
	out->status_off = h.status_off;
	out->log_off = h.log_off;
	if (!check_content)
		return RC_OK;
	rc = sum_range(fd, base + QFILE_CONTENT_OFF, h.content_bytes, &way, &crc, e);
	if (rc == RC_OK && crc != h.content_crc)
		rc = err_set(e, RC_SYNTAX, "the checksum of the content is wrong");
	return rc;
}

enum rc qimage_pread(int fd, int64_t base, const struct qimage *im, uint64_t off, void *dst, size_t n,
		     struct err *e)
{
	char *to = dst;

	for (size_t i = 0; i < im->extents && n > 0; i++) {
		const struct qextent *x = &im->extent[i];
		size_t now;
		enum rc rc;

		if (off >= x->len) {
			off -= x->len;
			continue;
		}
		now = x->len - off < n ? (size_t)(x->len - off) : n;
		if ((rc = pread_all(fd, to, now, base + (int64_t)(x->off + off), e)) != RC_OK)
			return rc;
		to += now;
		n -= now;
		off = 0;
	}
	return n == 0 ? RC_OK : RC_EOF;
}

/* ---- marks ---- */

enum rc qimage_mark(int fd, int64_t base, const struct qimage *im, uint32_t rcpt, enum rcpt_state st,
		    struct err *e)
{
	char byte = status_byte(im->generation, st);
	int64_t off = QFILE_STATUS_OFF + (int64_t)rcpt;

	INVARIANT(rcpt < im->env.rcpts.n);
	if (rcpt >= QFILE_STATUS_IN_PLACE)
		off = (int64_t)im->status_off + rcpt - QFILE_STATUS_IN_PLACE;
	return pwrite_all(fd, &byte, 1, base + off, e);
}

static enum rc write_mutable(int fd, int64_t base, const struct qheader *h, struct err *e)
{
	char bytes[QHEADER_MUTABLE_BYTES];

	qheader_write_mutable(h, bytes);
	return pwrite_all(fd, bytes, sizeof(bytes), base + QHEADER_MUTABLE, e);
}

enum rc qimage_mark_done(int fd, int64_t base, struct err *e)
{
	struct qheader h;
	enum rc rc = qheader_load(fd, base, &h, e);

	if (rc != RC_OK)
		return rc;
	h.state = QSTATE_DONE;
	return write_mutable(fd, base, &h, e);
}

enum rc qimage_schedule(int fd, int64_t base, int64_t next_try_us, uint32_t attempts, uint32_t env_flags,
			struct err *e)
{
	struct qheader h;
	enum rc rc = qheader_load(fd, base, &h, e);

	if (rc != RC_OK)
		return rc;
	h.next_try_us = next_try_us;
	h.attempts = attempts;
	h.env_flags = env_flags;
	return write_mutable(fd, base, &h, e);
}
