/* queue/files.c - files of their own: made without a name, named when whole, synced name and all (queue.h).
 *
 * The order of a commit is: content written - linkat() to the final name - fsync(file) - fsync(directory). A
 * crash before the end leaves no name, or a name whose content fails its checksums; neither was acknowledged.
 * A failed fsync is final: the name is removed and the caller writes elsewhere or refuses.
 *
 * Where O_TMPFILE cannot be linked (chroot without /proc on older kernels, some file systems) the file being
 * written is called ".new.PID.N", which no reader takes for a queue id, and is renamed. */
#include "queue/qdir.h"
#include "queue/qheader.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *const dir_names[QD_COUNT] = { "pool", "incoming", "active",	"deferred",
						 "hold", "corrupt",  "maildrop" };

struct named_file {
	struct list link;
	int fd, dirfd;
	char name[48];
};

const char *qdir_name(enum qdir dir)
{
	return dir_names[dir];
}

enum qdir qdir_of(enum queue_where where)
{
	static const enum qdir of[] = { QD_POOL, QD_INCOMING, QD_ACTIVE, QD_DEFERRED, QD_HOLD, QD_MAILDROP };

	INVARIANT((size_t)where < ARRAY_LEN(of));
	return of[where];
}

enum rc sync_fd(int fd, const char *what, struct err *e)
{
	while (fsync(fd) != 0)
		if (errno != EINTR)
			return err_sys(e, "sync %s", what);
	return RC_OK;
}

/* ---- the directories ---- */

static int open_dir(int top, const char *name, bool rw)
{
	int fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT && rw &&
	    (mkdirat(top, name, 0700) == 0 || errno == EEXIST)) { /* another thread may be making it */
		(void)fsync(top);
		fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	}
	return fd;
}

enum rc queue_open(const char *dir, bool rw, struct queue **out, struct err *e)
{
	struct queue *q = xcalloc(1, sizeof(*q));
	enum rc rc;

