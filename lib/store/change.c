/* Changing messages: flags, expunge, copy, append. Each under the folder's lock; the log says the same as the
 * disk after. */
#include "store/box.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <unistd.h>

/* Locked, and with a list of messages (the index may have been lost). */
static enum rc begin_change(struct box *b, bool same[2], struct err *e)
{
	enum rc rc = box_lock(b, e);
	if (rc == RC_OK && !b->uidvalidity && (rc = box_sync(b, NULL, true, e)) != RC_OK)
		box_unlock(b);
	if (rc == RC_OK && b->store->loc.kind == STORE_MAILDIR)
		maildir_before(b, same);
	return rc;
}

static void end_change(struct box *b, const bool same[2])
{
	if (b->store->loc.kind == STORE_MAILDIR)
		maildir_after(b, same);
	index_log_state(b);
	box_unlock(b);
}

/* ---- flags ---- */
static enum rc rename_for_flags(struct box *b, uint32_t uid, uint32_t flags, uint64_t keywords, struct err *e)
{
	char name[320], from[STORE_FILE_MAX], to[STORE_FILE_MAX];
	for (int attempt = 0; attempt < 3; attempt++) {
		struct message *m = box_find(b, uid);
		if (!m)
			return RC_GONE;
		if (b->store->loc.kind == STORE_MBOX) {
			b->dirty = true;
			box_set_flags(b, m, flags, keywords, m->where, box_file_name(b, m));
			return RC_OK;
		}
		struct span old = box_file_name(b, m);
		if (!maildir_make_name(b, old, flags, keywords, name, sizeof(name)) ||
		    !maildir_file_path(b, m->where, old, from) ||
		    !maildir_file_path(b, WHERE_CUR, span_str(name), to))
			return err_set(e, RC_LIMIT, "file name too long");
		if ((m->where == WHERE_CUR && span_is(old, name)) || rename(from, to) == 0) {
			box_set_flags(b, m, flags, keywords, WHERE_CUR, span_str(name));
			return RC_OK;
		}
		if (errno != ENOENT)
			return err_sys(e, "rename %s", from);
		enum rc rc = maildir_sync(b, NULL, true, e); /* somebody else renamed or removed it */
		if (rc != RC_OK)
			return rc;
	}
	return RC_GONE;
}

/* Changes of one command get modseqs in a row: a range of them says it all. */
static void remember_quiet(struct mailbox *m, uint64_t modseq)
{
	if (m->quiets && m->quiet[m->quiets - 1].to + 1 == modseq) {
		m->quiet[m->quiets - 1].to = modseq;
		return;
	}
	if (m->quiets == m->quiet_cap) {
		m->quiet_cap = m->quiet_cap ? m->quiet_cap * 2 : 16;
		m->quiet = xrealloc(m->quiet, m->quiet_cap * sizeof(*m->quiet));
	}
	m->quiet[m->quiets++] = (struct modseq_range){ modseq, modseq };
}

static enum rc flags_one(struct mailbox *m, size_t seq, enum flags_op op, uint32_t flags, uint64_t keywords,
			 bool silent, struct err *e)
{
	struct box *b = m->box;
	const struct message *msg = mailbox_message(m, seq);
	if (!msg)
		return RC_OK;
	uint32_t f = op == FLAGS_SET ? flags : op == FLAGS_ADD ? msg->flags | flags : msg->flags & ~flags;
	uint64_t k = op == FLAGS_SET   ? keywords
		     : op == FLAGS_ADD ? msg->keywords | keywords
				       : msg->keywords & ~keywords;
	uint32_t uid = msg->uid;
	if (f == msg->flags && k == msg->keywords)
		return RC_OK;
	enum rc rc = rename_for_flags(b, uid, f, k, e);
	if (rc == RC_OK && silent && (msg = box_find(b, uid)))
		remember_quiet(m, msg->modseq);
	return rc == RC_GONE ? RC_OK : rc;
}

enum rc mailbox_flags(struct mailbox *m, const size_t *seq, size_t n, enum flags_op op, uint32_t flags,
		      uint64_t keywords, bool silent, uint64_t unchanged_since, bool *failed, struct err *e)
{
	struct box *b = m->box;
	bool same[2];
	enum rc rc = begin_change(b, same, e);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < n && rc == RC_OK; i++) {
		const struct message *msg = mailbox_message(m, seq[i]);
		if (msg && unchanged_since != UINT64_MAX && msg->modseq > unchanged_since) {
			if (failed)
				failed[i] = true;
			continue;
		}
		rc = flags_one(m, seq[i], op, flags & MSG_FLAGS, keywords, silent, e);
	}
	end_change(b, same);
	return rc;
}

