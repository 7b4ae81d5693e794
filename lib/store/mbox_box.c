/* An mbox file as a folder: parsed as a whole when strangers changed it, from the former end when it only
 * grew.
 *
 * A message is recognised by a fingerprint of its bytes without the fields that readers write (Status: and
 * the like). Flags and UIDs are kept in the index and written into the file when it is rewritten: at expunge,
 * and at the last close after a change. A rewrite goes through a journal beside the index: new content,
 * synced; then the file in place; then the journal is removed. A crash in between is repaired from the
 * journal by the next one who opens the folder. */
#include "base/codec.h"
#include "store/box.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define MBOX_MAX     ((uint64_t)4 << 30)
#define JOURNAL_NAME "postern.mbox-journal"

static const struct store_lock reader_lock = {
	.fcntl = true,
	.dotlock = true,
	.attempts = 50,
	.delay_ms = 100,
	.stale_s = 500,
};

struct parsed {
	uint64_t pos, end;	/* From_ line up to the next one (or the end of the file) */
	struct span head, body; /* head with the fields of readers still in it, empty line included */
	int64_t date_s;
	uint32_t flags, uid;
	uint64_t keywords;
	uint32_t base_validity, base_last; /* X-IMAPbase of the first message */
	uint64_t size, vsize;
	char print[17];
};

