/* A folder as this process holds it: the list of messages, locks, and keeping both in step with the log. */
#include "store/box.h"
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define LOCK_ATTEMPTS 3000 /* of 10 ms */

struct span box_file_name(const struct box *b, const struct message *m)
{
	return span_make(b->names.p + m->name_off, m->name_len);
}

size_t box_index_from(const struct box *b, uint32_t uid)
{
	size_t lo = 0, hi = b->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (b->msg[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct message *box_find(const struct box *b, uint32_t uid)
{
	size_t i = box_index_from(b, uid);
	return i < b->n && b->msg[i].uid == uid ? &b->msg[i] : NULL;
}

void box_changed(struct box *b)
{
	b->changes++;
}

void box_clear(struct box *b)
{
	for (size_t i = 0; i < b->keywords; i++)
		free(b->keyword[i]);
	b->keywords = 0;
	b->n = 0;
	b->uidvalidity = 0;
	b->uidnext = 1;
	b->modseq = b->modseq ? b->modseq : 1;
	buf_reset(&b->names);
	buf_reset(&b->log);
	memset(b->stamp, 0, sizeof(b->stamp));
	memset(&b->uidlist, 0, sizeof(b->uidlist));
	b->uidlist_lines = 0;
	b->dirty = false;
	b->changes++;
	b->expunges++;
	b->ring_next += RING; /* nothing in it is of use */
	memset(b->ring, 0, sizeof(b->ring));
}

struct message *box_add(struct box *b, const struct message *m, struct span name)
{
	INVARIANT(!b->n || b->msg[b->n - 1].uid < m->uid);
	if (b->n == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 64;
		b->msg = xrealloc(b->msg, b->cap * sizeof(*b->msg));
	}
	struct message *new = &b->msg[b->n++];
	*new = *m;
	new->name_off = (uint32_t)b->names.n;
	new->name_len = (uint16_t)name.n;
	INVARIANT(buf_append(&b->names, name) == RC_OK);
	if (m->uid >= b->uidnext)
		b->uidnext = m->uid + 1;
	if (m->modseq > b->modseq)
		b->modseq = m->modseq;
	index_log_add(b, new, name);
	b->changes++;
	return new;
}

void box_set_flags(struct box *b, struct message *m, uint32_t flags, uint64_t keywords, uint8_t where,
		   struct span name)
{
	bool visible = m->flags != flags || m->keywords != keywords;
	m->flags = flags;
	m->keywords = keywords;
	m->where = where;
	if (name.n > m->name_len) {
		m->name_off = (uint32_t)b->names.n;
		INVARIANT(buf_append(&b->names, name) == RC_OK);
	} else {
		memmove(b->names.p + m->name_off, name.p, name.n);
	}
	m->name_len = (uint16_t)name.n;
	if (visible) {
		m->modseq = ++b->modseq;
		b->ring[b->ring_next++ % RING] = (struct change){ m->modseq, m->uid };
		b->changes++;
	}
	index_log_flags(b, m, box_file_name(b, m));
}

void box_remove_marked(struct box *b, const bool *gone)
{
	size_t kept = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (gone[i])
			index_log_expunge(b, b->msg[i].uid);
		else
			b->msg[kept++] = b->msg[i];
	}
	if (kept != b->n) {
		b->n = kept;
		b->modseq++;
		b->expunges++;
		b->changes++;
	}
}

void view_add_recent(struct mailbox *v, uint32_t uid)
{
	if (v->recents == v->recent_cap) {
		v->recent_cap = v->recent_cap ? v->recent_cap * 2 : 16;
		v->recent = xrealloc(v->recent, v->recent_cap * sizeof(*v->recent));
	}
	size_t i = v->recents++;
	for (; i > 0 && v->recent[i - 1] > uid; i--)
		v->recent[i] = v->recent[i - 1];
	v->recent[i] = uid;
}

int box_keyword(struct box *b, struct span name, bool make)
{
	char text[256];
	for (size_t i = 0; i < b->keywords; i++)
		if (span_is_ci(name, b->keyword[i]))
			return (int)i;
	if (!make || b->keywords == STORE_KEYWORDS_MAX || !name.n ||
	    span_cstr(name, text, sizeof(text)) != RC_OK)
		return -1;
	b->keyword[b->keywords] = xstrdup(text);
	index_log_keyword(b, b->keywords);
	if (b->keywords++ < 26)
		keywords_write(b);
	return (int)b->keywords - 1;
}

/* ---- locking ---- */
static bool os_lock(int fd, short type)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET };
	return fcntl(fd, F_OFD_SETLK, &fl) == 0;
}

static enum rc open_lock(struct box *b, struct err *e)
{
	char path[STORE_FILE_MAX];
	if (b->lock_fd >= 0)
		return RC_OK;
	if (!path_join(path, b->side, "postern.lock"))
		return err_set(e, RC_LIMIT, "path too long");
	b->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return b->lock_fd >= 0	 ? RC_OK
	       : errno == ENOENT ? err_set(e, RC_NOTFOUND, "mailbox %s does not exist", b->name)
				 : err_sys(e, "open %s", path);
}