/* ---- expunge ---- */
static enum rc remove_marked(struct box *b, bool *gone, struct err *e)
{
	char path[STORE_FILE_MAX];
	enum rc rc = RC_OK;
	if (b->store->loc.kind == STORE_MBOX) {
		if ((rc = mbox_rewrite(b, gone, e)) == RC_OK)
			box_remove_marked(b, gone);
		return rc;
	}
	for (size_t i = 0; i < b->n && rc == RC_OK; i++) {
		if (!gone[i])
			continue;
		struct message *m = &b->msg[i];
		if (!maildir_file_path(b, m->where, box_file_name(b, m), path))
			rc = err_set(e, RC_LIMIT, "path too long");
		else if (unlink(path) != 0 && errno != ENOENT)
			rc = err_sys(e, "unlink %s", path);
		if (rc != RC_OK) /* this one and the rest stay */
			memset(gone + i, 0, (b->n - i) * sizeof(*gone));
	}
	box_remove_marked(b, gone);
	return rc;
}

static int by_uid(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static enum rc remove_some(struct mailbox *m, const uint32_t *uid, size_t n, bool only_given,
			   bool only_deleted, struct err *e)
{
	struct box *b = m->box;
	bool same[2];
	enum rc rc = begin_change(b, same, e);
	if (rc != RC_OK)
		return rc;
	bool *gone = xcalloc(b->n + 1, sizeof(*gone));
	uint32_t *sorted = xcalloc(n + 1, sizeof(*sorted));
	bool any = false;
	if (n)
		memcpy(sorted, uid, n * sizeof(*uid));
	qsort(sorted, n, sizeof(*sorted), by_uid);
	for (size_t i = 0; i < b->n; i++) {
		const struct message *msg = &b->msg[i];
		if (only_deleted && !(msg->flags & MSG_DELETED))
			continue;
		if (only_given && !bsearch(&msg->uid, sorted, n, sizeof(*sorted), by_uid))
			continue;
		if (!only_given && !mailbox_seq(m, msg->uid)) /* not yet told to this client */
			continue;
		any = gone[i] = true;
	}
	if (any)
		rc = remove_marked(b, gone, e);
	free(gone);
	free(sorted);
	end_change(b, same);
	return rc;
}

enum rc mailbox_expunge(struct mailbox *m, const uint32_t *uid, size_t n, bool only_given, struct err *e)
{
	return remove_some(m, uid, n, only_given, true, e);
}

enum rc mailbox_remove(struct mailbox *m, const uint32_t *uid, size_t n, struct err *e)
{
	return remove_some(m, uid, n, true, false, e);
}

/* ---- names for new files ---- */
static void unique_base(char *out, size_t size, uint64_t bytes, uint64_t vbytes)
{
	static atomic_uint serial;
	char host[72];
	uint32_t r;
	wall_t now = wall_now();
	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = 0;
	maildir_host(host);
	snprintf(out, size, "%lld.M%06lldP%ldQ%uR%08x.%s,S=%llu,W=%llu", (long long)wall_s(now),
		 (long long)(now.us % 1000000), (long)getpid(), atomic_fetch_add(&serial, 1), r, host,
		 (unsigned long long)bytes, (unsigned long long)vbytes);
}

/* Keyword bits of `b` for names. */
static uint64_t bits_for(struct box *b, const struct span *name, size_t n)
{
	uint64_t bits = 0;
	for (size_t i = 0; i < n; i++) {
		int bit = box_keyword(b, name[i], true);
		if (bit >= 0)
			bits |= 1ull << bit;
	}
	return bits;
}

/* ---- append ---- */
struct mailbox_append {
	struct box *box;
	struct maildir_file file; /* Maildir */
	struct buf text;	  /* mbox */
	bool held_cr;
};

enum rc mailbox_append_open(struct store *s, struct span folder, struct mailbox_append **out, struct err *e)
{
	struct mailbox_append *ap = xcalloc(1, sizeof(*ap));
	ap->file.fd = -1;
	buf_init(&ap->text, 256u << 20);
	enum rc rc = box_get(s, folder, &ap->box, e);
	if (rc == RC_OK && s->loc.kind == STORE_MAILDIR)
		rc = maildir_file_open(ap->box->path, &ap->file, e);
	*out = ap;
	if (rc != RC_OK)
		mailbox_append_abort(out);
	return rc;
}

static enum rc append_raw(struct mailbox_append *ap, struct span s, struct err *e)
{
	if (!s.n)
		return RC_OK;
	if (ap->box->store->loc.kind == STORE_MAILDIR)
		return maildir_file_write(&ap->file, s, e);
	return buf_append(&ap->text, s) == RC_OK ? RC_OK : err_set(e, RC_LIMIT, "message too large");
}

enum rc mailbox_append_write(struct mailbox_append *ap, struct span data, struct err *e)
{
	char *out = xmalloc(data.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < data.n; i++) { /* CRLF -> LF; a CR alone stays */
		char c = data.p[i];
		if (ap->held_cr && c != '\n')
			out[n++] = '\r';
		ap->held_cr = c == '\r';
		if (!ap->held_cr)
			out[n++] = c;
		if (n == data.n) { /* one more than came in is possible at the start only */
			enum rc rc = append_raw(ap, span_make(out, n), e);
			n = 0;
			if (rc != RC_OK) {
				free(out);
				return rc;
			}
		}
	}
	enum rc rc = append_raw(ap, span_make(out, n), e);
	free(out);
	return rc;
}

void mailbox_append_abort(struct mailbox_append **app)
{
	struct mailbox_append *ap = *app;
	if (!ap)
		return;
	*app = NULL;
	maildir_file_close(&ap->file);
	buf_release(&ap->text);
	if (ap->box)
		box_put(ap->box);
	free(ap);
}

static enum rc commit_maildir(struct mailbox_append *ap, uint32_t flags, uint64_t keywords, int64_t date_s,
			      uint32_t *uid, struct err *e)
{
	struct box *b = ap->box;
	char base[200], name[320], path[STORE_FILE_MAX], dir[STORE_FILE_MAX];
	struct message m = { .flags = flags, .keywords = keywords, .date_s = date_s, .have = HAVE_VSIZE };
	/* New to whoever looks first, with or without flags: \Recent (RFC 3501 2.3.2, 6.3.11). */
	m.where = WHERE_NEW;
	m.size = ap->file.size;
	m.vsize = ap->file.size + ap->file.lone_lf;
	unique_base(base, sizeof(base), m.size, m.vsize);
	memcpy(name, base, strlen(base) + 1);
	if ((flags || keywords) && !maildir_make_name(b, span_str(base), flags, keywords, name, sizeof(name)))
		return err_set(e, RC_LIMIT, "file name too long");
	if (!maildir_file_path(b, m.where, span_str(name), path) || !path_join(dir, b->path, "new"))
		return err_set(e, RC_LIMIT, "path too long");
	struct timespec ts[2] = { { date_s, 0 }, { date_s, 0 } };
	if (futimens(ap->file.fd, ts) != 0)
		m.date_s = wall_s(wall_now());
	enum rc rc = maildir_file_link(&ap->file, path, e);
	if (rc != RC_OK)
		return rc;
	if (fsync(ap->file.fd) != 0)
		rc = err_sys(e, "fsync %s", path);
	else
		rc = path_sync_dir(dir, e);
	if (rc == RC_OK) {
		size_t from = b->n;
		*uid = m.uid = b->uidnext;
		m.modseq = ++b->modseq;
		box_add(b, &m, span_str(name));
		rc = uidlist_append(b, from, e);
	}
	if (rc != RC_OK)
		unlink(path);
	return rc;
}

static enum rc commit_mbox(struct mailbox_append *ap, uint32_t flags, uint64_t keywords, int64_t date_s,
			   uint32_t *uid, struct err *e)
{
	struct box *b = ap->box;
	struct span piece = buf_span(&ap->text);
	struct store_delivery d = { .piece = &piece, .pieces = 1, .fd = -1 };
	struct store_delivered done = { 0 };
	enum rc rc = mbox_deliver(b->path, &d, &done, e);
	if (rc != RC_OK || (rc = mbox_sync(b, false, e)) != RC_OK)
		return rc;
	if (!b->n)
		return err_set(e, RC_SYS, "the message vanished");
	struct message *m = &b->msg[b->n - 1];
	*uid = m->uid;
	m->date_s = date_s;
	box_set_flags(b, m, flags, keywords, m->where, box_file_name(b, m));
	b->dirty = true;
	return RC_OK;
}

enum rc mailbox_append_commit(struct mailbox_append **app, uint32_t flags, const struct span *keyword,
			      size_t keywords, int64_t date_s, struct mailbox_appended *out, struct err *e)
{
	struct mailbox_append *ap = *app;
	struct box *b = ap->box;
	bool same[2];
	enum rc rc = RC_OK;
	if (ap->held_cr)
		rc = append_raw(ap, SPAN("\r"), e);
	if (rc == RC_OK && (rc = begin_change(b, same, e)) == RC_OK) {
		/* What others delivered meanwhile came first and gets the smaller UIDs. */
		if (b->store->loc.kind == STORE_MAILDIR && !(same[0] && same[1]) &&
		    (rc = maildir_sync(b, NULL, false, e)) == RC_OK)
			maildir_before(b, same);
		if (date_s == INT64_MIN)
			date_s = wall_s(wall_now());
		uint64_t bits = bits_for(b, keyword, keywords);
		if (rc == RC_OK)
			rc = b->store->loc.kind == STORE_MAILDIR
				 ? commit_maildir(ap, flags & MSG_FLAGS, bits, date_s, &out->uid, e)
				 : commit_mbox(ap, flags & MSG_FLAGS, bits, date_s, &out->uid, e);
		out->uidvalidity = b->uidvalidity;
		end_change(b, same);
	}
	mailbox_append_abort(app);
	return rc;
}

/* ---- copy ---- */
struct copied {
	struct message m;
	char name[320];
	bool made;
};

static uint64_t translate_keywords(const struct box *from, struct box *to, uint64_t bits)
{
	uint64_t out = 0;
	for (size_t i = 0; i < from->keywords; i++) {
		if (!(bits & (1ull << i)))
			continue;
		int bit = box_keyword(to, span_str(from->keyword[i]), true);
		if (bit >= 0)
			out |= 1ull << bit;
	}
	return out;
}

/* In new/, where a name without flags has no ":2,". */
static bool copy_name(const struct box *to, const char *base, struct copied *c)
{
	if (c->m.flags || c->m.keywords)
		return maildir_make_name(to, span_str(base), c->m.flags, c->m.keywords, c->name,
					 sizeof(c->name));
	return snprintf(c->name, sizeof(c->name), "%s", base) < (int)sizeof(c->name);
}

/* A second name for the same file. Copies are \Recent (RFC 3501 6.4.7). */
static enum rc link_one(struct mailbox *m, struct box *to, size_t seq, struct copied *c, struct err *e)
{
	char base[200], from_path[STORE_FILE_MAX], to_path[STORE_FILE_MAX];
	uint64_t vsize;
	for (int attempt = 0; attempt < 3; attempt++) {
		enum rc rc = mailbox_vsize(m, seq, &vsize, e);
		const struct message *msg = mailbox_message(m, seq);
		if (rc == RC_GONE || !msg)
			return RC_OK;
		if (rc != RC_OK)
			return rc;
		c->m = *msg;
		c->m.keywords = translate_keywords(m->box, to, msg->keywords);
		c->m.where = WHERE_NEW;
		c->m.cache_off = 0;
		unique_base(base, sizeof(base), msg->size, vsize);
		if (!copy_name(to, base, c) ||
		    !maildir_file_path(to, WHERE_NEW, span_str(c->name), to_path) ||
		    !maildir_file_path(m->box, msg->where, box_file_name(m->box, msg), from_path))
			return err_set(e, RC_LIMIT, "path too long");
		if (link(from_path, to_path) == 0) {
			c->made = true;
			return RC_OK;
		}
		if (errno != ENOENT)
			return err_sys(e, "link %s", to_path);
		if ((rc = box_sync(m->box, NULL, true, e)) != RC_OK)
			return rc;
	}
	return RC_OK;
}

static void unlink_copies(struct box *to, struct copied *c, size_t n)
{
	char path[STORE_FILE_MAX];
	for (size_t i = 0; i < n; i++)
		if (c[i].made && maildir_file_path(to, WHERE_NEW, span_str(c[i].name), path))
			unlink(path);
}

static enum rc copy_maildir(struct mailbox *m, struct box *to, const size_t *seq, size_t n, uint32_t *to_uid,
			    struct err *e)
{
	struct copied *c = xcalloc(n + 1, sizeof(*c));
	char dir[STORE_FILE_MAX];
	enum rc rc = RC_OK;
	for (size_t i = 0; i < n && rc == RC_OK; i++)
		rc = link_one(m, to, seq[i], &c[i], e);
	if (rc == RC_OK)
		rc = path_join(dir, to->path, "new") ? path_sync_dir(dir, e) : RC_LIMIT;
	size_t from = to->n;
	for (size_t i = 0; i < n && rc == RC_OK; i++) {
		to_uid[i] = 0;
		if (!c[i].made)
			continue;
		to_uid[i] = c[i].m.uid = to->uidnext;
		c[i].m.modseq = ++to->modseq;
		box_add(to, &c[i].m, span_str(c[i].name));
	}
	if (rc == RC_OK)
		rc = uidlist_append(to, from, e);
	if (rc != RC_OK)
		unlink_copies(to, c, n);
	free(c);
	return rc;
}

/* mbox: one after the other; what was appended before a failure is cut off again. */
static enum rc copy_mbox(struct mailbox *m, struct box *to, const size_t *seq, size_t n, uint32_t *to_uid,
			 struct err *e)
{
	struct stat before;
	enum rc rc = RC_OK;
	if (stat(to->path, &before) != 0)
		return err_sys(e, "stat %s", to->path);
	for (size_t i = 0; i < n && rc == RC_OK; i++) {
		const struct message *msg = mailbox_message(m, seq[i]);
		struct span text;
		struct store_delivered done = { 0 };
		to_uid[i] = 0;
		if (!msg)
			continue;
		struct message keep = *msg;
		if ((rc = mailbox_read(m, seq[i], &text, e)) != RC_OK)
			break;
		struct store_delivery d = { .piece = &text, .pieces = 1, .fd = -1 };
		if ((rc = mbox_deliver(to->path, &d, &done, e)) != RC_OK ||
		    (rc = mbox_sync(to, false, e)) != RC_OK)
			break;
		struct message *made = &to->msg[to->n - 1];
		to_uid[i] = made->uid;
		made->date_s = keep.date_s;
		box_set_flags(to, made, keep.flags, translate_keywords(m->box, to, keep.keywords),
			      made->where, box_file_name(to, made));
		to->dirty = true;
	}
	if (rc != RC_OK && truncate(to->path, before.st_size) == 0 && mbox_sync(to, true, NULL) != RC_OK)
		err_prefix(e, "and cannot undo");
	return rc;
}

enum rc mailbox_copy(struct mailbox *m, const size_t *seq, size_t n, struct span to_name, bool move,
		     uint32_t *to_uid, uint32_t *uidvalidity, struct err *e)
{
	struct box *to;
	bool same[2] = { false, false };
	enum rc rc = box_get(m->box->store, to_name, &to, e);
	if (rc != RC_OK)
		return rc;
	if (to == m->box)
		rc = box_lock(to, e); /* one lock for both: it nests */
	if (rc == RC_OK && (rc = begin_change(to, same, e)) == RC_OK) {
		bool maildir = to->store->loc.kind == STORE_MAILDIR;
		if (maildir && !(same[0] && same[1]) && (rc = maildir_sync(to, NULL, false, e)) == RC_OK)
			maildir_before(to, same);
		if (rc == RC_OK)
			rc = maildir ? copy_maildir(m, to, seq, n, to_uid, e)
				     : copy_mbox(m, to, seq, n, to_uid, e);
		*uidvalidity = to->uidvalidity;
		end_change(to, same);
	}
	if (to->locked && to == m->box)
		box_unlock(to);
	if (rc == RC_OK && move) {
		uint32_t *uid = xcalloc(n + 1, sizeof(*uid));
		size_t k = 0;
		for (size_t i = 0; i < n; i++)
			if (to_uid[i])
				uid[k++] = mailbox_uid(m, seq[i]);
		rc = mailbox_remove(m, uid, k, e);
		free(uid);
	}
	box_put(to);
	return rc;
}