	*out = NULL;
	q->rw = rw;
	list_init(&q->named_files);
	pthread_mutex_init(&q->lock, NULL);
	for (size_t i = 0; i < QD_COUNT; i++)
		q->dir[i] = -1;
	/* O_PATH: a sandboxed process may go below the top, not list it */
	q->top = open(dir[0] != '\0' ? dir : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (q->top < 0) {
		rc = err_sys(e, "open queue directory %s", dir);
		free(q);
		return rc;
	}
	for (size_t i = 0; i < QD_COUNT; i++)
		q->dir[i] = open_dir(q->top, dir_names[i], rw && i != QD_MAILDROP); /* its mode is master's */
	if (rw)
		qfile_probe(q);
	if ((rc = queue_pool_refresh(q, e)) != RC_OK) {
		queue_close(&q);
		return rc;
	}
	*out = q;
	return RC_OK;
}

void queue_close(struct queue **qp)
{
	struct queue *q = *qp;

	if (q == NULL)
		return;
	*qp = NULL;
	pool_close(q);
	for (size_t i = 0; i < QD_COUNT; i++)
		if (q->dir[i] >= 0)
			close(q->dir[i]);
	LIST_EACH_SAFE(it, &q->named_files)
	free(LIST_ENTRY(it, struct named_file, link));
	close(q->top);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* deferred/ has sixteen directories: the first digit of a short id, which is of its microseconds, spreads
 * evenly. */
static char hash_digit(const struct qid *id)
{
	unsigned sum = 0;
	char c = id->s[0];

	if (strlen(id->s) == 14 && ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F')))
		return c;
	for (const char *p = id->s; *p != '\0'; p++)
		sum += (unsigned char)*p;
	return "0123456789ABCDEF"[sum & 15];
}

void qfile_place(const struct qid *id, enum queue_where where, char out[QID_MAX + 3])
{
	if (where == QW_DEFERRED)
		snprintf(out, QID_MAX + 3, "%c/%s", hash_digit(id), id->s);
	else
		snprintf(out, QID_MAX + 3, "%s", id->s);
}

int qfile_dir(struct queue *q, const struct qid *id, enum queue_where where, bool *own)
{
	char name[2] = { hash_digit(id), '\0' };
	int top = q->dir[qdir_of(where)];

	*own = where == QW_DEFERRED;
	return *own && top >= 0 ? open_dir(top, name, q->rw) : top;
}

void qfile_dir_done(int dirfd, bool own)
{
	if (own && dirfd >= 0)
		close(dirfd);
}

/* ---- nameless files ---- */

static int link_nameless(int fd, int dirfd, const char *name)
{
	char proc[32];

	if (linkat(fd, "", dirfd, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno == EEXIST || errno == ENOSPC || errno == EDQUOT || errno == EIO)
		return -1;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, proc, dirfd, name, AT_SYMLINK_FOLLOW);
}

void qfile_probe(struct queue *q)
{
	char name[48];
	int dirfd = q->dir[QD_INCOMING], fd;

	if (dirfd < 0)
		return;
	snprintf(name, sizeof(name), NEW_PREFIX "%d.probe", (int)getpid());
	fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	q->named = fd < 0 || link_nameless(fd, dirfd, name) != 0;
	if (!q->named)
		(void)unlinkat(dirfd, name, 0);
	if (fd >= 0)
		close(fd);
}

static enum rc open_named(struct queue *q, int dirfd, int *fd, struct err *e)
{
	static unsigned counter;
	struct named_file *nf = xcalloc(1, sizeof(*nf));

	pthread_mutex_lock(&q->lock);
	snprintf(nf->name, sizeof(nf->name), NEW_PREFIX "%d.%u", (int)getpid(), counter++);
	nf->fd = *fd = openat(dirfd, nf->name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	nf->dirfd = nf->fd >= 0 ? fcntl(dirfd, F_DUPFD_CLOEXEC, 0) : -1;
	if (nf->fd >= 0)
		list_add_tail(&q->named_files, &nf->link);
	pthread_mutex_unlock(&q->lock);
	if (*fd >= 0)
		return RC_OK;
	free(nf);
	return err_sys(e, "create queue file");
}

enum rc qfile_nameless(struct queue *q, int dirfd, int *fd, struct err *e)
{
	if (q->named)
		return open_named(q, dirfd, fd, e);
	*fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return *fd >= 0 ? RC_OK : err_sys(e, "create queue file");
}

/* Takes the entry of fd off the list; NULL: fd has no name. */
static struct named_file *take_named(struct queue *q, int fd)
{
	struct named_file *found = NULL;

	pthread_mutex_lock(&q->lock);
	LIST_EACH(it, &q->named_files)
	if (LIST_ENTRY(it, struct named_file, link)->fd == fd)
		found = LIST_ENTRY(it, struct named_file, link);
	if (found != NULL)
		list_del(&found->link);
	pthread_mutex_unlock(&q->lock);
	return found;
}

static void free_named(struct named_file *nf)
{
	close(nf->dirfd);
	free(nf);
}

enum rc qfile_name(struct queue *q, int fd, int dirfd, const char *name, struct err *e)
{
	struct named_file *nf = q->named ? take_named(q, fd) : NULL;
	int r, saved;

	if (nf == NULL)
		return link_nameless(fd, dirfd, name) == 0 ? RC_OK : err_sys(e, "name queue file %s", name);
	r = renameat2(nf->dirfd, nf->name, dirfd, name, 1 /* RENAME_NOREPLACE */);
	saved = errno;
	if (r != 0)
		(void)unlinkat(nf->dirfd, nf->name, 0);
	free_named(nf);
	errno = saved;
	return r == 0 ? RC_OK : err_sys(e, "name queue file %s", name);
}

void qfile_drop(struct queue *q, int fd)
{
	struct named_file *nf = q->named ? take_named(q, fd) : NULL;

	if (nf != NULL) {
		(void)unlinkat(nf->dirfd, nf->name, 0);
		free_named(nf);
	}
	close(fd);
}

enum rc queue_file_new(struct queue *q, int *fd, struct err *e)
{
	return qfile_nameless(q, q->dir[QD_INCOMING], fd, e);
}

void queue_file_drop(struct queue *q, int fd)
{
	qfile_drop(q, fd);
}

/* ---- names ---- */

static enum rc link_in(struct queue *q, int fd, int dirfd, const struct qid *id, struct err *e)
{
	enum rc rc = qfile_name(q, fd, dirfd, id->s, e);

	if (rc != RC_OK)
		return rc;
	if ((rc = sync_fd(fd, id->s, e)) != RC_OK)
		(void)unlinkat(dirfd, id->s, 0);
	return rc;
}

enum rc queue_file_link(struct queue *q, int fd, const struct qid *id, enum queue_where where, struct err *e)
{
	bool own;
	int dirfd = qfile_dir(q, id, where, &own);
	enum rc rc = dirfd < 0 ? err_sys(e, "open directory of %s", id->s) : link_in(q, fd, dirfd, id, e);

	qfile_dir_done(dirfd, own);
	return rc;
}

enum rc queue_file_commit(struct queue *q, int fd, const struct qid *id, enum queue_where where,
			  struct err *e)
{
	bool own;
	int dirfd = qfile_dir(q, id, where, &own);
	enum rc rc = dirfd < 0 ? err_sys(e, "open directory of %s", id->s) : link_in(q, fd, dirfd, id, e);

	if (rc == RC_OK && (rc = sync_fd(dirfd, "queue directory", e)) != RC_OK)
		(void)unlinkat(dirfd, id->s, 0);
	qfile_dir_done(dirfd, own);
	return rc;
}

enum rc queue_dir_sync(struct queue *q, enum queue_where where, struct err *e)
{
	char name[2] = "";
	enum rc rc = sync_fd(q->dir[qdir_of(where)], dir_names[qdir_of(where)], e);

	for (unsigned i = 0; where == QW_DEFERRED && rc == RC_OK && i < 16; i++) {
		int fd;

		name[0] = "0123456789ABCDEF"[i];
		if ((fd = openat(q->dir[QD_DEFERRED], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
			continue;
		rc = sync_fd(fd, "deferred", e);
		close(fd);
	}
	return rc;
}

enum rc queue_file_open(struct queue *q, const struct qid *id, enum queue_where where, bool rw, int *fd,
			struct err *e)
{
	bool own;
	int dirfd = qfile_dir(q, id, where, &own);
	struct stat st;

	*fd = dirfd < 0
		  ? -1
		  : openat(dirfd, id->s, (rw ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	qfile_dir_done(dirfd, own);
	if (*fd < 0)
		return errno == ENOENT ? err_set(e, RC_NOTFOUND, "%s: no such queue file", id->s)
				       : err_sys(e, "open queue file %s", id->s);
	if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
		return RC_OK;
	close(*fd);
	*fd = -1;
	return err_set(e, RC_SYNTAX, "%s: not a regular file", id->s);
}

enum rc queue_file_move(struct queue *q, const struct qid *id, enum queue_where from, enum queue_where to,
			struct err *e)
{
	bool own_from, own_to;
	int dfrom = qfile_dir(q, id, from, &own_from), dto = qfile_dir(q, id, to, &own_to);
	enum rc rc = RC_OK;

	if (dfrom < 0 || dto < 0 || renameat(dfrom, id->s, dto, id->s) != 0)
		rc = errno == ENOENT ? err_set(e, RC_NOTFOUND, "%s: no such queue file", id->s)
				     : err_sys(e, "move queue file %s", id->s);
	if (rc == RC_OK) /* the new name first: a crash between the two leaves two names, never none */
		rc = sync_fd(dto, "queue directory", e);
	if (rc == RC_OK && from != to)
		rc = sync_fd(dfrom, "queue directory", e);
	qfile_dir_done(dfrom, own_from);
	qfile_dir_done(dto, own_to);
	return rc;
}

enum rc queue_file_remove(struct queue *q, const struct qid *id, enum queue_where where, struct err *e)
{
	bool own;
	int dirfd = qfile_dir(q, id, where, &own);
	enum rc rc = RC_OK;

	if (dirfd < 0 || unlinkat(dirfd, id->s, 0) != 0)
		rc = errno == ENOENT ? err_set(e, RC_NOTFOUND, "%s: no such queue file", id->s)
				     : err_sys(e, "remove queue file %s", id->s);
	qfile_dir_done(dirfd, own);
	return rc;
}

/* `name` may be "X/ID" in deferred/; in corrupt/ it gets a number behind when the name is taken. */
enum rc queue_file_corrupt(struct queue *q, const char *name, enum queue_where where, struct err *e)
{
	const char *slash = strrchr(name, '/'), *leaf = slash != NULL ? slash + 1 : name;
	char to[300], hashed[QID_MAX + 3];
	struct qid id;
	int r = -1;

	if (leaf[0] == '\0' || leaf[0] == '.' || strlen(name) > 255)
		return err_set(e, RC_SYNTAX, "not a name of a queue file");
	if (where == QW_DEFERRED && slash == NULL && qid_parse(span_str(name), &id)) {
		qfile_place(&id, where, hashed);
		name = hashed;
	}
	snprintf(to, sizeof(to), "%s", leaf);
	for (unsigned i = 1; i < 1000; i++) {
		r = renameat2(q->dir[qdir_of(where)], name, q->dir[QD_CORRUPT], to, 1 /* RENAME_NOREPLACE */);
		if (r == 0 || errno != EEXIST)
			break;
		snprintf(to, sizeof(to), "%s.%u", leaf, i);
	}
	return r == 0 ? RC_OK : err_sys(e, "move %s to corrupt", name);
}

/* ---- listing ---- */

typedef bool list_fn(void *arg, const struct qid *id, const char *name);

/* false: fn wants no more. */
static enum rc list_one(int dirfd, const char *sub, list_fn *fn, void *arg, bool *go_on, struct err *e)
{
	int fd = openat(dirfd, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return errno == ENOENT ? RC_OK : err_sys(e, "list %s", sub);
	}
	while (*go_on && (errno = 0, de = readdir(d)) != NULL) {
		char name[300];
		struct qid id;
		bool ok;

		if (de->d_name[0] == '.' || (de->d_type == DT_DIR && strlen(de->d_name) == 1))
			continue;
		ok = qid_parse(span_str(de->d_name), &id);
		if (sub[0] == '.')
			snprintf(name, sizeof(name), "%s", de->d_name);
		else
			snprintf(name, sizeof(name), "%s/%s", sub, de->d_name);
		*go_on = fn(arg, ok ? &id : NULL, name);
	}
	closedir(d);
	return RC_OK;
}

enum rc queue_list(struct queue *q, enum queue_where where, list_fn *fn, void *arg, struct err *e)
{
	int dirfd = q->dir[qdir_of(where)];
	char sub[2] = "";
	bool go_on = true;
	enum rc rc;

	if (dirfd < 0)
		return RC_OK;
	rc = list_one(dirfd, ".", fn, arg, &go_on, e);
	for (unsigned i = 0; where == QW_DEFERRED && rc == RC_OK && go_on && i < 16; i++) {
		sub[0] = "0123456789ABCDEF"[i];
		rc = list_one(dirfd, sub, fn, arg, &go_on, e);
	}
	return rc;
}

/* ---- out of a slot ---- */

static enum rc copy_slot(struct queue *q, uint32_t slot, int fd, struct err *e)
{
	struct slot_pos at = queue_slot(q, slot);
	char *p = xmalloc((size_t)at.bytes);
	enum rc rc = pread_all(at.fd, p, (size_t)at.bytes, at.base, e);

	if (rc == RC_OK)
		rc = pwrite_all(fd, p, (size_t)at.bytes, 0, e);
	free(p);
	return rc;
}

enum rc queue_slot_corrupt(struct queue *q, uint32_t slot, const struct qid *id, struct err *e)
{
	char name[64];
	int fd;
	enum rc rc = qfile_nameless(q, q->dir[QD_CORRUPT], &fd, e);

	if (rc != RC_OK)
		return rc;
	if ((rc = copy_slot(q, slot, fd, e)) != RC_OK) {
		qfile_drop(q, fd);
		return rc;
	}
	snprintf(name, sizeof(name), "%s", id->s);
	rc = qfile_name(q, fd, q->dir[QD_CORRUPT], name, e);
	if (rc != RC_OK && errno == EEXIST) { /* kept at an earlier start: this one says no more */
		qfile_drop(q, fd);
		return RC_OK;
	}
	if (rc == RC_OK && (rc = sync_fd(fd, name, e)) == RC_OK)
		rc = sync_fd(q->dir[QD_CORRUPT], "corrupt", e);
	close(fd);
	return rc;
}

/* Image of the slot's message, states as they are now, into fd. */
static enum rc write_image(struct queue *q, uint32_t slot, const struct qimage *im, int fd, struct err *e)
{
	struct slot_pos at = queue_slot(q, slot);
	struct iovec iov[4];
	struct arena a;
	struct span content;
	uint64_t total;
	char *p;
	int n;
	enum rc rc;

	if (im->content_bytes > at.bytes)
		return err_set(e, RC_SYNTAX, "more content than a slot holds");
	arena_init(&a);
	p = arena_alloc(&a, (size_t)im->content_bytes + 1);
	content = span_make(p, (size_t)im->content_bytes);
	rc = qimage_pread(at.fd, at.base, im, 0, p, content.n, e);
	if (rc == RC_OK && (rc = qimage_build(&im->env, &content, 1, 1, &a, iov, &n, &total)) != RC_OK)
		err_set(e, rc, "the envelope is too large");
	if (rc == RC_OK)
		rc = pwritev_all(fd, iov, n, 0, e);
	arena_release(&a);
	return rc;
}

enum rc queue_slot_to_file(struct queue *q, uint32_t slot, const struct qimage *im, enum queue_where where,
			   const struct qstatus *log, size_t n, struct err *e)
{
	bool own;
	int dirfd = qfile_dir(q, &im->qid, where, &own), fd = -1;
	enum rc rc;

	if (dirfd < 0)
		return err_sys(e, "open directory of %s", im->qid.s);
	if ((rc = qfile_nameless(q, dirfd, &fd, e)) != RC_OK)
		goto done;
	if ((rc = write_image(q, slot, im, fd, e)) == RC_OK)
		rc = qimage_schedule(fd, 0, im->next_try_us, im->attempts, im->env.flags, e);
	if (rc == RC_OK && n > 0)
		rc = qimage_append_log(fd, log, n, e);
	if (rc == RC_OK) {
		/* left by a crash between this step and the slot's DONE mark: the slot is the truth until
		 * then */
		(void)unlinkat(dirfd, im->qid.s, 0);
		rc = link_in(q, fd, dirfd, &im->qid, e);
	}
	if (rc == RC_OK)
		rc = sync_fd(dirfd, "queue directory", e);
	if (rc != RC_OK)
		qfile_drop(q, fd);
	else
		close(fd);
done:
	qfile_dir_done(dirfd, own);
	return rc;
}

enum rc queue_space(struct queue *q, uint64_t *bytes, uint64_t *inodes, struct err *e)
{
	struct statvfs st;

	if (fstatvfs(q->dir[QD_INCOMING], &st) != 0)
		return err_sys(e, "statvfs");
	*bytes = (uint64_t)st.f_bavail * st.f_frsize;
	*inodes = st.f_files == 0 ? UINT64_MAX : st.f_favail; /* btrfs counts none */
	return RC_OK;
}
