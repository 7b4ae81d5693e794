/* The tree of folders: list, make, remove, rename, subscriptions, special use, status. */
#include "store/box.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum rc store_open(const struct store_loc *loc, struct store **out, struct err *e)
{
	struct mbox_lock l;
	int fd;
	enum rc rc = RC_OK;
	if (loc->root[0])
		rc = path_mkdirs(loc->root, e);
	if (rc == RC_OK && loc->kind == STORE_MAILDIR)
		rc = maildir_make(loc->inbox, e);
	if (rc == RC_OK && loc->kind == STORE_MBOX && access(loc->inbox, F_OK) != 0 &&
	    (rc = mbox_open_locked(loc->inbox, O_RDWR | O_CREAT, &store_lock_default, &fd, &l, e)) == RC_OK)
		mbox_unlock_close(&fd, &l);
	if (rc != RC_OK)
		return rc;
	struct store *s = xcalloc(1, sizeof(*s));
	s->loc = *loc;
	list_init(&s->boxes);
	*out = s;
	return RC_OK;
}

void store_close(struct store **sp)
{
	struct store *s = *sp;
	if (!s)
		return;
	*sp = NULL;
	INVARIANT(list_empty(&s->boxes));
	free(s);
}

char store_separator(const struct store *s)
{
	return s->loc.kind == STORE_MAILDIR ? '.' : '/';
}

const struct store_loc *store_location(const struct store *s)
{
	return &s->loc;
}

bool store_name_valid(const struct store *s, struct span name)
{
	return folder_is_inbox(name) || folder_name_valid(&s->loc, name);
}

/* ---- subscriptions ---- */
static bool subs_path(const struct store *s, char out[STORE_FILE_MAX])
{
	if (s->loc.control[0])
		return path_join(out, s->loc.control, "subscriptions");
	if (s->loc.root[0])
		return path_join(out, s->loc.root,
				 s->loc.kind == STORE_MAILDIR ? "subscriptions" : ".subscriptions");
	int n = snprintf(out, STORE_FILE_MAX, "%s.subscriptions", s->loc.inbox);
	return n > 0 && n < STORE_FILE_MAX;
}

/* Names one a line; Dovecot's version 2 begins with "V\t2" and an empty line, and separates levels by TAB. */
static void subs_read(struct store *s, struct arena *a, struct span **v, size_t *n)
{
	char path[STORE_FILE_MAX];
	struct buf text;
	struct span rest, line;
	size_t cap = 0;
	*v = NULL;
	*n = 0;
	buf_init(&text, 4u << 20);
	if (subs_path(s, path) && file_read_all(path, 4u << 20, &text, NULL) == RC_OK) {
		rest = buf_span(&text);
		bool v2 = span_starts(rest, SPAN("V\t2\n"));
		if (v2)
			rest = span_skip(rest, 4);
		while (*n < STORE_FOLDER_MAX && span_next(&rest, '\n', &line)) {
			if (!line.n)
				continue;
			char *copy = arena_cstr(a, line);
			for (size_t i = 0; v2 && i < line.n; i++)
				if (copy[i] == '\t')
					copy[i] = store_separator(s);
			struct span name = span_make(copy, line.n);
			if (!store_name_valid(s, name))
				continue;
			if (*n == cap)
				*v = arena_grow(a, *v, *n, &cap, sizeof(**v));
			(*v)[(*n)++] = folder_is_inbox(name) ? SPAN("INBOX") : name;
		}
	}
	buf_release(&text);
}

enum rc store_subscribe(struct store *s, struct span name, bool on, struct err *e)
{
	char path[STORE_FILE_MAX];
	struct arena a;
	struct span *v;
	size_t n;
	struct buf out;
	bool had = false;
	if (!store_name_valid(s, name))
		return err_set(e, RC_SYNTAX, "Invalid mailbox name");
	if (!subs_path(s, path))
		return err_set(e, RC_LIMIT, "path too long");
	arena_init(&a);
	buf_init(&out, 4u << 20);
	subs_read(s, &a, &v, &n);
	buf_puts(&out, "V\t2\n\n");
	if (folder_is_inbox(name))
		name = SPAN("INBOX");
	for (size_t i = 0; i <= n; i++) {
		struct span line = i < n ? v[i] : name;
		if (i < n && span_eq(line, name)) {
			had = true;
			if (!on)
				continue;
		}
		if (i == n && (!on || had))
			break;
		for (size_t k = 0; k < line.n; k++)
			buf_putc(&out, line.p[k] == store_separator(s) ? '\t' : line.p[k]);
		buf_putc(&out, '\n');
	}
	enum rc rc = had == on	    ? RC_OK
		     : buf_ok(&out) ? file_replace(path, buf_span(&out), false, e)
				    : err_set(e, RC_LIMIT, "too many subscriptions");
	buf_release(&out);
	arena_release(&a);
	return rc;
}

