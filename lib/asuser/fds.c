/* asuser/fds.c - closing what a forked half must not have: listeners, the channel to master, tables and keys
 * of the daemon. The log's own descriptors stay: the files (MP_FD_LOG 4, MP_FD_EVENTS 5) and the datagram sockets to syslog
 * and journald. */
#include "asuser/private.h"
#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_FILE_FD   4
#define EVENT_FILE_FD 5

static bool is_log_socket(int fd)
{
	int type = 0, domain = 0;
	socklen_t len = sizeof type;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_DGRAM)
		return false;
	len = sizeof domain;
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static void close_one(int fd, int keep)
{
	if (fd > STDERR_FILENO && fd != keep && fd != LOG_FILE_FD && fd != EVENT_FILE_FD &&
	    !is_log_socket(fd))
		close(fd);
}

void asuser_close_others(int keep)
{
	int open_fds[1024];
	size_t n = 0;
	DIR *d = opendir("/proc/self/fd");
	if (d == NULL) { /* no /proc: the long way */
		long max = sysconf(_SC_OPEN_MAX);
		for (int fd = 3; fd < (max > 0 && max < 65536 ? (int)max : 65536); fd++)
			close_one(fd, keep);
		return;
	}
	for (const struct dirent *en; (en = readdir(d)) != NULL && n < 1024;) {
		int fd = (int)strtol(en->d_name, NULL, 10);
		if (en->d_name[0] != '.' && fd != dirfd(d))
			open_fds[n++] = fd;
	}
	closedir(d);
	for (size_t i = 0; i < n; i++)
		close_one(open_fds[i], keep);
}