enum rc box_lock(struct box *b, struct err *e)
{
	if (b->locked++)
		return RC_OK;
	enum rc rc = open_lock(b, e);
	for (unsigned i = 0; rc == RC_OK && !os_lock(b->lock_fd, F_WRLCK); i++) {
		struct timespec ts = { 0, 10000000 };
		if ((errno != EAGAIN && errno != EACCES && errno != EINTR) || i == LOCK_ATTEMPTS)
			rc = err_set(e, RC_AGAIN, "cannot lock mailbox %s", b->name);
		else
			nanosleep(&ts, NULL);
	}
	if (rc == RC_OK) {
		rc = index_catch_up(b, e);
		if (rc == RC_NOTFOUND)
			rc = RC_OK; /* uidvalidity 0: the next sync builds it */
		if (rc != RC_OK)
			os_lock(b->lock_fd, F_UNLCK);
	}
	if (rc != RC_OK)
		b->locked--;
	return rc;
}

void box_unlock(struct box *b)
{
	INVARIANT(b->locked);
	if (--b->locked)
		return;
	if (b->uidvalidity)
		index_write(b);
	os_lock(b->lock_fd, F_UNLCK);
	LIST_EACH(it, &b->views)
	{
		struct mailbox *v = LIST_ENTRY(it, struct mailbox, link);
		if (v->on_change && v->told_changes != b->changes)
			v->on_change(v->on_change_arg);
	}
}

enum rc box_sync(struct box *b, struct mailbox *view, bool force, struct err *e)
{
	enum rc rc = box_lock(b, e);
	if (rc != RC_OK)
		return rc;
	if (view && (view->mode & MAILBOX_READONLY))
		view = NULL;
	rc = b->store->loc.kind == STORE_MAILDIR ? maildir_sync(b, view, force, e) : mbox_sync(b, force, e);
	box_unlock(b);
	return rc;
}

/* ---- life ---- */
static void box_free(struct box *b)
{
	box_clear(b);
	list_del(&b->link);
	buf_release(&b->names);
	buf_release(&b->log);
	buf_release(&b->cache_pending);
	free(b->msg);
	if (b->lock_fd >= 0)
		close(b->lock_fd);
	if (b->index_fd >= 0)
		close(b->index_fd);
	if (b->cache_fd >= 0)
		close(b->cache_fd);
	free(b);
}

static bool folder_there(const struct store *s, const char *path)
{
	char p[STORE_FILE_MAX];
	struct stat st;
	if (s->loc.kind == STORE_MBOX)
		return stat(path, &st) == 0 && S_ISREG(st.st_mode);
	return path_join(p, path, "cur") && stat(p, &st) == 0;
}

enum rc box_get(struct store *s, struct span name, struct box **out, struct err *e)
{
	if (folder_is_inbox(name))
		name = SPAN("INBOX");
	LIST_EACH(it, &s->boxes)
	{
		struct box *b = LIST_ENTRY(it, struct box, link);
		if (span_is(name, b->name) && folder_there(s, b->path)) {
			b->refs++;
			*out = b;
			return RC_OK;
		}
	}
	struct box *b = xcalloc(1, sizeof(*b));
	list_init(&b->link);
	list_init(&b->views);
	b->store = s;
	b->lock_fd = b->index_fd = b->cache_fd = -1;
	b->uidnext = 1;
	b->modseq = 1;
	buf_init(&b->names, UINT32_MAX);
	buf_init(&b->log, 1u << 30);
	buf_init(&b->cache_pending, 1u << 30);
	enum rc rc = folder_path(&s->loc, name, b->path, e);
	if (rc == RC_OK && !folder_there(s, b->path))
		rc = err_set(e, RC_NOTFOUND, "Mailbox doesn't exist: " SPAN_FMT, SPAN_ARG(name));
	if (rc == RC_OK && (rc = folder_side_path(&s->loc, name, false, b->side, e)) == RC_OK &&
	    (rc = folder_side_path(&s->loc, name, true, b->control, e)) == RC_OK &&
	    (rc = path_mkdirs(b->side, e)) == RC_OK)
		rc = path_mkdirs(b->control, e);
	if (rc != RC_OK) {
		box_free(b);
		return rc;
	}
	snprintf(b->name, sizeof(b->name), SPAN_FMT, SPAN_ARG(name));
	list_add_tail(&s->boxes, &b->link);
	b->refs = 1;
	*out = b;
	return RC_OK;
}

void box_put(struct box *b)
{
	struct err e;
	if (--b->refs)
		return;
	if (b->dirty && b->store->loc.kind == STORE_MBOX && box_lock(b, &e) == RC_OK) {
		if (mbox_sync(b, false, &e) != RC_OK || mbox_rewrite(b, NULL, &e) != RC_OK)
			b->dirty = true; /* the index keeps them until the next close */
		box_unlock(b);
	}
	box_free(b);
}
