/* replace.c - main.cf or master.cf gets a new text.
 *
 * The new text goes to a temporary file in the same directory, which is synced, gets the owner and mode of
 * the old one and takes its place with rename(2): a crash leaves the old file or the new one, never a part. A
 * lock on the old file keeps two editors apart. */
#include "postconf.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_all(int fd, const char *path, struct span s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno != EINTR) {
			int why = errno;

			(void)unlink(path);
			fatal("write %s: %s", path, strerror(why));
		}
		s = span_skip(s, n > 0 ? (size_t)n : 0);
	}
}

static void sync_directory(const char *path) /* an absolute file name */
{
	char dir[PATH_MAX];
	ptrdiff_t slash = span_rchr(span_str(path), '/');
	int fd;

	(void)snprintf(dir, sizeof(dir), "%.*s", slash > 0 ? (int)slash : 1, path);
	if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) {
		(void)fsync(fd);
		(void)close(fd);
	}
}

static void replace(const char *path, int old, struct span text)
{
	char temporary[PATH_MAX];
	struct stat st;
	int fd, n;

	n = snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	if (n < 0 || (size_t)n >= sizeof(temporary))
		fatal("file name too long: %s", path);
	if (fstat(old, &st) != 0)
		fatal("%s: %s", path, strerror(errno));
	(void)unlink(temporary); /* left by a crash: the lock says that nobody uses it */
	if ((fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
		fatal("open %s: %s", temporary, strerror(errno));
	write_all(fd, temporary, text);
	if ((fchown(fd, st.st_uid, st.st_gid) != 0 && geteuid() == 0) ||
	    fchmod(fd, st.st_mode & 07777) != 0 || fsync(fd) != 0 || close(fd) != 0 ||
	    rename(temporary, path) != 0) {
		int why = errno;

		(void)unlink(temporary);
		fatal("replace %s: %s", path, strerror(why));
	}
	sync_directory(path);
}

/* Opens and locks the file that `path` names at the moment the lock is held: another editor may have replaced
 * it. */
static int open_locked(const char *path)
{
	for (;;) {
		struct stat held, named;
		int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0)
			fatal("open %s for update: %s", path, strerror(errno));
		if (flock(fd, LOCK_EX) != 0 || fstat(fd, &held) != 0)
			fatal("lock %s: %s", path, strerror(errno));
		if (stat(path, &named) == 0 && named.st_ino == held.st_ino && named.st_dev == held.st_dev)
			return fd;
		(void)close(fd);
	}
}

void target_open(struct target *t, const struct options *o, const char *file)
{
	char name[PATH_MAX];
	struct err e = { 0 };

	_Static_assert(sizeof(t->path) >= PATH_MAX, "realpath(3) writes that much");
	if (snprintf(name, sizeof(name), "%s/%s", o->dir, file) >= (int)sizeof(name))
		fatal("file name too long: %s/%s", o->dir, file);
	if (realpath(name, t->path) == NULL) /* a symbolic link stays one: what it names is replaced */
		fatal("open %s: %s", name, strerror(errno));
	t->fd = open_locked(t->path);
	if (conf_read_file(t->path, &t->bytes, &t->n, &e) != RC_OK)
		fatal("%s", e.text);
}

void target_finish(struct target *t, struct span text)
{
	if (!span_eq(text, span_make(t->bytes, t->n)))
		replace(t->path, t->fd, text);
	(void)close(t->fd);
	free(t->bytes);
}