/* ---- listing ---- */
struct listing {
	struct store *s;
	struct arena *a;
	struct store_folder *v;
	size_t n, cap;
};

static void list_add(struct listing *l, struct span name, uint32_t flags)
{
	if (l->n >= STORE_FOLDER_MAX)
		return;
	if (l->n == l->cap)
		l->v = arena_grow(l->a, l->v, l->n, &l->cap, sizeof(*l->v));
	l->v[l->n++] = (struct store_folder){ span_dup(l->a, name), flags };
}

static enum rc list_maildir(struct listing *l, struct err *e)
{
	char p[STORE_FILE_MAX + 8];
	struct stat st;
	DIR *d = opendir(l->s->loc.root);
	if (!d)
		return err_sys(e, "open %s", l->s->loc.root);
	for (struct dirent *de; (de = readdir(d));) {
		struct span name = span_str(de->d_name);
		if (name.n < 2 || name.p[0] != '.' ||
		    (de->d_type != DT_DIR && de->d_type != DT_UNKNOWN && de->d_type != DT_LNK))
			continue;
		name = span_skip(name, 1);
		if (!folder_name_valid(&l->s->loc, name) || folder_is_inbox(name))
			continue;
		if ((size_t)snprintf(p, sizeof(p), "%s/%s/cur", l->s->loc.root, de->d_name) >= sizeof(p) ||
		    stat(p, &st) != 0)
			continue;
		list_add(l, name, 0);
	}
	closedir(d);
	return RC_OK;
}

static enum rc list_mbox(struct listing *l, const char *rel, unsigned depth, struct err *e)
{
	char p[STORE_FILE_MAX], sub[STORE_FILE_MAX];
	struct stat st;
	if (!l->s->loc.root[0] || depth > STORE_DEPTH_MAX)
		return RC_OK;
	snprintf(p, sizeof(p), "%s/%s", l->s->loc.root, rel);
	DIR *d = opendir(p);
	if (!d)
		return depth ? RC_OK : err_sys(e, "open %s", p);
	for (struct dirent *de; l->n < STORE_FOLDER_MAX && (de = readdir(d));) {
		int n = snprintf(sub, sizeof(sub), "%s%s%s", rel, *rel ? "/" : "", de->d_name);
		struct span name = span_str(sub);
		if (n < 0 || (size_t)n >= sizeof(sub) || de->d_name[0] == '.' ||
		    !folder_name_valid(&l->s->loc, name))
			continue;
		if (!path_join(p, l->s->loc.root, sub) || stat(p, &st) != 0 ||
		    strcmp(p, l->s->loc.inbox) == 0)
			continue;
		if (S_ISDIR(st.st_mode)) {
			list_add(l, name, FOLDER_NOSELECT);
			if (list_mbox(l, sub, depth + 1, e) != RC_OK)
				break;
		} else if (S_ISREG(st.st_mode)) {
			list_add(l, name, 0);
		}
	}
	closedir(d);
	return RC_OK;
}

static int by_name(const void *x, const void *y)
{
	const struct store_folder *a = x, *b = y;
	bool ia = span_is(a->name, "INBOX"), ib = span_is(b->name, "INBOX");
	if (ia != ib)
		return ia ? -1 : 1;
	size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
	int c = n ? memcmp(a->name.p, b->name.p, n) : 0;
	return c ? c : a->name.n < b->name.n ? -1 : a->name.n > b->name.n;
}

/* One entry per name: real wins over "only above others". */
static void merge(struct listing *l)
{
	size_t kept = 0;
	if (!l->n)
		return;
	qsort(l->v, l->n, sizeof(*l->v), by_name);
	for (size_t i = 0; i < l->n; i++) {
		if (!kept || !span_eq(l->v[kept - 1].name, l->v[i].name)) {
			l->v[kept++] = l->v[i];
			continue;
		}
		struct store_folder *f = &l->v[kept - 1];
		uint32_t ghost = FOLDER_NOSELECT | FOLDER_NONEXISTENT;
		uint32_t both = (f->flags & ~ghost) | (l->v[i].flags & ~ghost);
		uint32_t g = (f->flags & ghost) && (l->v[i].flags & ghost)
				 ? (f->flags & l->v[i].flags & FOLDER_NONEXISTENT ? FOLDER_NONEXISTENT
										  : FOLDER_NOSELECT)
				 : 0;
		f->flags = both | g;
	}
	l->n = kept;
}

