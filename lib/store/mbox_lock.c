/* Locks of mbox files, compatible with what other programs do: fcntl(2), flock(2), FILE.lock. */
#include "store/paths.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

const struct store_lock store_lock_default = {
	.fcntl = true,
	.dotlock = true,
	.attempts = 20,
	.delay_ms = 1000,
	.stale_s = 500,
};

enum rc store_lock_parse(struct span words, struct store_lock *out)
{
	struct span w;
	*out = store_lock_default;
	out->fcntl = out->flock = out->dotlock = false;
	while (span_next_word(&words, ", \t\r\n", &w)) {
		if (span_is_ci(w, "fcntl"))
			out->fcntl = true;
		else if (span_is_ci(w, "flock"))
			out->flock = true;
		else if (span_is_ci(w, "dotlock"))
			out->dotlock = true;
		else
			return RC_SYNTAX;
	}
	return RC_OK;
}

static void pause_ms(unsigned ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };
	while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
}

/* RC_AGAIN: held by another; RC_DENIED: cannot be made here at all. */
static enum rc try_dotlock(const char *dot, int64_t stale_s, struct err *e)
{
	char pid[24];
	struct stat st;
	int fd = open(dot, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd >= 0) {
		int n = snprintf(pid, sizeof(pid), "%ld", (long)getpid());
		enum rc rc = fd_write_all(fd, span_make(pid, (size_t)n), NULL);
		close(fd);
		(void)rc; /* the name is the lock */
		return RC_OK;
	}
	if (errno == EACCES || errno == EPERM || errno == EROFS)
		return RC_DENIED;
	if (errno != EEXIST)
		return err_sys(e, "unable to create lock file %s", dot);
	if (stale_s > 0 && lstat(dot, &st) == 0 && st.st_mtime + stale_s < wall_s(wall_now()))
		unlink(dot);
	return err_set(e, RC_AGAIN, "unable to create lock file %s: File exists", dot);
}

enum rc mbox_dotlock(const char *path, const struct store_lock *how, char *dot, size_t size, struct err *e)
{
	enum { STEP_MS = 20 };
	if ((size_t)snprintf(dot, size, "%s.lock", path) >= size) {
		dot[0] = '\0';
		return err_set(e, RC_LIMIT, "path too long");
	}
	for (unsigned left = how->attempts * how->delay_ms;; left -= STEP_MS) {
		enum rc rc = try_dotlock(dot, how->stale_s, e);
		if (rc == RC_OK)
			return RC_OK;
		if (rc != RC_AGAIN || left < STEP_MS) {
			dot[0] = '\0';
			if (rc == RC_DENIED && (how->fcntl || how->flock))
				return RC_OK;
			return rc == RC_DENIED ? err_set(e, rc, "cannot lock mailbox %s", path) : rc;
		}
		pause_ms(STEP_MS);
	}
}

/* The lock is of the open file, not of the process as with F_SETLK: threads that deliver side by side exclude each other, too, and closing
 * another descriptor of the file does not take it away. Programs that use F_SETLK or lockf() see it all the same. */
static bool try_fd_locks(int fd, const struct store_lock *how)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (how->flock && flock(fd, LOCK_EX | LOCK_NB) != 0)
		return false;
	if (how->fcntl && fcntl(fd, F_OFD_SETLK, &fl) != 0) {
		if (how->flock)
			flock(fd, LOCK_UN);
		return false;
	}
	return true;
}

static enum rc lock_once(const char *path, int flags, const struct store_lock *how, int *fd,
			 struct mbox_lock *l, struct err *e)
{
	struct stat st, named;
	if (how->dotlock && !l->dot[0]) {
		if ((size_t)snprintf(l->dot, sizeof(l->dot), "%s.lock", path) >= sizeof(l->dot))
			return err_set(e, RC_LIMIT, "path too long");
		enum rc rc = try_dotlock(l->dot, how->stale_s, e);
		if (rc != RC_OK)
			l->dot[0] = '\0';
		if (rc != RC_OK && (rc != RC_DENIED || !(how->fcntl || how->flock)))
			return rc == RC_DENIED ? err_set(e, RC_SYS, "cannot lock %s", path) : rc;
	}
	*fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	if (*fd < 0)
		return errno == ENOENT ? err_set(e, RC_NOTFOUND, "%s does not exist", path)
				       : err_sys(e, "open %s", path);
	if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink > 1)
		return err_set(e, RC_SYS, "%s is not a file of its own", path);
	if (!try_fd_locks(*fd, how))
		return err_set(e, RC_AGAIN,
			       "unable to lock for exclusive access: Resource temporarily unavailable");
	/* Replaced while we waited: what we locked is not the mailbox any more. */
	if (lstat(path, &named) != 0 || named.st_ino != st.st_ino || named.st_dev != st.st_dev)
		return err_set(e, RC_AGAIN, "cannot lock mailbox %s", path);
	return RC_OK;
}

enum rc mbox_open_locked(const char *path, int flags, const struct store_lock *how, int *fd,
			 struct mbox_lock *l, struct err *e)
{
	l->dot[0] = '\0';
	*fd = -1;
	for (unsigned i = 0;; i++) {
		enum rc rc = lock_once(path, flags, how, fd, l, e);
		if (rc == RC_OK)
			return RC_OK;
		mbox_unlock_close(fd, l);
		if (rc != RC_AGAIN)
			return rc;
		if (i + 1 >= how->attempts)
			return rc;
		pause_ms(how->delay_ms);
	}
}

void mbox_unlock_close(int *fd, struct mbox_lock *l)
{
	if (*fd >= 0)
		close(*fd); /* gives fcntl and flock locks back */
	*fd = -1;
	if (l->dot[0])
		unlink(l->dot);
	l->dot[0] = '\0';
}
