/* postern.index: a log of records that, applied in order, gives the list of messages.
 *
 *   file    "PIDX" | version u32 | uidvalidity u32 | generation u32 | crc32c u32, then records
 *   record  crc32c u32 (of what follows) | type u16 | length u16 of the body | body
 *
 * Writers append under the lock with one write; readers who meet a record that is cut or whose checksum is
 * wrong take the whole file for lost: it is made anew from the mailbox. Nothing is synced: after a power
 * failure the same happens. All integers little endian. */
#include "base/codec.h"
#include "store/box.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define INDEX_VERSION 1
#define HEADER_BYTES  20
#define RECORD_BYTES  8
#define INDEX_MAX     (1u << 30)

enum record_type { R_ADD = 1, R_FLAGS, R_EXPUNGE, R_STATE, R_KEYWORD, R_INFO };

/* ---- little-endian pieces ---- */
static void put(struct buf *b, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		buf_putc(b, (char)(v >> (8 * i)));
}

struct in {
	struct span s;
	bool bad;
};

static uint64_t get(struct in *in, unsigned bytes)
{
	uint64_t v = 0;
	if (in->s.n < bytes) {
		in->bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)(unsigned char)in->s.p[i] << (8 * i);
	in->s = span_skip(in->s, bytes);
	return v;
}

/* ---- writing ---- */
static size_t begin(struct buf *b, enum record_type t)
{
	size_t at = b->n;
	put(b, 0, 4);
	put(b, t, 2);
	put(b, 0, 2);
	return at;
}

static void finish(struct buf *b, size_t at)
{
	if (!buf_ok(b))
		return;
	size_t len = b->n - at - RECORD_BYTES;
	b->p[at + 6] = (char)len;
	b->p[at + 7] = (char)(len >> 8);
	uint32_t crc = crc32c(0, span_make(b->p + at + 4, b->n - at - 4));
	for (unsigned i = 0; i < 4; i++)
		b->p[at + i] = (char)(crc >> (8 * i));
}

static void put_add(struct buf *b, const struct message *m, struct span name)
{
	size_t at = begin(b, R_ADD);
	put(b, m->uid, 4);
	put(b, m->flags, 4);
	put(b, m->keywords, 8);
	put(b, m->modseq, 8);
	put(b, m->size, 8);
	put(b, m->vsize, 8);
	put(b, (uint64_t)m->date_s, 8);
	put(b, m->pos, 8);
	put(b, m->cache_off, 8);
	put(b, m->where, 1);
	put(b, m->have, 1);
	buf_append(b, name);
	finish(b, at);
}

static void put_keyword(struct buf *b, const char *name, size_t i)
{
	size_t at = begin(b, R_KEYWORD);
	put(b, i, 1);
	buf_puts(b, name);
	finish(b, at);
}

static void put_state(struct buf *b, const struct box *x)
{
	size_t at = begin(b, R_STATE);
	put(b, x->uidnext, 4);
	put(b, x->modseq, 8);
	for (int i = 0; i < 2; i++) {
		put(b, x->stamp[i].ino, 8);
		put(b, (uint64_t)x->stamp[i].mtime_ns, 8);
		put(b, (uint64_t)x->stamp[i].size, 8);
	}
	put(b, x->uidlist.ino, 8);
	put(b, (uint64_t)x->uidlist.mtime_ns, 8);
	put(b, (uint64_t)x->uidlist.size, 8);
	put(b, x->uidlist_lines, 4);
	put(b, x->dirty, 1);
	finish(b, at);
}

void index_log_add(struct box *b, const struct message *m, struct span name)
{
	put_add(&b->log, m, name);
}

void index_log_flags(struct box *b, const struct message *m, struct span name)
{
	size_t at = begin(&b->log, R_FLAGS);
	put(&b->log, m->uid, 4);
	put(&b->log, m->flags, 4);
	put(&b->log, m->keywords, 8);
	put(&b->log, m->modseq, 8);
	put(&b->log, m->where, 1);
	buf_append(&b->log, name);
	finish(&b->log, at);
}

