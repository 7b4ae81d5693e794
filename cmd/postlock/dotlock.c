/* cmd/postlock/dotlock.c - FOLDER.lock: who creates it, has the lock. */
#include "dotlock.h"
#include "base/rc.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void name_of(const char *folder, char out[PATH_MAX])
{
	if (snprintf(out, PATH_MAX, "%s.lock", folder) >= PATH_MAX)
		die_status(75, "%s: name too long", folder);
}

bool dotlock_take(const char *folder, int64_t stale_s)
{
	char path[PATH_MAX];
	struct stat st;
	name_of(folder, path);
	for (int tries = 0; tries < 2; tries++) {
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0) {
			close(fd);
			return true;
		}
		if (errno != EEXIST)
			die_status(75, "unable to create lock file %s: %m", path);
		if (stat(path, &st) < 0 || st.st_mtime + stale_s > time(NULL) || unlink(path) < 0)
			break;
	}
	errno = EEXIST;
	return false;
}

void dotlock_release(const char *folder)
{
	char path[PATH_MAX];
	name_of(folder, path);
	if (unlink(path) < 0)
		log_warning("remove %s: %m", path);
}
