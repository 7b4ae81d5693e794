/* Bringing a box up to date with its Maildir: what is in new/ and cur/ is the truth.
 *
 * Directories are read only when their time stamps moved; our own changes are taken out of that by
 * maildir_before/after. A message that is being renamed by another program can be missed by one reading, so
 * what seems gone is looked for a second time. */
#include "store/box.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const char *const sub_name[2] = { "new", "cur" };
static const char flag_letters[] = "SRFTDP"; /* in the order of MSG_SEEN .. MSG_PASSED */

bool stamp_get(const char *path, struct stamp *out)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return false;
	out->ino = st.st_ino;
	out->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	out->size = S_ISDIR(st.st_mode) ? 0 : st.st_size;
	return true;
}

bool stamp_eq(const struct stamp *a, const struct stamp *b)
{
	return a->ino == b->ino && a->mtime_ns == b->mtime_ns && a->size == b->size;
}

struct span maildir_base(struct span name)
{
	ptrdiff_t colon = span_chr(name, ':');
	return colon < 0 ? name : span_head(name, (size_t)colon);
}

static struct span letters_of(struct span name)
{
	ptrdiff_t at = span_find(name, SPAN(":2,"));
	struct span l = at < 0 ? SPAN_NONE : span_skip(name, (size_t)at + 3);
	ptrdiff_t comma = span_chr(l, ',');
	return comma < 0 ? l : span_head(l, (size_t)comma);
}

void maildir_name_flags(const struct box *b, struct span name, uint32_t *flags, uint64_t *keywords)
{
	struct span l = letters_of(name);
	*flags = 0;
	*keywords = 0;
	for (size_t i = 0; i < l.n; i++) {
		const char *at = memchr(flag_letters, l.p[i], 6);
		if (at)
			*flags |= 1u << (at - flag_letters);
		else if (l.p[i] >= 'a' && l.p[i] <= 'z' && (size_t)(l.p[i] - 'a') < b->keywords)
			*keywords |= 1ull << (l.p[i] - 'a');
	}
}

bool maildir_make_name(const struct box *b, struct span old, uint32_t flags, uint64_t keywords, char *out,
		       size_t size)
{
	bool letter[128] = { false };
	struct span base = maildir_base(old), l = letters_of(old);
	for (size_t i = 0; i < l.n; i++) { /* what we do not know stays */
		unsigned char c = (unsigned char)l.p[i];
		if (c < 128 && ascii_isalpha((char)c) && !memchr(flag_letters, c, 6) &&
		    !(c >= 'a' && c <= 'z' && (size_t)(c - 'a') < b->keywords))
			letter[c] = true;
	}
	for (unsigned i = 0; i < 6; i++)
		letter[(unsigned char)flag_letters[i]] = flags & (1u << i);
	for (unsigned i = 0; i < 26 && i < b->keywords; i++)
		if (keywords & (1ull << i))
			letter['a' + i] = true;
	if (base.n + 3 + 52 >= size)
		return false;
	memcpy(out, base.p, base.n);
	memcpy(out + base.n, ":2,", 3);
	size_t n = base.n + 3;
	for (unsigned c = 'A'; c <= 'z'; c++) /* ASCII order, as the format asks */
		if (letter[c])
			out[n++] = (char)c;
	out[n] = '\0';
	return true;
}

bool maildir_file_path(const struct box *b, uint8_t where, struct span name, char out[STORE_FILE_MAX])
{
	int n = snprintf(out, STORE_FILE_MAX, "%s/%s/" SPAN_FMT, b->path, sub_name[where], SPAN_ARG(name));
	return n > 0 && n < STORE_FILE_MAX;
}

static void stamps_now(const struct box *b, struct stamp out[2])
{
	char p[STORE_FILE_MAX];
	memset(out, 0, 2 * sizeof(*out));
	for (int i = 0; i < 2; i++)
		if (!path_join(p, b->path, sub_name[i]) || !stamp_get(p, &out[i]))
			memset(&out[i], 0, sizeof(out[i]));
}

void maildir_before(struct box *b, bool same[2])
{
	struct stamp now[2];
	stamps_now(b, now);
	for (int i = 0; i < 2; i++)
		same[i] = now[i].ino && stamp_eq(&now[i], &b->stamp[i]);
}

void maildir_after(struct box *b, const bool same[2])
{
	struct stamp now[2];
	stamps_now(b, now);
	for (int i = 0; i < 2; i++)
		if (same[i])
			b->stamp[i] = now[i];
}

/* ---- one reading ---- */
struct file {
	struct span name; /* in the arena of the scan */
	uint32_t uid;	  /* from the uidlist, 0 none */
	uint8_t where;
};
struct scan {
	struct arena a;
	struct file *v;
	size_t n, cap;
	struct table *by_base; /* existing messages: index + 1 */
	bool *seen;
};