static void add_parents(struct listing *l)
{
	char sep = store_separator(l->s);
	size_t n = l->n;
	for (size_t i = 0; i < n; i++) {
		struct span name = l->v[i].name;
		if (l->v[i].flags & FOLDER_NONEXISTENT)
			continue;
		for (ptrdiff_t at; (at = span_rchr(name, sep)) > 0;) {
			name = span_head(name, (size_t)at);
			list_add(l, name, FOLDER_NOSELECT | FOLDER_CHILDREN);
		}
	}
}

static void add_marks(struct listing *l)
{
	struct store *s = l->s;
	for (size_t i = 0; i < l->n; i++)
		for (size_t k = 0; k < s->specials; k++)
			if (span_is(l->v[i].name, s->special[k].name) &&
			    !(l->v[i].flags & FOLDER_NONEXISTENT))
				l->v[i].flags |= s->special[k].flag;
}

enum rc store_folders(struct store *s, struct arena *a, struct store_folder **out, size_t *n, struct err *e)
{
	struct listing l = { .s = s, .a = a };
	struct span *subs;
	size_t nsubs;
	list_add(&l, SPAN("INBOX"), 0);
	enum rc rc = s->loc.kind == STORE_MAILDIR ? list_maildir(&l, e) : list_mbox(&l, "", 0, e);
	if (rc != RC_OK)
		return rc;
	add_parents(&l);
	subs_read(s, a, &subs, &nsubs);
	for (size_t i = 0; i < nsubs; i++)
		list_add(&l, subs[i], FOLDER_NONEXISTENT | FOLDER_SUBSCRIBED);
	merge(&l);
	add_marks(&l);
	*out = l.v;
	*n = l.n;
	return RC_OK;
}

/* ---- special use ---- */
enum rc store_special_use(struct store *s, struct span words, bool create, struct err *e)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} uses[] = { { "\\Drafts", FOLDER_DRAFTS },
		     { "\\Sent", FOLDER_SENT },
		     { "\\Trash", FOLDER_TRASH },
		     { "\\Junk", FOLDER_JUNK },
		     { "\\Archive", FOLDER_ARCHIVE } };
	struct span w;
	s->specials = 0;
	while (span_next_word(&words, " ,\t\r\n", &w)) {
		ptrdiff_t eq = span_chr(w, '=');
		struct span name = eq < 0 ? w : span_head(w, (size_t)eq),
			    use = eq < 0 ? SPAN_NONE : span_skip(w, (size_t)eq + 1);
		uint32_t flag = 0;
		for (size_t i = 0; i < ARRAY_LEN(uses); i++)
			if (span_is_ci(use, uses[i].name))
				flag = uses[i].flag;
		if (!flag || !folder_name_valid(&s->loc, name))
			return err_set(e, RC_SYNTAX, "bad special use \"" SPAN_FMT "\"", SPAN_ARG(w));
		if (s->specials == ARRAY_LEN(s->special))
			return err_set(e, RC_LIMIT, "too many special uses");
		if (span_cstr(name, s->special[s->specials].name, sizeof(s->special[0].name)) != RC_OK)
			return RC_SYNTAX;
		s->special[s->specials++].flag = flag;
		if (!create || !s->loc.root[0])
			continue;
		enum rc rc = store_create(s, name, e);
		if (rc == RC_OK)
			rc = store_subscribe(s, name, true, e);
		if (rc != RC_OK && rc != RC_DENIED)
			return rc;
	}
	return RC_OK;
}

/* ---- making and removing ---- */
/* What was open under a name is not to be found under it any more. */
static void forget_boxes(struct store *s, struct span name)
{
	LIST_EACH(it, &s->boxes)
	{
		struct box *b = LIST_ENTRY(it, struct box, link);
		if (span_is(name, b->name))
			b->name[0] = '\0';
	}
}

