/* Delivery into an mbox file (mbox(5), RFC 4155): append under locks, sync, cut back on failure.
 *
 * A delivery that is repeated after a crash must not double. Messages stand in the order of their delivery
 * and each From_ line tells when that was, so an earlier attempt at this message can only be behind the last
 * one delivered before the message arrived at this host: the search goes backwards from the end until it
 * meets an older one, and does not begin when the file was last changed before that. Found is a message that
 * starts with the same prefix (Delivered-To names the recipient) and has the queue id in its header. A torn
 * one can only be the last of the file: it is cut off. */
#include "store/paths.h"
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define SENDER_MAX   400
#define HEADER_LOOK  65536 /* bytes of a header that are searched for the queue id */
#define DATE_GRACE_S 7200  /* From_ dates are local time: a change to or from summer time */

int64_t mbox_from_line(struct span line)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct span w, part[8];
	size_t n = 0;
	struct tm tm = { .tm_isdst = -1 };
	uint64_t day, year, hms[3];
	if (!span_starts(line, SPAN("From ")) || line.n > 1000)
		return -1;
	struct span rest = span_skip(line, 5);
	/* "sender Www Mmm dd hh:mm:ss yyyy" with an optional zone: look for the Mmm dd hh:mm run. */
	while (n < ARRAY_LEN(part) && span_next_word(&rest, " \t\r", &w))
		part[n++] = w;
	for (size_t i = 1; i + 3 < n; i++) {
		struct span t = part[i + 2], h;
		size_t k = 0;
		const char *mon = part[i].n == 3 ? memmem(months, 36, part[i].p, 3) : NULL;
		if (!mon || (mon - months) % 3 || span_to_u64(part[i + 1], 31, &day) != RC_OK)
			continue;
		hms[2] = 0;
		while (k < 3 && span_next(&t, ':', &h) && span_to_u64(h, 60, &hms[k]) == RC_OK)
			k++;
		if (k < 2 || (span_to_u64(part[i + 3], 9999, &year) != RC_OK &&
			      (i + 4 >= n || span_to_u64(part[i + 4], 9999, &year) != RC_OK)))
			continue;
		if (year < 1900)
			continue;
		tm.tm_mon = (int)((mon - months) / 3);
		tm.tm_mday = (int)day;
		tm.tm_year = (int)year - 1900;
		tm.tm_hour = (int)hms[0];
		tm.tm_min = (int)hms[1];
		tm.tm_sec = (int)hms[2];
		time_t r = mktime(&tm);
		return r < 0 ? 0 : r;
	}
	return -1;
}

static bool qid_in_header(struct span head, struct span qid)
{
	ptrdiff_t end = span_find(head, SPAN("\n\n"));
	if (end >= 0)
		head = span_head(head, (size_t)end);
	return qid.n && span_find(head, qid) >= 0;
}

/* First bytes of the content behind the prefix. */
static enum rc content_head(const struct store_delivery *m, char *out, size_t max, size_t *n, struct err *e)
{
	struct store_delivery bare = *m;
	struct content c;
	struct span chunk;
	enum rc rc = RC_OK;
	bare.prefix = SPAN_NONE;
	*n = 0;
	content_start(&c, &bare);
	while (*n < max && (rc = content_next(&c, &chunk, e)) == RC_OK) {
		chunk = span_head(chunk, max - *n);
		memcpy(out + *n, chunk.p, chunk.n);
		*n += chunk.n;
	}
	content_end(&c);
	return rc == RC_EOF ? RC_OK : rc;
}

static ssize_t read_at(int fd, char *out, size_t n, int64_t off)
{
	ssize_t r;
	do
		r = pread(fd, out, n, off);
	while (r < 0 && errno == EINTR);
	return r;
}

struct search {
	int fd;
	const struct store_delivery *m;
	struct span mark; /* prefix and, when the header has no queue id, X-Postern-Id */
	uint64_t expect;  /* bytes behind the From_ line when complete */
	int64_t found_at; /* offset of its From_ line, -1 none */
	bool complete;
	char *look; /* HEADER_LOOK bytes */
};

/* Judges the message whose From_ line starts at `at` and that ends before `end`. True: older than ours, stop.
 */
static bool judge(struct search *s, int64_t at, int64_t end, bool last)
{
	ssize_t n = read_at(s->fd, s->look, HEADER_LOOK, at);
	if (n <= 0)
		return false;
	struct span text =
	    span_make(s->look, (size_t)n < (size_t)(end - at) ? (size_t)n : (size_t)(end - at));
	ptrdiff_t nl = span_chr(text, '\n');
	if (nl < 0)
		nl = (ptrdiff_t)text.n - 1;
	int64_t date = mbox_from_line(span_head(text, (size_t)nl));
	if (date >= 0 && date + DATE_GRACE_S < s->m->arrival_us / 1000000)
		return true;
	struct span body = span_skip(text, (size_t)nl + 1);
	bool torn_prefix = last && body.n < s->mark.n;
	if (torn_prefix ? !span_starts(s->mark, body) : !span_starts(body, s->mark))
		return false;
	bool complete = (uint64_t)(end - at - nl - 1) >= s->expect;
	if (!qid_in_header(body, s->m->qid) && !(last && !complete && body.n < HEADER_LOOK / 2))
		return false;
	if (!complete && !qid_in_header(body, s->m->qid) && memmem(body.p, body.n, "\n\n", 2))
		return false; /* a whole header without our queue id is another message */
	if (complete || last) {
		s->found_at = at;
		s->complete = complete;
	}
	return s->found_at >= 0;
}

