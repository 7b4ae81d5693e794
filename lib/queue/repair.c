/* queue/repair.c - putting the queue's files where they belong (repair.h). */
#include "queue/repair.h"
#include "queue/qdir.h"
#include "queue/qheader.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX   4 /* of directories below a queue's own; ours has one, other depths of hashing had more */
#define TEMP_AGE_S  (24 * 3600)
#define LANE	    0xff /* of ids given here: no process of the suite has it */
#define COPY_CHUNK  (128 * 1024)
#define PATH_BYTES  600
#define ID_ATTEMPTS 100

struct walk {
	struct queue *q;
	enum qdir dir;
	enum queue_where where;
	const struct repair *r;
	struct err *e;
	enum rc rc; /* of the whole */
};
struct place {
	int dirfd;	  /* of the directory that it is in */
	const char *leaf; /* its name there */
	const char *path; /* its name from the queue's own directory on */
};

/* `to` as it is: a story, or NULL. */
static void tell_story(const struct walk *w, enum repaired what, const char *from, const char *story)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", qdir_name(w->dir), from);
	w->r->tell(w->r->arg, what, path, story);
}

static void tell(const struct walk *w, enum repaired what, const char *from, const char *to)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", qdir_name(w->dir), to);
	tell_story(w, what, from, path);
}

static void failed(const struct walk *w, const char *path)
{
	tell_story(w, REPAIR_FAILED, path, strerror(errno));
}

/* ---- unfinished files ---- */

/* ".new.PID.N" of a process that is no more. */
static bool writer_is_gone(const char *name)
{
	struct span rest = span_str(name + sizeof(NEW_PREFIX) - 1), pid;
	uint64_t n;

	return span_next(&rest, '.', &pid) && span_to_u64(pid, INT32_MAX, &n) == RC_OK && n > 0 &&
	       kill((pid_t)n, 0) != 0 && errno == ESRCH;
}

static void purge(const struct walk *w, const struct place *p, const struct stat *st)
{
	bool old = st->st_mtime < time(NULL) - TEMP_AGE_S;

	if (!w->r->temporary || !S_ISREG(st->st_mode) ||
	    strncmp(p->leaf, NEW_PREFIX, sizeof(NEW_PREFIX) - 1) != 0 ||
	    !(old || (w->r->idle && writer_is_gone(p->leaf))))
		return;
	if (unlinkat(p->dirfd, p->leaf, 0) == 0)
		tell_story(w, REPAIR_PURGED, p->path, NULL);
	else
		failed(w, p->path);
}

/* ---- names and places ---- */