enum rc store_create(struct store *s, struct span name, struct err *e)
{
	char path[STORE_FILE_MAX], sub[STORE_FILE_MAX];
	struct stat st;
	if (folder_is_inbox(name))
		return err_set(e, RC_DENIED, "Mailbox already exists");
	bool only_parent = s->loc.kind == STORE_MBOX && name.n > 1 && name.p[name.n - 1] == '/';
	/* RFC 3501 6.3.3: a trailing separator announces children; in Maildir++ that takes nothing. */
	if (name.n > 1 && name.p[name.n - 1] == store_separator(s))
		name.n--;
	enum rc rc = folder_path(&s->loc, name, path, e);
	if (rc != RC_OK)
		return rc;
	if (s->loc.kind == STORE_MAILDIR) {
		if (path_join(sub, path, "cur") && stat(sub, &st) == 0)
			return err_set(e, RC_DENIED, "Mailbox already exists");
		if ((rc = maildir_make(path, e)) != RC_OK)
			return rc;
		if (path_join(sub, path, "maildirfolder")) { /* Maildir++ mark for delivery agents */
			int fd = open(sub, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
			if (fd >= 0)
				close(fd);
		}
		return path_sync_dir(path, e);
	}
	if (stat(path, &st) == 0 && !(S_ISDIR(st.st_mode) && only_parent))
		return err_set(e, RC_DENIED, "Mailbox already exists");
	if (only_parent)
		return path_mkdirs(path, e);
	memcpy(sub, path, strlen(path) + 1);
	char *slash = strrchr(sub, '/');
	*slash = '\0';
	if ((rc = path_mkdirs(sub, e)) != RC_OK)
		return rc;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "create %s", path);
	close(fd);
	return path_sync_dir(sub, e);
}

/* A tree of known shape: directories at most `depth` deep. */
static void remove_tree(const char *path, unsigned depth)
{
	char p[STORE_FILE_MAX];
	DIR *d = opendir(path);
	if (!d)
		return;
	for (struct dirent *de; (de = readdir(d));) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
		    !path_join(p, path, de->d_name))
			continue;
		if (unlink(p) != 0 && errno == EISDIR && depth)
			remove_tree(p, depth - 1);
	}
	closedir(d);
	rmdir(path);
}

enum rc store_delete(struct store *s, struct span name, struct err *e)
{
	char path[STORE_FILE_MAX], trash[STORE_FILE_MAX + 32], side[STORE_FILE_MAX];
	struct stat st;
	if (folder_is_inbox(name))
		return err_set(e, RC_DENIED, "INBOX can't be deleted.");
	enum rc rc = folder_path(&s->loc, name, path, e);
	if (rc != RC_OK)
		return rc;
	if (stat(path, &st) != 0)
		return err_set(e, RC_NOTFOUND, "Mailbox doesn't exist: " SPAN_FMT, SPAN_ARG(name));
	if (s->loc.kind == STORE_MAILDIR) {
		/* Out of sight in one step, then piece by piece. */
		snprintf(trash, sizeof(trash), "%s/..DOVECOT-TRASHED.%ld", s->loc.root, (long)getpid());
		if (rename(path, trash) != 0)
			return err_sys(e, "rename %s", path);
		remove_tree(trash, 2);
	} else {
		if ((S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path)) != 0)
			return errno == ENOTEMPTY
				   ? err_set(e, RC_DENIED, "Mailbox has children, delete them first")
				   : err_sys(e, "remove %s", path);
	}
	if (folder_side_path(&s->loc, name, false, side, e) == RC_OK && strcmp(side, path) != 0)
		remove_tree(side, 0);
	forget_boxes(s, name);
	return RC_OK;
}

/* ---- renaming ---- */
static enum rc rename_inbox(struct store *s, struct span to, struct err *e)
{
	struct mailbox *m;
	enum rc rc = store_create(s, to, e);
	if (rc != RC_OK || (rc = mailbox_open(s, SPAN("INBOX"), 0, &m, e)) != RC_OK)
		return rc;
	size_t n = mailbox_count(m);
	size_t *seq = xcalloc(n + 1, sizeof(*seq));
	uint32_t *uid = xcalloc(n + 1, sizeof(*uid)), validity;
	for (size_t i = 0; i < n; i++)
		seq[i] = i + 1;
	rc = n ? mailbox_copy(m, seq, n, to, true, uid, &validity, e) : RC_OK;
	free(seq);
	free(uid);
	mailbox_close(&m);
	return rc;
}