void index_log_expunge(struct box *b, uint32_t uid)
{
	size_t at = begin(&b->log, R_EXPUNGE);
	put(&b->log, uid, 4);
	finish(&b->log, at);
}

void index_log_info(struct box *b, const struct message *m)
{
	size_t at = begin(&b->log, R_INFO);
	put(&b->log, m->uid, 4);
	put(&b->log, m->vsize, 8);
	put(&b->log, m->cache_off, 8);
	put(&b->log, m->have, 1);
	finish(&b->log, at);
}

void index_log_keyword(struct box *b, size_t i)
{
	put_keyword(&b->log, b->keyword[i], i);
}

void index_log_state(struct box *b)
{
	put_state(&b->log, b);
}

static void put_header(struct buf *b, const struct box *x)
{
	uint32_t generation;
	random_bytes(&generation, sizeof(generation));
	buf_puts(b, "PIDX");
	put(b, INDEX_VERSION, 4);
	put(b, x->uidvalidity, 4);
	put(b, generation, 4);
	put(b, crc32c(0, span_make(b->p, b->n)), 4);
}

static void adopt_file(struct box *b, uint64_t bytes)
{
	char path[STORE_FILE_MAX];
	struct stat st;
	if (b->index_fd >= 0)
		close(b->index_fd);
	b->index_fd =
	    path_join(path, b->side, "postern.index") ? open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (b->index_fd >= 0 && fstat(b->index_fd, &st) == 0)
		b->index_ino = st.st_ino;
	b->index_applied = bytes;
}

static void write_whole(struct box *b)
{
	char path[STORE_FILE_MAX];
	struct buf out;
	struct err e;
	buf_init(&out, INDEX_MAX);
	put_header(&out, b);
	for (size_t i = 0; i < b->keywords; i++)
		put_keyword(&out, b->keyword[i], i);
	for (size_t i = 0; i < b->n; i++)
		put_add(&out, &b->msg[i], box_file_name(b, &b->msg[i]));
	put_state(&out, b);
	if (buf_ok(&out) && path_join(path, b->side, "postern.index") &&
	    file_replace(path, buf_span(&out), false, &e) == RC_OK)
		adopt_file(b, out.n);
	buf_release(&out);
	b->rewrite = false;
}

void index_write(struct box *b)
{
	if (b->log.n == 0 && !b->rewrite && b->index_fd >= 0)
		return;
	/* Three times what a fresh file would need: worth writing anew. */
	uint64_t fresh = HEADER_BYTES + (uint64_t)b->n * 140;
	if (b->rewrite || b->index_fd < 0 || !buf_ok(&b->log) ||
	    b->index_applied + b->log.n > 65536 + 3 * fresh) {
		write_whole(b);
	} else {
		ssize_t n = pwrite(b->index_fd, b->log.p, b->log.n, (off_t)b->index_applied);
		if (n == (ssize_t)b->log.n)
			b->index_applied += b->log.n;
		else
			b->rewrite = true; /* a torn record is ignored as damage, and replaced next time */
	}
	buf_reset(&b->log);
}

/* ---- reading ---- */
static bool name_ok(struct span s)
{
	return s.n > 0 && s.n < 256 && !memchr(s.p, '/', s.n) && !memchr(s.p, '\0', s.n);
}

static bool apply_add(struct box *b, struct in *in)
{
	struct message m = { .uid = (uint32_t)get(in, 4) };
	m.flags = (uint32_t)get(in, 4) & MSG_FLAGS;
	m.keywords = get(in, 8);
	m.modseq = get(in, 8);
	m.size = get(in, 8);
	m.vsize = get(in, 8);
	m.date_s = (int64_t)get(in, 8);
	m.pos = get(in, 8);
	m.cache_off = get(in, 8);
	m.where = (uint8_t)get(in, 1);
	m.have = (uint8_t)get(in, 1);
	if (in->bad || !m.uid || m.where > WHERE_CUR || !name_ok(in->s) ||
	    (b->n && b->msg[b->n - 1].uid >= m.uid))
		return false;
	if (b->n == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 64;
		b->msg = xrealloc(b->msg, b->cap * sizeof(*b->msg));
	}
	m.name_off = (uint32_t)b->names.n;
	m.name_len = (uint16_t)in->s.n;
	if (buf_append(&b->names, in->s) != RC_OK)
		return false;
	b->msg[b->n++] = m;
	if (m.uid >= b->uidnext)
		b->uidnext = m.uid + 1;
	if (m.modseq > b->modseq)
		b->modseq = m.modseq;
	return true;
}