static enum rc read_dir(struct box *b, struct scan *s, uint8_t where, struct err *e)
{
	char p[STORE_FILE_MAX];
	if (!path_join(p, b->path, sub_name[where]))
		return err_set(e, RC_LIMIT, "path too long");
	DIR *d = opendir(p);
	if (!d)
		return errno == ENOENT ? err_set(e, RC_NOTFOUND, "mailbox %s is gone", b->name)
				       : err_sys(e, "open %s", p);
	struct dirent *de;
	while ((de = readdir(d))) {
		size_t n = strlen(de->d_name);
		if (de->d_name[0] == '.' || n > 250 || (de->d_type != DT_REG && de->d_type != DT_UNKNOWN))
			continue;
		if (s->n == s->cap)
			s->v = arena_grow(&s->a, s->v, s->n, &s->cap, sizeof(*s->v));
		s->v[s->n++] = (struct file){ span_dup(&s->a, span_make(de->d_name, n)), 0, where };
	}
	closedir(d);
	return RC_OK;
}

static void update_known(struct box *b, struct scan *s, size_t i, const struct file *f)
{
	struct message *m = &b->msg[i];
	uint32_t flags;
	uint64_t keywords, mine = b->keywords >= 26 ? (1ull << 26) - 1 : (1ull << b->keywords) - 1;
	s->seen[i] = true;
	if (m->where == f->where && span_eq(box_file_name(b, m), f->name))
		return;
	maildir_name_flags(b, f->name, &flags, &keywords);
	keywords |= m->keywords & ~mine; /* those without a letter live in the index only */
	box_set_flags(b, m, flags, keywords, f->where, f->name);
}

/* Leaves in s->v the files that are new to us. */
static void match(struct box *b, struct scan *s)
{
	size_t kept = 0;
	for (size_t i = 0; i < s->n; i++) {
		void *known = table_get(s->by_base, maildir_base(s->v[i].name));
		if (known)
			update_known(b, s, (size_t)(uintptr_t)known - 1, &s->v[i]);
		else
			s->v[kept++] = s->v[i];
	}
	s->n = kept;
}

/* Arrival order: the number that names start with, then the name. */
static int by_arrival(const void *x, const void *y)
{
	const struct file *a = x, *b = y;
	if (a->uid != b->uid) /* those with a UID of old first */
		return !a->uid ? 1 : !b->uid ? -1 : a->uid < b->uid ? -1 : 1;
	size_t na = 0, nb = 0;
	while (na < a->name.n && ascii_isdigit(a->name.p[na]))
		na++;
	while (nb < b->name.n && ascii_isdigit(b->name.p[nb]))
		nb++;
	if (na != nb)
		return na < nb ? -1 : 1;
	int c = span_cmp(a->name, b->name);
	return c ? c : (int)a->where - (int)b->where;
}

static bool size_in_name(struct span name, const char *key, uint64_t *out)
{
	ptrdiff_t at = span_find(maildir_base(name), span_str(key));
	if (at < 0)
		return false;
	struct span d = span_skip(maildir_base(name), (size_t)at + 3);
	size_t n = 0;
	while (n < d.n && ascii_isdigit(d.p[n]))
		n++;
	return n && span_to_u64(span_head(d, n), INT64_MAX, out) == RC_OK;
}

static enum rc add_file(struct box *b, const struct file *f, struct err *e)
{
	char p[STORE_FILE_MAX];
	struct stat st;
	struct message m = { .where = f->where };
	if (b->uidnext == UINT32_MAX)
		return err_set(e, RC_LIMIT, "mailbox %s has no UID left", b->name);
	if (!maildir_file_path(b, f->where, f->name, p) || stat(p, &st) != 0)
		return RC_OK; /* renamed or gone since: the stamp has moved, the next reading sees it */
	m.uid = f->uid ? f->uid : b->uidnext;
	maildir_name_flags(b, f->name, &m.flags, &m.keywords);
	m.modseq = ++b->modseq;
	m.date_s = st.st_mtime;
	m.size = (uint64_t)st.st_size;
	if (size_in_name(f->name, ",W=", &m.vsize) && m.vsize >= m.size)
		m.have |= HAVE_VSIZE;
	box_add(b, &m, f->name);
	return RC_OK;
}

static enum rc add_new(struct box *b, struct scan *s, struct uidlist *u, struct err *e)
{
	size_t from = b->n;
	uint32_t last = b->n ? b->msg[b->n - 1].uid : 0;
	for (size_t i = 0; i < s->n && u; i++) {
		struct uidlist_entry *en =
		    u->by_base ? table_get(u->by_base, maildir_base(s->v[i].name)) : NULL;
		s->v[i].uid = en && en->uid > last ? en->uid : 0;
	}
	if (s->n)
		qsort(s->v, s->n, sizeof(*s->v), by_arrival);
	for (size_t i = 0; i < s->n; i++) {
		/* link(2) + unlink(2) of a mover between the two directories: seen twice */
		if (i && span_eq(maildir_base(s->v[i].name), maildir_base(s->v[i - 1].name)))
			continue;
		enum rc rc = add_file(b, &s->v[i], e);
		if (rc != RC_OK)
			return rc;
	}
	if (u)
		return uidlist_rewrite(b, e);
	return uidlist_append(b, from, e);
}