static bool own_field(struct span line)
{
	static const char *const names[] = { "Status:", "X-Status:",   "X-Keywords:",
					     "X-UID:",	"X-IMAPbase:", "X-IMAP:" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (span_starts_ci(line, span_str(names[i])))
			return true;
	return false;
}

static void take_flags(struct parsed *p, struct span value)
{
	static const struct {
		char letter;
		uint32_t flag;
	} letters[] = { { 'R', MSG_SEEN },
			{ 'A', MSG_ANSWERED },
			{ 'F', MSG_FLAGGED },
			{ 'D', MSG_DELETED },
			{ 'T', MSG_DRAFT } };
	for (size_t i = 0; i < value.n; i++)
		for (size_t j = 0; j < ARRAY_LEN(letters); j++)
			if (value.p[i] == letters[j].letter)
				p->flags |= letters[j].flag;
}

static void take_own(struct box *b, struct parsed *p, struct span line)
{
	struct span rest = line, name, w;
	uint64_t v, last;
	if (!span_next(&rest, ':', &name))
		return;
	rest = span_trim(rest);
	if (span_is_ci(name, "Status") || span_is_ci(name, "X-Status")) {
		take_flags(p, rest);
	} else if (span_is_ci(name, "X-UID")) {
		if (span_to_u64(rest, UINT32_MAX - 1, &v) == RC_OK)
			p->uid = (uint32_t)v;
	} else if (span_is_ci(name, "X-Keywords")) {
		while (span_next_word(&rest, " \t", &w)) {
			int bit = box_keyword(b, w, true);
			if (bit >= 0)
				p->keywords |= 1ull << bit;
		}
	} else if (span_next_word(&rest, " \t", &w) && span_to_u64(w, UINT32_MAX, &v) == RC_OK &&
		   span_next_word(&rest, " \t", &w) && span_to_u64(w, UINT32_MAX - 1, &last) == RC_OK) {
		p->base_validity = (uint32_t)v;
		p->base_last = (uint32_t)last;
	}
}

static uint64_t lone_lf(struct span s)
{
	uint64_t n = 0;
	for (const char *p = s.p, *end = s.p + s.n, *lf; p < end && (lf = memchr(p, '\n', (size_t)(end - p)));
	     p = lf + 1)
		n += lf == s.p || lf[-1] != '\r';
	return n;
}

/* Goes over the header line by line; keep() gets the pieces that clients see. */
static void each_kept(struct box *b, struct parsed *p, void (*keep)(void *arg, struct span s), void *arg)
{
	struct span rest = p->head;
	bool dropping = false;
	while (rest.n) {
		ptrdiff_t nl = span_chr(rest, '\n');
		size_t n = nl < 0 ? rest.n : (size_t)nl + 1;
		struct span line = span_head(rest, n);
		rest = span_skip(rest, n);
		bool folded = line.p[0] == ' ' || line.p[0] == '\t';
		if (!folded) {
			dropping = own_field(line);
			if (dropping && b)
				take_own(b, p, line);
		}
		if (!dropping)
			keep(arg, line);
	}
}

struct sum {
	uint64_t size, vsize, hash;
};
static void sum_up(void *arg, struct span s)
{
	struct sum *t = arg;
	t->size += s.n;
	t->vsize += s.n + lone_lf(s);
	for (size_t i = 0; i < s.n; i++)
		t->hash = (t->hash ^ (unsigned char)s.p[i]) * 0x100000001b3u;
}

static bool is_from(struct span text, size_t at, struct span *line)
{
	struct span rest = span_skip(text, at);
	if (!span_starts(rest, SPAN("From ")) ||
	    (at > 1 && !(text.p[at - 1] == '\n' && text.p[at - 2] == '\n') &&
	     !(text.p[at - 1] == '\n' && text.p[at - 2] == '\r')))
		return false;
	ptrdiff_t nl = span_chr(rest, '\n');
	*line = span_head(rest, nl < 0 ? rest.n : (size_t)nl);
	return mbox_from_line(*line) >= 0;
}

static size_t next_from(struct span text, size_t at)
{
	struct span line;
	while (at < text.n) {
		const char *p = memmem(text.p + at, text.n - at, "\nFrom ", 6);
		if (!p)
			return text.n;
		at = (size_t)(p - text.p) + 1;
		if (is_from(text, at, &line))
			return at;
	}
	return text.n;
}

static void parse_one(struct box *b, struct span text, uint64_t base, size_t at, size_t end, struct parsed *p)
{
	struct span msg = span_make(text.p + at, end - at);
	struct sum t = { .hash = 0xcbf29ce484222325u };
	memset(p, 0, sizeof(*p));
	ptrdiff_t nl = span_chr(msg, '\n');
	struct span line = span_head(msg, nl < 0 ? msg.n : (size_t)nl);
	p->pos = base + at;
	p->end = base + end;
	p->date_s = mbox_from_line(line);
	msg = span_skip(msg, nl < 0 ? msg.n : (size_t)nl + 1);
	if (span_ends(msg, SPAN("\n\n"))) /* the empty line before the next From_ is not part of it */
		msg.n--;
	ptrdiff_t gap = span_find(msg, SPAN("\n\n"));
	size_t head = span_starts(msg, SPAN("\n")) ? 1 : gap < 0 ? msg.n : (size_t)gap + 2;
	p->head = span_head(msg, head);
	p->body = span_skip(msg, head);
	each_kept(b, p, sum_up, &t);
	sum_up(&t, p->body);
	p->size = t.size;
	p->vsize = t.vsize;
	snprintf(p->print, sizeof(p->print), "%016llx", (unsigned long long)t.hash);
}

/* ---- reading the file ---- */
static enum rc read_range(int fd, uint64_t from, uint64_t to, struct buf *out, struct err *e)
{
	size_t want = (size_t)(to - from);
	if (to - from > MBOX_MAX || !buf_reserve(out, want + 1))
		return err_set(e, RC_LIMIT, "mailbox file too large");
	while (out->n < want) {
		ssize_t n = pread(fd, out->p + out->n, want - out->n, (off_t)(from + out->n));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read the mailbox");
		if (n == 0)
			break;
		out->n += (size_t)n;
	}
	return RC_OK;
}

static void add_parsed(struct box *b, const struct parsed *p)
{
	struct message m = { .flags = p->flags,
			     .keywords = p->keywords,
			     .size = p->size,
			     .vsize = p->vsize,
			     .date_s = p->date_s,
			     .pos = p->pos,
			     .where = WHERE_CUR,
			     .have = HAVE_VSIZE };
	m.uid = p->uid && p->uid >= b->uidnext ? p->uid : b->uidnext;
	m.modseq = ++b->modseq;
	box_add(b, &m, span_str(p->print));
}

/* The file only grew: the last message we know is where it was, unchanged. */
static bool only_grew(struct box *b, int fd, const struct stamp *now)
{
	struct buf text;
	struct parsed p;
	bool ok = false;
	size_t at = 0;
	if (!b->n || !b->stamp[0].ino || now->ino != b->stamp[0].ino || now->size <= b->stamp[0].size)
		return false;
	for (size_t i = 1; i < b->n; i++)
		if (b->msg[i].pos > b->msg[at].pos)
			at = i;
	if (b->msg[at].pos >= (uint64_t)b->stamp[0].size)
		return false;
	buf_init(&text, MBOX_MAX);
	if (read_range(fd, b->msg[at].pos, (uint64_t)b->stamp[0].size + 5, &text, NULL) == RC_OK &&
	    text.n > 5) {
		struct span s = buf_span(&text);
		s.n -= 5;
		ok = memcmp(s.p + s.n, "From ", 5) == 0 && span_starts(s, SPAN("From "));
		if (ok) {
			parse_one(NULL, s, 0, 0, s.n, &p);
			ok = span_is(box_file_name(b, &b->msg[at]), p.print);
		}
	}
	buf_release(&text);
	return ok;
}

/* Every message of text; those from `known` on are matched by fingerprint. */
static void take_all(struct box *b, struct span text, uint64_t base, bool match)
{
	struct table *by_print = table_new();
	size_t known = match ? b->n : 0;
	size_t *next = xcalloc(known + 1, sizeof(*next)); /* further messages with the same print */
	bool *gone = xcalloc(known + 1, sizeof(*gone));
	struct span line;
	for (size_t i = known; i-- > 0;) {
		gone[i] = true;
		next[i] = (size_t)(uintptr_t)table_set(by_print, box_file_name(b, &b->msg[i]),
						       (void *)(uintptr_t)(i + 1));
	}
	size_t at = is_from(text, 0, &line) ? 0 : next_from(text, 0);
	while (at < text.n) {
		struct parsed p;
		size_t end = next_from(text, at + 5);
		parse_one(b, text, base, at, end, &p);
		size_t i = (size_t)(uintptr_t)table_get(by_print, span_str(p.print));
		if (i) {
			if (next[i - 1])
				table_set(by_print, span_str(p.print), (void *)(uintptr_t)next[i - 1]);
			else
				table_del(by_print, span_str(p.print));
			gone[i - 1] = false;
			b->msg[i - 1].pos = p.pos;
			if (!b->dirty && (p.flags != (b->msg[i - 1].flags & 0x1f)))
				box_set_flags(b, &b->msg[i - 1], p.flags, b->msg[i - 1].keywords | p.keywords,
					      WHERE_CUR, span_str(p.print));
		} else {
			if (p.base_validity && !b->n && at == 0 && base == 0) {
				b->uidvalidity = p.base_validity;
				if (p.base_last >= b->uidnext && p.uid == 0)
					b->uidnext = p.base_last + 1;
			}
			add_parsed(b, &p);
		}
		at = end;
	}
	bool any = memchr(gone, 1, known) != NULL;
	if (any) {
		bool *all = xcalloc(b->n + 1, sizeof(*all));
		memcpy(all, gone, known * sizeof(*all));
		box_remove_marked(b, all);
		free(all);
	}
	if (match)
		b->rewrite = true; /* offsets moved */
	table_free(&by_print, NULL);
	free(next);
	free(gone);
}

static enum rc sync_fd(struct box *b, int fd, struct err *e)
{
	struct stat st;
	struct buf text;
	if (fstat(fd, &st) != 0)
		return err_sys(e, "stat %s", b->path);
	struct stamp now = { st.st_ino, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
			     st.st_size };
	bool fresh = !b->uidvalidity;
	if (!fresh && stamp_eq(&now, &b->stamp[0]))
		return RC_OK;
	if (fresh) {
		box_clear(b);
		b->uidvalidity = (uint32_t)wall_s(wall_now());
		b->rewrite = b->dirty = true;
	}
	uint64_t from = !fresh && only_grew(b, fd, &now) ? (uint64_t)b->stamp[0].size : 0;
	buf_init(&text, MBOX_MAX);
	enum rc rc = read_range(fd, from, (uint64_t)now.size, &text, e);
	if (rc == RC_OK) {
		take_all(b, buf_span(&text), from, from == 0);
		b->stamp[0] = now;
		index_log_state(b);
	}
	buf_release(&text);
	return rc;
}

/* ---- the journal ---- */
/* "PMBJ" | old size u64 | offset u64 | new size u64 | crc32c u32 of all that follows and precedes | bytes
 * from offset on */
#define JOURNAL_HEADER 32
static void put64(char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (char)(v >> (8 * i));
}
static uint64_t get64(const char *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v |= (uint64_t)(unsigned char)p[i] << (8 * i);
	return v;
}

static enum rc overwrite(int fd, struct span data, uint64_t off, uint64_t size, struct err *e)
{
	while (data.n) {
		ssize_t n = pwrite(fd, data.p, data.n, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, "write the mailbox");
		off += (uint64_t)n;
		data = span_skip(data, (size_t)n);
	}
	if (ftruncate(fd, (off_t)size) != 0 || fsync(fd) != 0)
		return err_sys(e, "sync the mailbox");
	return RC_OK;
}

static enum rc replay(struct box *b, int fd, struct err *e)
{
	char path[STORE_FILE_MAX];
	struct buf j;
	struct stat st;
	enum rc rc = RC_OK;
	if (!path_join(path, b->side, JOURNAL_NAME) || access(path, F_OK) != 0)
		return RC_OK;
	buf_init(&j, MBOX_MAX);
	if (file_read_all(path, MBOX_MAX, &j, e) == RC_OK && j.n >= JOURNAL_HEADER &&
	    memcmp(j.p, "PMBJ", 4) == 0 &&
	    crc32c(crc32c(0, span_make(j.p, 28)), span_make(j.p + 32, j.n - 32)) ==
		((uint32_t)(unsigned char)j.p[28] | (uint32_t)(unsigned char)j.p[29] << 8 |
		 (uint32_t)(unsigned char)j.p[30] << 16 | (uint32_t)(unsigned char)j.p[31] << 24) &&
	    fstat(fd, &st) == 0) {
		uint64_t old = get64(j.p + 4), off = get64(j.p + 12), size = get64(j.p + 20);
		uint64_t had =
		    old > size ? old : size; /* mail that came after the crash stands behind this */
		struct buf tail;
		buf_init(&tail, MBOX_MAX);
		buf_append(&tail, span_make(j.p + 32, j.n - 32));
		if ((uint64_t)st.st_size > had) {
			size_t n = tail.n;
			struct buf more;
			buf_init(&more, MBOX_MAX);
			rc = read_range(fd, had, (uint64_t)st.st_size, &more, e);
			buf_append(&tail, buf_span(&more));
			size += tail.n - n;
			buf_release(&more);
		}
		if (rc == RC_OK)
			rc = overwrite(fd, buf_span(&tail), off, size, e);
		buf_release(&tail);
	}
	buf_release(&j);
	if (rc == RC_OK)
		unlink(path);
	return rc;
}

static enum rc open_file(struct box *b, int *fd, struct mbox_lock *l, struct err *e)
{
	enum rc rc = mbox_open_locked(b->path, O_RDWR, &reader_lock, fd, l, e);
	if (rc == RC_OK && (rc = replay(b, *fd, e)) != RC_OK)
		mbox_unlock_close(fd, l);
	return rc;
}

enum rc mbox_sync(struct box *b, bool force, struct err *e)
{
	struct mbox_lock l;
	struct stamp now;
	int fd;
	if (!force && b->uidvalidity && stamp_get(b->path, &now) && stamp_eq(&now, &b->stamp[0]))
		return RC_OK;
	enum rc rc = open_file(b, &fd, &l, e);
	if (rc != RC_OK)
		return rc;
	if (force)
		b->stamp[0].mtime_ns--;
	rc = sync_fd(b, fd, e);
	mbox_unlock_close(&fd, &l);
	return rc;
}

static void collect(void *arg, struct span s)
{
	buf_append(arg, s);
}

enum rc mbox_read(struct box *b, const struct message *m, struct buf *out, struct err *e)
{
	struct buf text;
	struct parsed p;
	int fd = open(b->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return err_sys(e, "open %s", b->path);
	buf_init(&text, MBOX_MAX);
	/* The end is where the next one in the file begins: own fields make it longer than its size, by
	 * little. */
	uint64_t end = (uint64_t)b->stamp[0].size;
	for (size_t i = 0; i < b->n; i++)
		if (b->msg[i].pos > m->pos && b->msg[i].pos < end)
			end = b->msg[i].pos;
	enum rc rc = end > m->pos ? read_range(fd, m->pos, end, &text, e) : RC_GONE;
	close(fd);
	if (rc == RC_OK) {
		parse_one(NULL, buf_span(&text), m->pos, 0, text.n, &p);
		if (!span_is(box_file_name(b, m), p.print)) {
			rc = err_set(e, RC_GONE, "the mailbox was changed");
		} else {
			each_kept(NULL, &p, collect, out);
			buf_append(out, p.body);
		}
	}
	buf_release(&text);
	return rc;
}

/* ---- rewriting ---- */
static void put_own_fields(struct box *b, const struct message *m, bool first, struct buf *out)
{
	static const char letters[] = "_AFDT"; /* R is in Status: */
	char xs[8];
	size_t n = 0;
	if (first)
		buf_printf(out, "X-IMAPbase: %u %010u\n", b->uidvalidity, b->uidnext - 1);
	buf_printf(out, "X-UID: %u\nStatus: %sO\n", m->uid, m->flags & MSG_SEEN ? "R" : "");
	for (unsigned i = 1; i < 5; i++)
		if (m->flags & (1u << i))
			xs[n++] = letters[i];
	if (n)
		buf_printf(out, "X-Status: %.*s\n", (int)n, xs);
	if (!m->keywords)
		return;
	buf_puts(out, "X-Keywords:");
	for (size_t i = 0; i < b->keywords; i++)
		if (m->keywords & (1ull << i))
			buf_printf(out, " %s", b->keyword[i]);
	buf_putc(out, '\n');
}

/* Lines that begin with a blank and stand before all fields belong to none: behind one of ours they would be taken for a part of it. */
static size_t leading_folds(struct span head)
{
	size_t n = 0;
	while (n < head.n && (head.p[n] == ' ' || head.p[n] == '\t')) {
		ptrdiff_t nl = span_chr(span_skip(head, n), '\n');
		n = nl < 0 ? head.n : n + (size_t)nl + 1;
	}
	return n;
}

static void put_head(struct box *b, const struct message *m, struct parsed *p, bool first, struct buf *out)
{
	struct buf kept;
	buf_init(&kept, MBOX_MAX);
	each_kept(NULL, p, collect, &kept);
	size_t folds = leading_folds(buf_span(&kept));
	buf_append(out, span_head(buf_span(&kept), folds));
	if (folds > 0 && !span_ends(buf_span(out), SPAN("\n")))
		buf_putc(out, '\n');
	put_own_fields(b, m, first, out);
	buf_append(out, span_skip(buf_span(&kept), folds));
	buf_release(&kept);
}

struct order {
	uint64_t pos;
	size_t i;
};
static int by_pos(const void *x, const void *y)
{
	uint64_t a = ((const struct order *)x)->pos, b = ((const struct order *)y)->pos;
	return a < b ? -1 : a > b;
}

static enum rc build(struct box *b, struct span text, const bool *gone, struct buf *out, uint64_t *new_pos,
		     struct err *e)
{
	struct order *o = xcalloc(b->n + 1, sizeof(*o));
	enum rc rc = RC_OK;
	bool first = true;
	for (size_t i = 0; i < b->n; i++)
		o[i] = (struct order){ b->msg[i].pos, i };
	qsort(o, b->n, sizeof(*o), by_pos);
	for (size_t k = 0; k < b->n && rc == RC_OK; k++) {
		struct parsed p;
		size_t i = o[k].i;
		uint64_t end = k + 1 < b->n ? o[k + 1].pos : text.n;
		if (o[k].pos >= end || end > text.n) {
			rc = err_set(e, RC_AGAIN, "the mailbox was changed");
			break;
		}
		parse_one(NULL, text, 0, (size_t)o[k].pos, (size_t)end, &p);
		if (gone && gone[i])
			continue;
		new_pos[i] = out->n;
		struct span from = span_skip(text, (size_t)o[k].pos);
		ptrdiff_t nl = span_chr(from, '\n');
		buf_append(out, span_head(from, nl < 0 ? from.n : (size_t)nl + 1));
		put_head(b, &b->msg[i], &p, first, out);
		first = false;
		buf_append(out, p.body);
		if (!out->n || out->p[out->n - 1] != '\n')
			buf_putc(out, '\n');
		buf_putc(out, '\n');
	}
	free(o);
	return rc == RC_OK && !buf_ok(out) ? err_set(e, RC_LIMIT, "mailbox file too large") : rc;
}

static enum rc replace_content(struct box *b, int fd, struct span old, struct span new, struct err *e)
{
	char path[STORE_FILE_MAX], head[JOURNAL_HEADER] = "PMBJ";
	struct buf j;
	size_t same = 0;
	while (same < old.n && same < new.n &&old.p[same] == new.p[same])
		same++;
	struct span data = span_skip(new, same);
	put64(head + 4, old.n);
	put64(head + 12, same);
	put64(head + 20, new.n);
	uint32_t crc = crc32c(crc32c(0, span_make(head, 28)), data);
	for (int i = 0; i < 4; i++)
		head[28 + i] = (char)(crc >> (8 * i));
	if (!path_join(path, b->side, JOURNAL_NAME))
		return err_set(e, RC_LIMIT, "path too long");
	buf_init(&j, MBOX_MAX);
	buf_append(&j, span_make(head, sizeof(head)));
	buf_append(&j, data);
	enum rc rc = file_replace(path, buf_span(&j), true, e);
	buf_release(&j);
	if (rc == RC_OK && (rc = overwrite(fd, data, same, new.n, e)) == RC_OK)
		unlink(path);
	return rc;
}

enum rc mbox_rewrite(struct box *b, const bool *gone, struct err *e)
{
	struct mbox_lock l;
	struct buf text, out;
	struct stat st;
	int fd;
	enum rc rc = open_file(b, &fd, &l, e);
	if (rc != RC_OK)
		return rc;
	uint64_t *pos = xcalloc(b->n + 1, sizeof(*pos));
	buf_init(&text, MBOX_MAX);
	buf_init(&out, MBOX_MAX);
	if (fstat(fd, &st) != 0) {
		rc = err_sys(e, "stat %s", b->path);
	} else if (st.st_size != b->stamp[0].size ||
		   (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec != b->stamp[0].mtime_ns) {
		rc = err_set(e, RC_AGAIN, "the mailbox was changed at the same time");
	} else if ((rc = read_range(fd, 0, (uint64_t)st.st_size, &text, e)) == RC_OK &&
		   (rc = build(b, buf_span(&text), gone, &out, pos, e)) == RC_OK &&
		   (rc = replace_content(b, fd, buf_span(&text), buf_span(&out), e)) == RC_OK) {
		for (size_t i = 0; i < b->n; i++)
			b->msg[i].pos = pos[i];
		b->dirty = false;
		b->rewrite = true;
		if (!stamp_get(b->path, &b->stamp[0]))
			memset(&b->stamp[0], 0, sizeof(b->stamp[0]));
	}
	buf_release(&text);
	buf_release(&out);
	free(pos);
	mbox_unlock_close(&fd, &l);
	return rc;
}
