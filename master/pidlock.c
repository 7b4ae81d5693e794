/* master/pidlock.c - pid/master.pid: one master per queue directory (and one per data_directory), told apart
 * from a dead one by the lock, not by the number in the file. */
#include "master.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PID_WIDTH ((int)sizeof(unsigned long) * 4)

static int open_lock(const char *path, int flags)
{
	return open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0644);
}

static void lock(const char *path)
{
	int fd = open_lock(path, O_CREAT);
	if (fd < 0)
		die("open lock file %s: %m", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		die("open lock file %s: unable to set exclusive lock: %m", path);
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%*lu\n", PID_WIDTH, (unsigned long)getpid()) < 0)
		die("write lock file %s: %m", path);
	/* fd stays open for the life of the process: it is the lock */
}

void pidlock_take(const struct conf *c)
{
	char path[4096];
	lock("pid/master.pid");
	if (snprintf(path, sizeof path, "%s/master.lock", conf_str(c, "data_directory")) >= (int)sizeof path)
		die("data_directory: name too long");
	lock(path);
}

int pidlock_test(const struct conf *c)
{
	char path[4096];
	int status = 0;
	snprintf(path, sizeof path, "%s/pid/master.pid", conf_str(c, "queue_directory"));
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		die("open lock file %s: %m", path);
	if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0)
		status = 1;
	if (fd >= 0)
		close(fd);
	return status;
}

int pidlock_single(const char *name)
{
	char path[MP_NAME_MAX + 16];
	snprintf(path, sizeof path, "pid/unix.%s", name);
	for (char *p = path + sizeof "pid/unix." - 1; *p != '\0'; p++)
		if (*p == '/')
			*p = '_';
	int fd = open_lock(path, O_CREAT);
	if (fd < 0) {
		log_warning("open lock file %s: %m", path);
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	close(fd);
	return -1;
}
