/* queue/adopt.c - what Postfix left in a directory of the queue becomes ours (adopt.h). */
#include "queue/adopt.h"
#include "queue/postfix_file.h"
#include "queue/qdir.h"
#include "queue/qheader.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX   16 /* hash_queue_depth */
#define WRITE_CHUNK (64 * 1024)

/* Modes of Postfix's files that say something: a file that is whole, and one that postsuper -e let expire. */
#define MODE_READY  S_IXUSR
#define MODE_EXPIRE S_IXGRP

struct walk {
	struct queue *q;
	enum queue_where where, to;
	adopt_fn *tell;
	void *arg;
};

/* ---- the new file ---- */

struct content {
	int fd;
	uint64_t n; /* written */
	struct buf b;
};

static enum rc flush(struct content *c, struct err *e)
{
	enum rc rc = pwrite_all(c->fd, c->b.p, c->b.n, (int64_t)(QFILE_CONTENT_OFF + c->n), e);

	c->n += c->b.n;
	c->b.n = 0;
	return rc;
}

static enum rc add_content(void *arg, struct span piece, struct err *e)
{
	struct content *c = arg;
	enum rc rc = c->b.n + piece.n > WRITE_CHUNK ? flush(c, e) : RC_OK;

	if (rc == RC_OK && buf_append(&c->b, piece) != RC_OK)
		rc = err_set(e, RC_LIMIT, "a piece of %zu octets", piece.n);
	return rc;
}

static enum rc copy(int from, const struct qid *id, const struct stat *st, int to, struct arena *a,
		    struct envelope *env, struct err *e)
{
	struct content c = { .fd = to };
	enum rc rc;

	buf_init(&c.b, 4 * WRITE_CHUNK);
	if ((rc = postfix_file_read(from, UINT64_MAX, a, env, add_content, &c, e)) == RC_OK)
		rc = flush(&c, e);
	buf_release(&c.b);
	if (rc != RC_OK)
		return rc;
	env->qid = qid_span(id);
	if (st->st_mode & MODE_EXPIRE)
		env->flags |= ENVF_EXPIRE;
	return qimage_complete(to, env, c.n, SPAN_NONE, NULL, 0, false, true, e);
}

/* A deferred file's time of change is when it is due. */
static enum rc schedule(const struct walk *w, int fd, const struct stat *st, const struct envelope *env,
			struct err *e)
{
	if (w->where != QW_DEFERRED)
		return RC_OK;
	return qimage_schedule(fd, 0, (int64_t)st->st_mtim.tv_sec * 1000000, 1, env->flags, e);
}

static enum rc write_new(const struct walk *w, int from, const struct qid *id, const struct stat *st, int to,
			 struct err *e)
{
	struct envelope env;
	struct qimage im;
	struct arena a;
	enum rc rc;

	arena_init(&a);
	if ((rc = copy(from, id, st, to, &a, &env, e)) == RC_OK &&
	    (rc = schedule(w, to, st, &env, e)) == RC_OK && (rc = sync_fd(to, id->s, e)) == RC_OK)
		rc = qimage_read(to, 0, UINT64_MAX, true, &a, &im, e); /* before the other goes */
	arena_release(&a);
	return rc;
}

/* ---- one file ---- */

/* A queue file of ours with that id, made before a crash. */
static bool is_there(int dirfd, const struct qid *id)
{
	int fd = openat(dirfd, id->s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct qheader h;
	struct err e;
	bool there = fd >= 0 && qheader_load(fd, 0, &h, &e) == RC_OK && strcmp(h.qid.s, id->s) == 0;

	if (fd >= 0)
		close(fd);
	return there;
}

static enum rc replace(const struct walk *w, int from, const struct qid *id, const struct stat *st, int dirfd,
		       struct err *e)
{
	char name[48];
	enum rc rc;
	int fd;

	snprintf(name, sizeof(name), NEW_PREFIX "%d.%s", (int)getpid(), id->s);
	fd = openat(dirfd, name, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "create %s", name);
	rc = write_new(w, from, id, st, fd, e);
	if (rc == RC_OK && renameat(dirfd, name, dirfd, id->s) != 0)
		rc = err_sys(e, "rename %s", name);
	if (rc == RC_OK)
		rc = sync_fd(dirfd, "queue directory", e);
	else
		(void)unlinkat(dirfd, name, 0);
	close(fd);
	return rc;
}

static bool same_file(int dirfd, const char *name, const struct stat *st)
{
	struct stat now;

	return fstatat(dirfd, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == st->st_ino &&
	       now.st_dev == st->st_dev;
}

static enum rc adopt(const struct walk *w, int from, int at, const char *name, const struct stat *st,
		     struct err *e)
{
	enum rc rc = RC_OK;
	struct qid id;
	bool own;
	int dirfd;

	if (!qid_parse(span_str(name), &id))
		return err_set(e, RC_SYNTAX, "the name is no queue id");
	if (!(st->st_mode & MODE_READY))
		return err_set(e, RC_SYNTAX, "Postfix did not finish it");
	if ((dirfd = qfile_dir(w->q, &id, w->to, &own)) < 0)
		return err_sys(e, "open directory of %s", id.s);
	if (!is_there(dirfd, &id))
		rc = replace(w, from, &id, st, dirfd, e);
	if (rc == RC_OK && same_file(at, name, st) && unlinkat(at, name, 0) != 0)
		rc = err_sys(e, "remove the old %s", name);
	qfile_dir_done(dirfd, own);
	return rc;
}

static void look_at(const struct walk *w, int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	struct err e;

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && postfix_file_is(fd)) {
		enum rc rc = adopt(w, fd, at, name, &st, &e);
		bool never = rc == RC_SYNTAX || rc == RC_LIMIT;

		if (never)
			never =
			    renameat2(at, name, w->q->dir[QD_CORRUPT], name, 1 /* RENAME_NOREPLACE */) == 0;
		w->tell(w->arg, name, rc == RC_OK ? NULL : &e, !never);
	}
	close(fd);
}

/* ---- the directory ---- */

static enum rc walk_dir(const struct walk *w, int parent, const char *name, unsigned depth, struct err *e)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	enum rc rc = RC_OK;
	struct dirent *de;

	if (d == NULL) {
		int was = errno;

		if (fd >= 0)
			close(fd);
		return was == ENOENT || was == ENOTDIR ? RC_OK : err_sys(e, "list %s", name);
	}
	while (rc == RC_OK && (errno = 0, de = readdir(d)) != NULL) {
		if (de->d_name[0] == '.')
			continue;
		if (de->d_name[1] != '\0')
			look_at(w, fd, de->d_name);
		else if (depth < DEPTH_MAX)
			rc = walk_dir(w, fd, de->d_name, depth + 1, e);
	}
	closedir(d);
	return rc;
}

enum rc queue_adopt(struct queue *q, enum queue_where where, adopt_fn *tell, void *arg, struct err *e)
{
	struct walk w = { q, where, where == QW_ACTIVE ? QW_INCOMING : where, tell, arg };
	int dirfd = q->dir[qdir_of(where)];

	return dirfd < 0 ? RC_OK : walk_dir(&w, dirfd, ".", 0, e);
}