/* Backwards over the file in blocks, over every line start with "From ". */
static void search_back(struct search *s, int64_t size)
{
	enum { BLOCK = 65536 };
	char *buf = xmalloc(BLOCK + 8);
	int64_t end = size, hi = size;
	bool last = true;
	while (hi > 0) {
		int64_t lo = hi > BLOCK ? hi - BLOCK : 0;
		/* 6 more bytes: "\nFrom " across the border */
		ssize_t n = read_at(s->fd, buf, (size_t)(hi - lo) + 6, lo);
		if (n <= 0)
			break;
		for (ssize_t i = n - 5; i >= 0; i--) {
			bool line_start = i ? buf[i - 1] == '\n' : lo == 0;
			if (!line_start || lo + i >= end || memcmp(buf + i, "From ", 5) != 0)
				continue;
			if (judge(s, lo + i, end, last))
				goto done;
			end = lo + i;
			last = false;
		}
		if (lo == 0)
			break;
		hi = lo + 1; /* a line may start right at `lo`: seen with the byte before it */
		if (hi <= 1)
			break;
	}
done:
	free(buf);
}

/* The content with its From_ line and quoting, appended at the end. */
struct out {
	int fd; /* -1: only count */
	uint64_t bytes;
	bool line_start;
	size_t held; /* bytes of "From " matched at a line start and not written yet */
	char last;
	struct buf buf;
};

static enum rc out_flush(struct out *o, struct err *e)
{
	enum rc rc = o->fd >= 0 ? fd_write_all(o->fd, buf_span(&o->buf), e) : RC_OK;
	buf_reset(&o->buf);
	return rc;
}

static enum rc out_raw(struct out *o, struct span s, struct err *e)
{
	if (!s.n)
		return RC_OK;
	o->bytes += s.n;
	o->last = s.p[s.n - 1];
	if (o->fd < 0)
		return RC_OK;
	if (o->buf.n + s.n > CONTENT_CHUNK) {
		enum rc rc = out_flush(o, e);
		if (rc != RC_OK || s.n > CONTENT_CHUNK)
			return rc != RC_OK ? rc : fd_write_all(o->fd, s, e);
	}
	return buf_append(&o->buf, s);
}

static const struct span from_ = { "From ", 5 };

static enum rc out_quoted(struct out *o, struct span s, struct err *e)
{
	enum rc rc = RC_OK;
	while (s.n && rc == RC_OK) {
		if (o->line_start) { /* match byte by byte: the word may be cut by a chunk's end */
			if (s.p[0] == from_.p[o->held]) {
				s = span_skip(s, 1);
				if (++o->held < from_.n)
					continue;
				rc = out_raw(o, SPAN(">"), e);
			}
			if (rc == RC_OK)
				rc = out_raw(o, span_head(from_, o->held), e);
			o->held = 0;
			o->line_start = false;
			continue;
		}
		ptrdiff_t nl = span_chr(s, '\n');
		size_t n = nl < 0 ? s.n : (size_t)nl + 1;
		rc = out_raw(o, span_head(s, n), e);
		s = span_skip(s, n);
		o->line_start = nl >= 0;
	}
	return rc;
}

static enum rc out_message(struct out *o, const struct store_delivery *m, struct span extra, struct err *e)
{
	struct content c;
	struct span chunk;
	enum rc rc = RC_OK;
	bool prefixed = false;
	o->line_start = true;
	content_start(&c, m);
	if (!m->prefix.n && extra.n) {
		rc = out_quoted(o, extra, e);
		prefixed = true;
	}
	while (rc == RC_OK && (rc = content_next(&c, &chunk, e)) == RC_OK) {
		rc = out_quoted(o, chunk, e);
		if (!prefixed && rc == RC_OK)
			rc = out_quoted(o, extra, e);
		prefixed = true;
	}
	content_end(&c);
	if (rc != RC_EOF)
		return rc;
	rc = out_raw(o, span_head(from_, o->held), e);
	if (rc == RC_OK && o->last != '\n')
		rc = out_raw(o, SPAN("\n"), e);
	return rc == RC_OK ? out_raw(o, SPAN("\n"), e) : rc;
}

/* The message before us must end with an empty line, else ours would become part of it. */
static const char *gap(int fd, int64_t size)
{
	char tail[2] = "";
	if (size == 0)
		return "";
	if (size == 1)
		return read_at(fd, tail, 1, 0) == 1 && tail[0] == '\n' ? "" : "\n\n";
	if (read_at(fd, tail, 2, size - 2) != 2)
		return "";
	return tail[1] != '\n' ? "\n\n" : tail[0] != '\n' ? "\n" : "";
}

