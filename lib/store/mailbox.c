/* A session's view of a folder: its list of UIDs, what it has been told, and reading. */
#include "store/box.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void view_append(struct mailbox *m, uint32_t uid)
{
	if (m->n == m->cap) {
		m->cap = m->cap ? m->cap * 2 : 64;
		m->uid = xrealloc(m->uid, m->cap * sizeof(*m->uid));
	}
	m->uid[m->n++] = uid;
}

static void view_take_new(struct mailbox *m)
{
	struct box *b = m->box;
	uint32_t last = m->n ? m->uid[m->n - 1] : 0;
	if (last + 1 < m->told_uidnext)
		last = m->told_uidnext - 1;
	for (size_t i = box_index_from(b, last + 1); i < b->n; i++)
		view_append(m, b->msg[i].uid);
	m->told_uidnext = b->uidnext;
}

enum rc mailbox_open(struct store *s, struct span name, unsigned mode, struct mailbox **out, struct err *e)
{
	struct box *b;
	enum rc rc = box_get(s, name, &b, e);
	if (rc != RC_OK)
		return rc;
	struct mailbox *m = xcalloc(1, sizeof(*m));
	m->box = b;
	m->mode = mode;
	list_add_tail(&b->views, &m->link);
	if ((rc = box_sync(b, m, false, e)) != RC_OK) {
		mailbox_close(&m);
		return rc;
	}
	view_take_new(m);
	m->told_modseq = b->modseq;
	m->told_changes = b->changes;
	m->told_expunges = b->expunges;
	*out = m;
	return RC_OK;
}

void mailbox_close(struct mailbox **mp)
{
	struct mailbox *m = *mp;
	if (!m)
		return;
	*mp = NULL;
	mailbox_cache_flush(m);
	list_del(&m->link);
	box_put(m->box);
	free(m->uid);
	free(m->recent);
	free(m->quiet);
	free(m->data);
	free(m);
}

const char *mailbox_name(const struct mailbox *m)
{
	return m->box->name;
}

uint32_t mailbox_uidvalidity(const struct mailbox *m)
{
	return m->box->uidvalidity;
}

uint32_t mailbox_uidnext(const struct mailbox *m)
{
	return m->box->uidnext;
}

uint64_t mailbox_highest_modseq(const struct mailbox *m)
{
	return m->box->modseq;
}

size_t mailbox_keywords(const struct mailbox *m)
{
	return m->box->keywords;
}

const char *mailbox_keyword(const struct mailbox *m, size_t i)
{
	return i < m->box->keywords ? m->box->keyword[i] : NULL;
}

int mailbox_keyword_bit(struct mailbox *m, struct span name, bool make)
{
	struct err e;
	int bit = box_keyword(m->box, name, false);
	if (bit >= 0 || !make || box_lock(m->box, &e) != RC_OK)
		return bit;
	bit = box_keyword(m->box, name, true);
	box_unlock(m->box);
	return bit;
}

size_t mailbox_count(const struct mailbox *m)
{
	return m->n;
}

uint32_t mailbox_uid(const struct mailbox *m, size_t seq)
{
	return seq && seq <= m->n ? m->uid[seq - 1] : 0;
}

