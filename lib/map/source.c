/* map/source.c - the files behind tables: reading, noticing that they changed, locking. */
#include "map/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

void map_file_init(struct map_file *f)
{
	*f = (struct map_file){ .fd = -1 };
}

void map_file_note(struct map_file *f)
{
	struct stat st;

	if (fstat(f->fd, &st) == 0) {
		f->mtime = st.st_mtim;
		f->ctime = st.st_ctim;
		f->dev = st.st_dev;
		f->ino = st.st_ino;
		f->bytes = st.st_size;
	}
}

void map_file_adopt(struct map_file *f, int fd, const char *path)
{
	f->fd = fd;
	f->path = xstrdup(path);
	map_file_note(f);
}

enum rc map_file_open(struct map_file *f, struct span path, struct err *e)
{
	char name[4096];
	enum rc rc = span_cstr(path, name, sizeof name);
	struct stat st;
	int fd;

	if (rc != RC_OK)
		return err_set(e, rc, "open " SPAN_FMT ": unusable file name", SPAN_ARG(path));
	if ((fd = open(name, O_RDONLY | O_CLOEXEC)) < 0)
		return err_sys(e, "open %s", name);
	if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
		close(fd);
		return err_set(e, RC_DENIED, "open %s: Is a directory", name);
	}
	map_file_adopt(f, fd, name);
	return RC_OK;
}

void map_file_close(struct map_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	map_file_init(f);
}

static bool by_descriptor;

void map_files_by_descriptor(void)
{
	by_descriptor = true;
}

static bool differs(const struct map_file *f, const struct stat *st)
{
	return st->st_mtim.tv_sec != f->mtime.tv_sec || st->st_mtim.tv_nsec != f->mtime.tv_nsec ||
	       st->st_size != f->bytes;
}

/* The open descriptor tells whether the file was written or unlinked (rename over it), in any sandbox; the
 * name, when we may still look at it, tells also whether the file or a directory on the way was moved. Without names the time
 * of the last change of the inode, which a rename sets, has to do. */
bool map_file_changed(const struct map_file *f)
{
	struct stat st;

	if (f->fd < 0)
		return false;
	if (fstat(f->fd, &st) == 0) {
		if (st.st_nlink == 0 || differs(f, &st))
			return true;
		if (by_descriptor)
			return st.st_ctim.tv_sec != f->ctime.tv_sec || st.st_ctim.tv_nsec != f->ctime.tv_nsec;
	}
	if (!by_descriptor && stat(f->path, &st) == 0)
		return st.st_ino != f->ino || st.st_dev != f->dev;
	return false;
}

enum rc map_read_all(int fd, struct buf *text, struct err *e)
{
	for (;;) {
		char *p = buf_reserve(text, 65536);
		if (!p)
			return err_set(e, RC_LIMIT, "file too large");
		ssize_t got = read(fd, p, 65536);
		if (got == 0)
			return RC_OK;
		if (got > 0)
			text->n += (size_t)got;
		else if (errno != EINTR)
			return err_sys(e, "read");
	}
}

/* "{ {rule-1}, {rule-2} }": each rule becomes one line. */
static enum rc inline_rules(struct map *m, struct span list, struct buf *text, struct err *e)
{
	struct span word, rule;
	enum rc rc;

	while ((rc = map_word_next(&list, &word, e)) == RC_OK) {
		if (!map_braces(word, &rule))
			return err_set(e, RC_SYNTAX, "%s map: expected '{' before rule: \"" SPAN_FMT "\"",
				       m->drv->name, SPAN_ARG(word));
		for (size_t i = 0; i < rule.n; i++)
			buf_putc(text, rule.p[i] == '\n' ? ' ' : rule.p[i]);
		buf_putc(text, '\n');
	}
	if (rc != RC_NOTFOUND)
		return rc;
	return buf_ok(text) ? RC_OK : err_set(e, RC_LIMIT, "%s map: too long", m->drv->name);
}

enum rc map_source_read(struct map *m, struct map_file *f, struct buf *text, struct err *e)
{
	struct span inside;
	struct stat st;
	enum rc rc;

	map_file_init(f);
	if (m->arg.n && *m->arg.p == '{') {
		if (!map_braces(m->arg, &inside))
			return err_set(e, RC_SYNTAX, "%s map: syntax must be %s:{ {rule} ... }", m->drv->name,
				       m->drv->name);
		return inline_rules(m, inside, text, e);
	}
	if ((rc = map_file_open(f, m->arg, e)) != RC_OK)
		return rc;
	if (map_read_all(f->fd, text, e) != RC_OK) {
		map_file_close(f);
		return err_prefix(e, SPAN_FMT, SPAN_ARG(m->arg));
	}
	if (fstat(f->fd, &st) == 0) {
		m->owner = st.st_uid;
		m->has_owner = true;
	}
	return RC_OK;
}

#define LOCK_WAIT_MS 10000
#define LOCK_STEP_MS 5

static void pause_ms(int64_t ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000 };

	if (task_self())
		task_sleep_ms(ms);
	else
		nanosleep(&t, NULL);
}

enum rc map_lock(int fd, short type, const char *name, struct err *e)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET };

	for (int64_t waited = 0;; waited += LOCK_STEP_MS) {
		if (fcntl(fd, F_SETLK, &l) == 0)
			return RC_OK;
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return err_sys(e, "lock %s", name);
		if (waited >= LOCK_WAIT_MS)
			return err_set(e, RC_AGAIN, "lock %s: in use by another process", name);
		pause_ms(LOCK_STEP_MS);
	}
}