static int open_place(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* Both are the same message: content and envelope as they were written. States of recipients may differ; the one in its place
 * is the one that qmgr works with. */
static bool same_message(int fd, const struct walk *w, const char *to)
{
	struct qheader a, b;
	struct err e;
	int other = open_place(w->q->dir[w->dir], to);
	bool same = other >= 0 && qheader_load(fd, 0, &a, &e) == RC_OK &&
		    qheader_load(other, 0, &b, &e) == RC_OK && span_eq(qid_span(&a.qid), qid_span(&b.qid)) &&
		    a.content_bytes == b.content_bytes && a.content_crc == b.content_crc &&
		    a.env_bytes == b.env_bytes && a.env_crc == b.env_crc && a.extents_crc == b.extents_crc &&
		    b.state != QSTATE_DONE;

	if (other >= 0)
		close(other);
	return same;
}

/* The message in `from`, as it is now, with the id env->qid into the nameless file `to`. */
static enum rc copy_message(int from, const struct qimage *im, int to, struct arena *a, struct err *e)
{
	char *chunk = arena_alloc(a, COPY_CHUNK);
	struct qstatus *log;
	size_t n;
	enum rc rc = RC_OK;

	for (uint64_t off = 0; rc == RC_OK && off < im->content_bytes; off += n) {
		n = im->content_bytes - off < COPY_CHUNK ? (size_t)(im->content_bytes - off) : COPY_CHUNK;
		if ((rc = qimage_pread(from, 0, im, off, chunk, n, e)) == RC_OK)
			rc = pwrite_all(to, chunk, n, QFILE_CONTENT_OFF + (int64_t)off, e);
	}
	if (rc == RC_OK)
		rc = qimage_complete(to, &im->env, im->content_bytes, SPAN_NONE, NULL, 0, false, false, e);
	if (rc == RC_OK)
		rc = qimage_schedule(to, 0, im->next_try_us, im->attempts, im->env.flags, e);
	if (rc == RC_OK && qimage_read_log(from, 0, UINT64_MAX, im, a, &log, &n, e) == RC_OK && n > 0)
		rc = qimage_append_log(to, log, n, e);
	return rc;
}

/* A new id for a message whose own belongs to another one. The old file goes when the new one is durable. */
static enum rc renumber(struct walk *w, int from, char to[QID_MAX + 3], struct err *e)
{
	struct qimage im;
	struct arena a;
	struct qid id;
	enum rc rc;
	int fd = -1;

	arena_init(&a);
	rc = qimage_read(from, 0, UINT64_MAX, true, &a, &im, e);
	for (unsigned i = 0; rc == RC_OK && i < ID_ATTEMPTS; i++) {
		id = qid_new(LANE);
		im.env.qid = qid_span(&id);
		qfile_place(&id, w->where, to);
		if ((rc = queue_file_new(w->q, &fd, e)) != RC_OK)
			break;
		if ((rc = copy_message(from, &im, fd, &a, e)) == RC_OK &&
		    (rc = queue_file_commit(w->q, fd, &id, w->where, e)) == RC_OK) {
			close(fd);
			break;
		}
		if (errno == EEXIST && i + 1 < ID_ATTEMPTS)
			rc = RC_OK;
		queue_file_drop(w->q, fd);
	}
	arena_release(&a);
	return rc;
}

/* The place of its id is taken. */
static void settle(struct walk *w, const struct place *p, int fd, const char *to)
{
	char other[QID_MAX + 3];
	struct err e;
	bool same = same_message(fd, w, to);
	enum rc rc = same ? RC_OK : renumber(w, fd, other, &e);

	if (rc != RC_OK)
		tell_story(w, REPAIR_FAILED, p->path, e.text);
	else if (unlinkat(p->dirfd, p->leaf, 0) != 0)
		failed(w, p->path);
	else
		tell(w, same ? REPAIR_DOUBLE : REPAIR_RENUMBERED, p->path, same ? to : other);
}

static int rename_to(const struct walk *w, const struct place *p, const char *to)
{
	int top = w->q->dir[w->dir];
	char sub[2] = { to[0], '\0' };

	if (renameat2(p->dirfd, p->leaf, top, to, 1 /* RENAME_NOREPLACE */) == 0)
		return 0;
	if (errno != ENOENT || to[1] != '/' || (mkdirat(top, sub, 0700) != 0 && errno != EEXIST))
		return -1;
	return renameat2(p->dirfd, p->leaf, top, to, 1);
}

static void put_right(struct walk *w, const struct place *p, int fd, const struct qid *id)
{
	char to[QID_MAX + 3];

	qfile_place(id, w->where, to);
	if (strcmp(to, p->path) == 0)
		return;
	if (rename_to(w, p, to) == 0)
		tell(w, strcmp(p->leaf, id->s) == 0 ? REPAIR_MOVED : REPAIR_RENAMED, p->path, to);
	else if (errno == EEXIST)
		settle(w, p, fd, to);
	else if (errno != ENOENT) /* gone: the suite works on it */
		failed(w, p->path);
}

static void check_contents(struct walk *w, const struct place *p, int fd)
{
	struct qimage im;
	struct arena a;
	struct err e;
	enum rc rc;

	arena_init(&a);
	rc = qimage_read(fd, 0, UINT64_MAX, true, &a, &im, &e);
	if (rc != RC_OK && rc != RC_GONE)
		tell_story(w, REPAIR_DAMAGED, p->path, e.text);
	arena_release(&a);
}

/* A file whose header cannot be read keeps its name, when that is an id; qmgr finds it in its place, and moves it to corrupt/. */
static void check_file(struct walk *w, const struct place *p)
{
	int fd = open_place(p->dirfd, p->leaf);
	struct qheader h;
	struct qid id;
	struct err e;

	if (fd < 0) {
		if (errno != ENOENT)
			failed(w, p->path);
		return;
	}
	if (w->r->contents)
		check_contents(w, p, fd);
	if (qheader_load(fd, 0, &h, &e) == RC_OK)
		put_right(w, p, fd, &h.qid);
	else if (qid_parse(span_str(p->leaf), &id))
		put_right(w, p, fd, &id);
	else
		tell_story(w, REPAIR_BOGUS, p->path, NULL);
	close(fd);
}

static void check_dir(struct walk *w, int top, const char *path, unsigned depth);

/* A directory of one digit belongs to some depth of hashing; when ours has no use for it, it goes as soon as it is empty. */
static void check_subdir(struct walk *w, const struct place *p, unsigned depth)
{
	bool ours = w->where == QW_DEFERRED && depth == 0;

	if (strlen(p->leaf) != 1 || depth + 1 > DEPTH_MAX) {
		tell_story(w, REPAIR_BOGUS, p->path, NULL);
		return;
	}
	check_dir(w, p->dirfd, p->path, depth + 1);
	if (w->r->structure && !ours && unlinkat(p->dirfd, p->leaf, AT_REMOVEDIR) != 0 &&
	    errno != ENOTEMPTY && errno != ENOENT)
		failed(w, p->path);
}

static void check_entry(struct walk *w, const struct place *p, unsigned depth)
{
	bool messages = w->r->structure && w->where != QW_SLOT && w->where != QW_MAILDROP;
	struct stat st;

	if (fstatat(p->dirfd, p->leaf, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	if (p->leaf[0] == '.')
		purge(w, p, &st);
	else if (S_ISDIR(st.st_mode))
		check_subdir(w, p, depth);
	else if (messages && S_ISREG(st.st_mode))
		check_file(w, p);
	else if (messages)
		tell_story(w, REPAIR_BOGUS, p->path, NULL);
}

/* `path` is "" for the queue's own directory, else where `top` has the last part of it. */
static void check_dir(struct walk *w, int top, const char *path, unsigned depth)
{
	const char *slash = strrchr(path, '/'), *leaf = slash != NULL ? slash + 1 : path;
	int fd = openat(top, *leaf != '\0' ? leaf : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (d == NULL) {
		w->rc = err_sys(w->e, "list %s/%s", qdir_name(w->dir), path);
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL) {
		char full[PATH_BYTES];
		struct place p = { fd, de->d_name, full };

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(full, sizeof(full), "%s%s%s", path, *path != '\0' ? "/" : "", de->d_name);
		check_entry(w, &p, depth);
	}
	closedir(d);
}

static enum rc check_queue(struct queue *q, enum queue_where where, enum qdir dir, const struct repair *r,
			   struct err *e)
{
	struct walk w = { .q = q, .dir = dir, .where = where, .r = r, .e = e, .rc = RC_OK };

	if (q->dir[dir] < 0)
		return RC_OK;
	check_dir(&w, q->dir[dir], "", 0);
	return w.rc;
}

enum rc queue_repair(struct queue *q, enum queue_where where, const struct repair *r, struct err *e)
{
	enum rc rc = check_queue(q, where, qdir_of(where), r, e), rc2;
	struct err e2;

	if (where == QW_SLOT) {
		rc2 = check_queue(q, where, QD_CORRUPT, r, rc == RC_OK ? e : &e2);
		return rc == RC_OK ? rc2 : rc;
	}
	if (r->structure && where != QW_MAILDROP && q->dir[qdir_of(where)] >= 0) {
		rc2 = queue_dir_sync(q, where, rc == RC_OK ? e : &e2);
		return rc == RC_OK ? rc2 : rc;
	}
	return rc;
}