size_t mailbox_seq_from(const struct mailbox *m, uint32_t uid)
{
	size_t lo = 0, hi = m->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (m->uid[mid] < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo + 1;
}

size_t mailbox_seq(const struct mailbox *m, uint32_t uid)
{
	size_t seq = mailbox_seq_from(m, uid);
	return seq <= m->n && m->uid[seq - 1] == uid ? seq : 0;
}

static bool in_recent(const struct mailbox *m, uint32_t uid)
{
	size_t lo = 0, hi = m->recents;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (m->recent[mid] < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->recents && m->recent[lo] == uid;
}

bool mailbox_recent(const struct mailbox *m, size_t seq)
{
	const struct message *msg = mailbox_message(m, seq);
	return msg && (in_recent(m, msg->uid) ||
		       (msg->where == WHERE_NEW && m->box->store->loc.kind == STORE_MAILDIR));
}

size_t mailbox_recent_count(const struct mailbox *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->recents; i++)
		n += mailbox_seq(m, m->recent[i]) && box_find(m->box, m->recent[i]);
	if ((m->mode & MAILBOX_READONLY) && m->box->store->loc.kind == STORE_MAILDIR)
		for (size_t i = 0; i < m->box->n; i++)
			n += m->box->msg[i].where == WHERE_NEW;
	return n;
}

const struct message *mailbox_message(const struct mailbox *m, size_t seq)
{
	uint32_t uid = mailbox_uid(m, seq);
	if (!uid)
		return NULL;
	/* Nothing was expunged since the view was made equal: same place in both lists. */
	if (seq <= m->box->n && m->box->msg[seq - 1].uid == uid)
		return &m->box->msg[seq - 1];
	return box_find(m->box, uid);
}

enum rc mailbox_poll(struct mailbox *m, struct err *e)
{
	return box_sync(m->box, m, false, e);
}

uint64_t mailbox_changes(const struct mailbox *m)
{
	return m->box->changes;
}

void mailbox_on_change(struct mailbox *m, void (*fn)(void *arg), void *arg)
{
	m->on_change = fn;
	m->on_change_arg = arg;
}

size_t mailbox_watch_paths(const struct mailbox *m, const char *out[2])
{
	static const char *const sub[2] = { "/new", "/cur" };
	struct box *b = m->box;
	if (b->store->loc.kind == STORE_MBOX) {
		out[0] = b->path;
		return 1;
	}
	size_t n = strlen(b->path);
	for (int i = 0; i < 2; i++) {
		static char path[2][STORE_FILE_MAX + 8]; /* one thread; valid until the next call */
		memcpy(path[i], b->path, n);
		memcpy(path[i] + n, sub[i], 5);
		out[i] = path[i];
	}
	return 2;
}

/* ---- news ---- */
static void tell_expunged(struct mailbox *m, const struct mailbox_sink *sink, void *arg)
{
	size_t kept = 0, j = 0;
	struct box *b = m->box;
	for (size_t i = 0; i < m->n; i++) {
		while (j < b->n && b->msg[j].uid < m->uid[i])
			j++;
		if (j < b->n && b->msg[j].uid == m->uid[i])
			m->uid[kept++] = m->uid[i];
		else
			sink->expunge(arg, kept + 1, m->uid[i]);
	}
	m->n = kept;
	m->told_expunges = b->expunges;
}

static bool was_quiet(const struct mailbox *m, const struct message *msg)
{
	size_t lo = 0, hi = m->quiets;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (m->quiet[mid].to < msg->modseq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->quiets && m->quiet[lo].from <= msg->modseq;
}

static void tell_one(struct mailbox *m, size_t seq, const struct mailbox_sink *sink, void *arg)
{
	const struct message *msg = mailbox_message(m, seq);
	if (msg && msg->modseq > m->told_modseq && !was_quiet(m, msg))
		sink->flags(arg, seq);
}

static int by_number(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	return x < y ? -1 : x > y;
}

static void tell_flags(struct mailbox *m, const struct mailbox_sink *sink, void *arg)
{
	struct box *b = m->box;
	uint64_t oldest = b->ring_next > RING ? b->ring_next - RING : 0;
	uint64_t from = b->ring_next;
	/* The ring holds the last changes: enough when the first that is new to us is still in it. */
	while (from > oldest && b->ring[(from - 1) % RING].modseq > m->told_modseq)
		from--;
	if (from > oldest) {
		size_t seq[RING], n = 0;
		for (uint64_t i = from; i < b->ring_next; i++)
			seq[n++] = mailbox_seq(m, b->ring[i % RING].uid);
		/* cppcheck-suppress uninitvar ; from < ring_next here, so that n > 0 */
		qsort(seq, n, sizeof(*seq), by_number);
		for (size_t i = 0; i < n; i++)
			if (seq[i] && (!i || seq[i] != seq[i - 1]))
				tell_one(m, seq[i], sink, arg);
		return;
	}
	for (size_t i = 1; i <= m->n; i++)
		tell_one(m, i, sink, arg);
}

void mailbox_news(struct mailbox *m, const struct mailbox_sink *sink, void *arg)
{
	struct box *b = m->box;
	if (m->told_changes == b->changes)
		return;
	bool pending = m->told_expunges != b->expunges;
	if (pending && sink->expunge) {
		tell_expunged(m, sink, arg);
		pending = false;
	}
	if (b->modseq > m->told_modseq)
		tell_flags(m, sink, arg);
	m->told_modseq = b->modseq;
	m->quiets = 0;
	if (b->uidnext > m->told_uidnext) {
		size_t before = m->n;
		view_take_new(m);
		if (m->n != before)
			sink->exists(arg, m->n, mailbox_recent_count(m));
	}
	m->told_changes = pending ? b->changes - 1 : b->changes;
}

/* ---- reading ---- */
static int open_once(struct mailbox *m, const struct message *msg)
{
	char path[STORE_FILE_MAX];
	if (!maildir_file_path(m->box, msg->where, box_file_name(m->box, msg), path))
		return -1;
	return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

enum rc mailbox_open_message(struct mailbox *m, size_t seq, int *fd, struct err *e)
{
	if (m->box->store->loc.kind != STORE_MAILDIR)
		return err_set(e, RC_DENIED, "not a file of its own");
	for (int attempt = 0;; attempt++) {
		const struct message *msg = mailbox_message(m, seq);
		if (!msg)
			return err_set(e, RC_GONE, "message was expunged");
		*fd = open_once(m, msg);
		if (*fd >= 0)
			return RC_OK;
		if (errno != ENOENT || attempt == 3)
			return errno == ENOENT ? err_set(e, RC_GONE, "message was expunged")
					       : err_sys(e, "open a message");
		enum rc rc = box_sync(m->box, NULL, true, e); /* renamed by somebody else */
		if (rc != RC_OK)
			return rc;
	}
}

static enum rc read_fd(struct mailbox *m, int fd, size_t max, struct span *content, struct err *e)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return err_sys(e, "stat a message");
	size_t want = (uint64_t)st.st_size < max ? (size_t)st.st_size : max, got = 0;
	if (want > m->data_cap) {
		free(m->data);
		m->data = xmalloc(want);
		m->data_cap = want;
	}
	while (got < want) {
		ssize_t n = pread(fd, m->data + got, want - got, (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read a message");
		if (n == 0)
			break;
		got += (size_t)n;
	}
	m->data_n = got;
	m->data_whole = got == (uint64_t)st.st_size;
	*content = span_make(m->data, got);
	return RC_OK;
}

static enum rc read_mbox(struct mailbox *m, size_t seq, struct span *content, struct err *e)
{
	struct buf out;
	struct err first;
	buf_init(&out, SIZE_MAX / 2);
	enum rc rc = RC_GONE;
	for (int attempt = 0; attempt < 2; attempt++) {
		const struct message *msg = mailbox_message(m, seq);
		if (!msg) {
			rc = err_set(e, RC_GONE, "message was expunged");
			break;
		}
		buf_reset(&out);
		rc = mbox_read(m->box, msg, &out, attempt ? e : &first);
		if (rc != RC_GONE || attempt)
			break;
		enum rc again = box_sync(m->box, NULL, true, e);
		if (again != RC_OK) {
			rc = again;
			break;
		}
	}
	if (rc != RC_OK) {
		buf_release(&out);
		return rc;
	}
	free(m->data);
	m->data = out.p;
	m->data_n = out.n;
	m->data_cap = out.cap;
	m->data_whole = true;
	*content = span_make(m->data, m->data_n);
	return RC_OK;
}

enum rc mailbox_read_head(struct mailbox *m, size_t seq, size_t n, struct span *content, struct err *e)
{
	uint32_t uid = mailbox_uid(m, seq);
	int fd;
	if (uid && m->data_uid == uid && m->data && (m->data_whole || m->data_n >= n)) {
		*content = span_head(span_make(m->data, m->data_n), n);
		return RC_OK;
	}
	m->data_uid = 0;
	enum rc rc;
	if (m->box->store->loc.kind == STORE_MBOX) {
		rc = read_mbox(m, seq, content, e);
	} else if ((rc = mailbox_open_message(m, seq, &fd, e)) == RC_OK) {
		rc = read_fd(m, fd, n, content, e);
		close(fd);
	}
	if (rc != RC_OK)
		return rc;
	m->data_uid = uid;
	*content = span_head(*content, n);
	if (m->data_whole && *content->p && content->n == m->data_n) {
		struct message *msg = box_find(m->box, uid);
		if (msg && msg->size != m->data_n)
			msg->size = m->data_n; /* another program wrote into it, or ,S= lied */
	}
	return RC_OK;
}

enum rc mailbox_read(struct mailbox *m, size_t seq, struct span *content, struct err *e)
{
	return mailbox_read_head(m, seq, SIZE_MAX, content, e);
}

void mailbox_read_done(struct mailbox *m)
{
	if (m->data_cap > 65536) {
		free(m->data);
		m->data = NULL;
		m->data_cap = 0;
		m->data_uid = 0;
	}
}

enum rc mailbox_vsize(struct mailbox *m, size_t seq, uint64_t *bytes, struct err *e)
{
	const struct message *msg = mailbox_message(m, seq);
	struct span s;
	if (!msg)
		return err_set(e, RC_GONE, "message was expunged");
	if (msg->have & HAVE_VSIZE) {
		*bytes = msg->vsize;
		return RC_OK;
	}
	enum rc rc = mailbox_read(m, seq, &s, e);
	if (rc != RC_OK)
		return rc;
	uint64_t n = s.n;
	for (const char *p = s.p, *end = s.p + s.n, *lf; p < end && (lf = memchr(p, '\n', (size_t)(end - p)));
	     p = lf + 1)
		if (lf == s.p || lf[-1] != '\r')
			n++;
	*bytes = n;
	struct message *mine = box_find(m->box, mailbox_uid(m, seq));
	if (mine && box_lock(m->box, e) == RC_OK) {
		if ((mine = box_find(m->box, mailbox_uid(m, seq)))) {
			mine->vsize = n;
			mine->have |= HAVE_VSIZE;
			index_log_info(m->box, mine);
		}
		box_unlock(m->box);
	}
	return RC_OK;
}

void mailbox_uidl(const struct mailbox *m, size_t seq, char out[MAILBOX_UIDL_MAX])
{
	snprintf(out, MAILBOX_UIDL_MAX, "%08x%08x", mailbox_uid(m, seq), m->box->uidvalidity);
}