/* As one word, also of a quoted local part. */
static void sender_word(struct span sender, char out[SENDER_MAX])
{
	if (sender.n == 0 || sender.n >= SENDER_MAX)
		sender = SPAN("MAILER-DAEMON");
	for (size_t i = 0; i < sender.n; i++) {
		unsigned char c = (unsigned char)sender.p[i];
		out[i] = c == ' ' ? '-' : c < ' ' ? '?' : (char)c;
	}
	out[sender.n] = '\0';
}

static void from_line(const struct store_delivery *m, char *out, size_t size)
{
	char date[40], sender[SENDER_MAX];
	struct tm tm;
	time_t now = (time_t)wall_s(wall_now());
	localtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &tm);
	sender_word(m->sender, sender);
	snprintf(out, size, "From %s  %s\n", sender, date);
}

static enum rc append(int fd, int64_t size, const struct store_delivery *m, struct span extra,
		      struct store_delivered *out, struct err *e)
{
	struct out o = { .fd = fd };
	char line[512];
	enum rc rc;
	buf_init(&o.buf, 2 * CONTENT_CHUNK);
	from_line(m, line, sizeof(line));
	if (lseek(fd, size, SEEK_SET) < 0)
		rc = err_sys(e, "seek");
	else if ((rc = out_raw(&o, span_str(gap(fd, size)), e)) == RC_OK &&
		 (rc = out_raw(&o, span_str(line), e)) == RC_OK &&
		 (rc = out_message(&o, m, extra, e)) == RC_OK && (rc = out_flush(&o, e)) == RC_OK &&
		 fsync(fd) != 0)
		rc = err_sys(e, "fsync");
	out->bytes = o.bytes;
	buf_release(&o.buf);
	if (rc != RC_OK && ftruncate(fd, size) != 0)
		err_prefix(e, "and cannot cut the mailbox back");
	return rc;
}

static enum rc deliver_locked(const char *path, int fd, const struct store_delivery *m,
			      struct store_delivered *out, struct err *e)
{
	struct search s = { .fd = fd, .m = m, .found_at = -1 };
	struct out count = { .fd = -1 };
	struct arena a;
	struct stat st;
	struct span extra = SPAN_NONE;
	size_t n;
	arena_init(&a);
	s.look = xmalloc(HEADER_LOOK);
	enum rc rc = content_head(m, s.look, HEADER_LOOK, &n, e);
	if (rc == RC_OK && m->qid.n && !qid_in_header(span_make(s.look, n), m->qid))
		extra = span_printf(&a, "X-Postern-Id: " SPAN_FMT "\n", SPAN_ARG(m->qid));
	s.mark = span_printf(&a, SPAN_FMT SPAN_FMT, SPAN_ARG(m->prefix), SPAN_ARG(extra));
	if (rc == RC_OK)
		rc = out_message(&count, m, extra, e);
	s.expect = count.bytes;
	if (rc == RC_OK && fstat(fd, &st) != 0)
		rc = err_sys(e, "stat %s", path);
	if (rc != RC_OK)
		goto done;
	if (m->qid.n && st.st_mtime + 2 >= m->arrival_us / 1000000)
		search_back(&s, st.st_size);
	if (s.found_at >= 0 && s.complete) {
		out->repeated = true;
		rc = fsync(fd) == 0 ? RC_OK : err_sys(e, "fsync %s", path);
		goto done;
	}
	if (s.found_at >= 0) {
		if (ftruncate(fd, s.found_at) != 0) {
			rc = err_sys(e, "truncate %s", path);
			goto done;
		}
		st.st_size = s.found_at;
	}
	if (m->max_bytes && (uint64_t)st.st_size + s.expect > m->max_bytes)
		rc = err_set(e, RC_LIMIT, "mailbox size limit exceeded");
	else
		rc = append(fd, st.st_size, m, extra, out, e);
done:
	free(s.look);
	arena_release(&a);
	return rc;
}

enum rc mbox_deliver(const char *path, const struct store_delivery *m, struct store_delivered *out,
		     struct err *e)
{
	char dir[STORE_FILE_MAX];
	struct mbox_lock l;
	struct stat st;
	int fd;
	bool fresh = lstat(path, &st) != 0 && errno == ENOENT;
	enum rc rc =
	    mbox_open_locked(path, O_RDWR | O_CREAT, m->lock ? m->lock : &store_lock_default, &fd, &l, e);
	if (rc != RC_OK)
		return rc;
	rc = deliver_locked(path, fd, m, out, e);
	size_t n = strlen(path);
	if (rc == RC_OK && fresh && n < sizeof(dir)) { /* a new name has to be durable, too */
		memcpy(dir, path, n + 1);
		char *slash = strrchr(dir, '/');
		if (slash && slash != dir) {
			*slash = '\0';
			path_try_sync(dir); /* /var/mail may be unreadable to us: fsync of the file must do */
		}
	}
	mbox_unlock_close(&fd, &l);
	return rc;
}