static bool apply_flags(struct box *b, struct in *in)
{
	struct message *m = box_find(b, (uint32_t)get(in, 4));
	uint32_t flags = (uint32_t)get(in, 4) & MSG_FLAGS;
	uint64_t keywords = get(in, 8), modseq = get(in, 8);
	uint8_t where = (uint8_t)get(in, 1);
	if (in->bad || where > WHERE_CUR || !name_ok(in->s))
		return false;
	if (!m) /* expunged by a process whose record came first */
		return true;
	m->flags = flags;
	m->keywords = keywords;
	m->modseq = modseq;
	m->where = where;
	if (in->s.n > m->name_len) {
		m->name_off = (uint32_t)b->names.n;
		if (buf_append(&b->names, in->s) != RC_OK)
			return false;
	} else {
		memcpy(b->names.p + m->name_off, in->s.p, in->s.n);
	}
	m->name_len = (uint16_t)in->s.n;
	if (modseq > b->modseq)
		b->modseq = modseq;
	b->ring[b->ring_next++ % RING] = (struct change){ modseq, m->uid };
	return true;
}

static bool apply_state(struct box *b, struct in *in)
{
	uint32_t uidnext = (uint32_t)get(in, 4);
	uint64_t modseq = get(in, 8);
	struct stamp *s[3] = { &b->stamp[0], &b->stamp[1], &b->uidlist };
	for (int i = 0; i < 3; i++) {
		s[i]->ino = get(in, 8);
		s[i]->mtime_ns = (int64_t)get(in, 8);
		s[i]->size = (int64_t)get(in, 8);
	}
	b->uidlist_lines = get(in, 4);
	b->dirty = get(in, 1) != 0;
	if (uidnext > b->uidnext)
		b->uidnext = uidnext;
	if (modseq > b->modseq)
		b->modseq = modseq;
	return !in->bad;
}

static bool apply_keyword(struct box *b, struct in *in)
{
	char name[256];
	size_t i = get(in, 1);
	if (in->bad || i >= STORE_KEYWORDS_MAX || i > b->keywords ||
	    span_cstr(in->s, name, sizeof(name)) != RC_OK)
		return false;
	if (i == b->keywords)
		b->keyword[b->keywords++] = xstrdup(name);
	return true;
}

static bool apply_info(struct box *b, struct in *in)
{
	struct message *m = box_find(b, (uint32_t)get(in, 4));
	uint64_t vsize = get(in, 8), cache = get(in, 8);
	uint8_t have = (uint8_t)get(in, 1);
	if (!in->bad && m) {
		m->vsize = vsize;
		m->cache_off = cache;
		m->have = have;
	}
	return !in->bad;
}

static bool apply_one(struct box *b, unsigned type, struct in *in, uint32_t **gone, size_t *gones,
		      size_t *cap)
{
	switch (type) {
	case R_ADD:
		return apply_add(b, in);
	case R_FLAGS:
		return apply_flags(b, in);
	case R_STATE:
		return apply_state(b, in);
	case R_KEYWORD:
		return apply_keyword(b, in);
	case R_INFO:
		return apply_info(b, in);
	case R_EXPUNGE: /* collected: removing one by one from an array would be quadratic */
		if (*gones == *cap) {
			*cap = *cap ? *cap * 2 : 64;
			*gone = xrealloc(*gone, *cap * sizeof(**gone));
		}
		(*gone)[(*gones)++] = (uint32_t)get(in, 4);
		return !in->bad;
	default:
		return false;
	}
}