static enum rc scan_once(struct box *b, struct scan *s, struct err *e)
{
	enum rc rc = RC_OK;
	s->v = NULL;
	s->n = s->cap = 0;
	for (uint8_t w = WHERE_NEW; w <= WHERE_CUR && rc == RC_OK; w++)
		rc = read_dir(b, s, w, e);
	if (rc == RC_OK)
		match(b, s);
	return rc;
}

static bool all_seen(const struct scan *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!s->seen[i])
			return false;
	return true;
}

static enum rc reread(struct box *b, struct uidlist *u, struct err *e)
{
	struct scan s = { .by_base = table_new() };
	struct stamp before[2];
	size_t known = b->n;
	enum rc rc;
	arena_init(&s.a);
	s.seen = xcalloc(known + 1, sizeof(*s.seen));
	for (size_t i = 0; i < known; i++)
		table_set(s.by_base, maildir_base(box_file_name(b, &b->msg[i])), (void *)(uintptr_t)(i + 1));
	stamps_now(b, before);
	rc = scan_once(b, &s, e);
	if (rc == RC_OK && !all_seen(&s, known)) {
		stamps_now(b, before);
		rc = scan_once(b, &s, e);
	}
	if (rc == RC_OK) {
		for (size_t i = 0; i < known; i++)
			s.seen[i] = !s.seen[i]; /* now: gone */
		if (memchr(s.seen, 1, known))
			box_remove_marked(b, s.seen);
		if (s.n || u)
			rc = add_new(b, &s, u, e);
	}
	if (rc == RC_OK) {
		memcpy(b->stamp, before, sizeof(before));
		/* A change within the clock tick of this reading would not move the stamp: do not trust a
		 * young one. */
		int64_t now_ns = wall_now().us * 1000;
		for (int i = 0; i < 2; i++)
			if (before[i].mtime_ns > now_ns - 20000000)
				b->stamp[i].mtime_ns--;
		index_log_state(b);
	}
	table_free(&s.by_base, NULL);
	free(s.seen);
	arena_release(&s.a);
	return rc;
}

static void take_new(struct box *b, struct mailbox *view)
{
	char from[STORE_FILE_MAX], to[STORE_FILE_MAX], name[320];
	bool same[2], moved = false;
	for (size_t i = b->n; i-- > 0;) {
		struct message *m = &b->msg[i];
		if (m->where != WHERE_NEW)
			continue;
		struct span old = box_file_name(b, m);
		if (!maildir_make_name(b, old, m->flags, m->keywords, name, sizeof(name)) ||
		    !maildir_file_path(b, WHERE_NEW, old, from) ||
		    !maildir_file_path(b, WHERE_CUR, span_str(name), to))
			continue;
		if (!moved)
			maildir_before(b, same);
		moved = true;
		if (rename(from, to) != 0)
			continue;
		uint64_t modseq = m->modseq;
		box_set_flags(b, m, m->flags, m->keywords, WHERE_CUR, span_str(name));
		m->modseq = modseq; /* where a file lies is no change that a client sees */
		view_add_recent(view, m->uid);
	}
	if (!moved)
		return;
	maildir_after(b, same);
	index_log_state(b);
}

enum rc maildir_sync(struct box *b, struct mailbox *view, bool force, struct err *e)
{
	struct uidlist u = { 0 };
	struct stamp now[2];
	bool fresh = !b->uidvalidity, foreign;
	enum rc rc = RC_OK;
	stamps_now(b, now);
	if (!now[WHERE_CUR].ino)
		return err_set(e, RC_NOTFOUND, "mailbox %s does not exist", b->name);
	foreign = fresh || uidlist_changed(b);
	if (foreign) {
		b->uidlist_lines = 0;
		rc = uidlist_read(b, &u, e);
		if (rc != RC_OK && rc != RC_NOTFOUND)
			goto done;
		if (fresh || (u.uidvalidity && u.uidvalidity != b->uidvalidity)) {
			box_clear(b);
			keywords_read(b);
			b->uidvalidity = u.uidvalidity ? u.uidvalidity : (uint32_t)wall_s(wall_now());
			b->rewrite = true;
		}
		if (u.uidnext > b->uidnext)
			b->uidnext = u.uidnext;
	}
	if (force || foreign || !stamp_eq(&now[0], &b->stamp[0]) || !stamp_eq(&now[1], &b->stamp[1]))
		rc = reread(b, foreign ? &u : NULL, e);
	if (rc == RC_OK && view)
		take_new(b, view);
done:
	uidlist_free(&u);
	return rc;
}