static enum rc rename_one(struct store *s, struct span from, struct span to, struct err *e)
{
	char a[STORE_FILE_MAX], b[STORE_FILE_MAX], parent[STORE_FILE_MAX];
	enum rc rc = folder_path(&s->loc, from, a, e);
	if (rc == RC_OK)
		rc = folder_path(&s->loc, to, b, e);
	if (rc != RC_OK)
		return rc;
	memcpy(parent, b, strlen(b) + 1);
	*strrchr(parent, '/') = '\0';
	if ((rc = path_mkdirs(parent, e)) != RC_OK)
		return rc;
	if (rename(a, b) != 0)
		return err_sys(e, "rename %s", a);
	for (int control = 0; control < 2; control++) {
		char x[STORE_FILE_MAX], y[STORE_FILE_MAX];
		if (folder_side_path(&s->loc, from, control, x, e) == RC_OK &&
		    folder_side_path(&s->loc, to, control, y, e) == RC_OK && strcmp(x, a) != 0)
			if (rename(x, y) != 0 && errno != ENOENT)
				return err_sys(e, "rename %s", x);
	}
	forget_boxes(s, from);
	return path_sync_dir(parent, e);
}

static bool exists_in(const struct store_folder *v, size_t n, struct span name)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(v[i].name, name) && !(v[i].flags & FOLDER_NONEXISTENT))
			return true;
	return false;
}

enum rc store_rename(struct store *s, struct span from, struct span to, struct err *e)
{
	struct arena a;
	struct store_folder *v;
	size_t n = 0;
	char sep = store_separator(s);
	if (to.n > 1 && to.p[to.n - 1] == sep)
		to.n--;
	if (folder_is_inbox(to) || !folder_name_valid(&s->loc, to))
		return folder_is_inbox(to) ? err_set(e, RC_DENIED, "Mailbox already exists")
					   : err_set(e, RC_SYNTAX, "Invalid mailbox name");
	if (folder_is_inbox(from))
		return rename_inbox(s, to, e);
	arena_init(&a);
	enum rc rc = store_folders(s, &a, &v, &n, e);
	struct span below = span_printf(&a, SPAN_FMT "%c", SPAN_ARG(from), sep);
	if (rc == RC_OK && !exists_in(v, n, from))
		rc = err_set(e, RC_NOTFOUND, "Mailbox doesn't exist: " SPAN_FMT, SPAN_ARG(from));
	if (rc == RC_OK && exists_in(v, n, to))
		rc = err_set(e, RC_DENIED, "Target mailbox already exists");
	if (rc == RC_OK && span_starts(to, below))
		rc = err_set(e, RC_DENIED, "Can't rename mailbox under itself");
	for (size_t i = 0; i < n && rc == RC_OK;
	     i++) { /* all new names must be possible before the first is taken */
		if (!span_starts(v[i].name, below))
			continue;
		struct span name =
		    span_printf(&a, SPAN_FMT SPAN_FMT, SPAN_ARG(to), SPAN_ARG(span_skip(v[i].name, from.n)));
		if (!folder_name_valid(&s->loc, name))
			rc = err_set(e, RC_SYNTAX, "Invalid mailbox name");
	}
	for (size_t i = 0; i < n && rc == RC_OK; i++) {
		bool self = span_eq(v[i].name, from);
		if ((!self && !span_starts(v[i].name, below)) || (v[i].flags & FOLDER_NONEXISTENT))
			continue;
		if (s->loc.kind == STORE_MBOX ? !self : (v[i].flags & FOLDER_NOSELECT) != 0)
			continue; /* mbox: the directory takes along what is below */
		struct span name =
		    span_printf(&a, SPAN_FMT SPAN_FMT, SPAN_ARG(to), SPAN_ARG(span_skip(v[i].name, from.n)));
		rc = rename_one(s, v[i].name, name, e);
	}
	arena_release(&a);
	return rc;
}

/* ---- status ---- */
enum rc store_status(struct store *s, struct span name, struct store_status *out, struct err *e)
{
	struct box *b;
	enum rc rc = box_get(s, name, &b, e);
	if (rc != RC_OK)
		return rc;
	if ((rc = box_sync(b, NULL, false, e)) == RC_OK) {
		*out = (struct store_status){ .messages = (uint32_t)b->n,
					      .uidnext = b->uidnext,
					      .uidvalidity = b->uidvalidity,
					      .highest_modseq = b->modseq };
		for (size_t i = 0; i < b->n; i++) {
			out->unseen += !(b->msg[i].flags & MSG_SEEN);
			out->recent += b->msg[i].where == WHERE_NEW;
			out->size += b->msg[i].have & HAVE_VSIZE ? b->msg[i].vsize : b->msg[i].size;
		}
	}
	box_put(b);
	return rc;
}
