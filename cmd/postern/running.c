/* cmd/postern/running.c - whether master runs: the lock on pid/master.pid tells, the number in it names whom
 * to signal. */
#include "control.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static pid_t read_pid(int fd)
{
	char text[64];
	uint64_t pid;
	ssize_t n = read(fd, text, sizeof text);
	if (n <= 0 || span_to_u64(span_trim(span_make(text, (size_t)n)), INT32_MAX, &pid) != RC_OK || pid < 1)
		die("pid/master.pid: no process id in it");
	return (pid_t)pid;
}

pid_t master_pid(const struct conf *c)
{
	char path[4096];
	pid_t pid = 0;
	snprintf(path, sizeof path, "%s/pid/master.pid", conf_str(c, "queue_directory"));
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		die("open lock file %s: %m", path);
	if (fd < 0)
		return 0;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		pid = read_pid(fd);
	close(fd);
	return pid;
}