static void drop(struct box *b, const uint32_t *gone, size_t gones)
{
	size_t kept = 0;
	for (size_t i = 0; i < gones; i++) {
		struct message *m = box_find(b, gone[i]);
		if (m)
			m->flags |= MSG_RECENT; /* mark: never set otherwise */
	}
	for (size_t i = 0; i < b->n; i++)
		if (!(b->msg[i].flags & MSG_RECENT))
			b->msg[kept++] = b->msg[i];
	if (kept != b->n)
		b->expunges++;
	b->n = kept;
}

/* Applies records; false: damaged. */
static bool apply(struct box *b, struct span s)
{
	uint32_t *gone = NULL;
	size_t gones = 0, cap = 0;
	bool ok = true;
	while (s.n && ok) {
		struct in h = { s, false };
		uint32_t crc = (uint32_t)get(&h, 4);
		unsigned type = (unsigned)get(&h, 2);
		size_t len = get(&h, 2);
		ok = !h.bad && h.s.n >= len && crc32c(0, span_make(s.p + 4, 4 + len)) == crc;
		if (!ok)
			break;
		struct in body = { span_head(h.s, len), false };
		ok = apply_one(b, type, &body, &gone, &gones, &cap);
		s = span_skip(h.s, len);
	}
	if (gones)
		drop(b, gone, gones);
	free(gone);
	return ok;
}

static enum rc damaged(struct box *b)
{
	box_clear(b);
	b->rewrite = true;
	return RC_NOTFOUND;
}

/* Reads [from, end of file). */
static enum rc read_from(int fd, uint64_t from, struct buf *out, struct err *e)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return err_sys(e, "stat the index");
	if ((uint64_t)st.st_size < from || (uint64_t)st.st_size > INDEX_MAX)
		return RC_NOTFOUND;
	size_t want = (size_t)((uint64_t)st.st_size - from);
	char *p = want ? buf_reserve(out, want) : NULL;
	while (p && out->n < want) {
		ssize_t n = pread(fd, out->p + out->n, want - out->n, (off_t)(from + out->n));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		out->n += (size_t)n;
	}
	return RC_OK;
}

enum rc index_open(struct box *b, struct err *e)
{
	struct buf text;
	box_clear(b);
	adopt_file(b, 0);
	if (b->index_fd < 0)
		return damaged(b);
	buf_init(&text, INDEX_MAX);
	enum rc rc = read_from(b->index_fd, 0, &text, e);
	struct in h = { buf_span(&text), false };
	if (rc == RC_OK && span_starts(h.s, SPAN("PIDX")) && text.n >= HEADER_BYTES) {
		h.s = span_skip(h.s, 4);
		bool ok = get(&h, 4) == INDEX_VERSION;
		uint32_t validity = (uint32_t)get(&h, 4);
		get(&h, 4);
		ok = ok && crc32c(0, span_make(text.p, HEADER_BYTES - 4)) == (uint32_t)get(&h, 4) && validity;
		ok = ok && apply(b, h.s);
		b->uidvalidity = validity;
		b->index_applied = text.n;
		rc = ok ? RC_OK : damaged(b);
	} else {
		rc = damaged(b);
	}
	buf_release(&text);
	return rc;
}

enum rc index_catch_up(struct box *b, struct err *e)
{
	char path[STORE_FILE_MAX];
	struct stat st;
	struct buf text;
	if (b->index_fd < 0 || !path_join(path, b->side, "postern.index") || stat(path, &st) != 0)
		return index_open(b, e);
	if (st.st_ino != b->index_ino || (uint64_t)st.st_size < b->index_applied)
		return index_open(b, e);
	if ((uint64_t)st.st_size == b->index_applied)
		return RC_OK;
	buf_init(&text, INDEX_MAX);
	enum rc rc = read_from(b->index_fd, b->index_applied, &text, e);
	if (rc == RC_OK) {
		b->index_applied += text.n;
		if (!apply(b, buf_span(&text)))
			rc = damaged(b);
		b->changes++;
	}
	buf_release(&text);
	return rc;
}
