/* net/conn.c - outgoing connections: connect(2) without blocking, then a wait with a deadline. */
#include "net/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

static enum rc finish(int fd, deadline_t d, struct err *e)
{
	int error = 0;
	socklen_t n = sizeof error;
	enum rc rc = task_wait_fd(fd, TASK_WRITE, d);
	if (rc == RC_TIMEOUT)
		return err_set(e, RC_TIMEOUT, "Connection timed out");
	if (rc != RC_OK)
		return err_sys(e, "wait for connection");
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	if (error == 0)
		return RC_OK;
	err_set(e, RC_SYS, "%s", strerror(error));
	if (e != NULL)
		e->sys = error;
	return RC_SYS;
}

static enum rc start(int fd, const struct sockaddr_storage *to, socklen_t len, deadline_t d, struct err *e)
{
	for (;;) {
		if (connect(fd, (const struct sockaddr *)to, len) == 0)
			return RC_OK;
		if (errno == EINPROGRESS)
			return finish(fd, d, e);
		if (errno == EAGAIN && to->ss_family == AF_UNIX && !deadline_passed(d)) {
			task_sleep_ms(20); /* the backlog of a UNIX socket is full */
			continue;
		}
		if (errno == EINTR)
			continue;
		int error = errno;
		err_set(e, error == EAGAIN ? RC_TIMEOUT : RC_SYS, "%s", strerror(error));
		if (e != NULL && error != EAGAIN)
			e->sys = error;
		return error == EAGAIN ? RC_TIMEOUT : RC_SYS;
	}
}

static enum rc ended(enum rc rc, int s, int *fd)
{
	if (rc == RC_OK) {
		*fd = s;
		return RC_OK;
	}
	task_forget_fd(s);
	close(s);
	return rc;
}

enum rc conn_tcp(const struct inet_addr *to, uint16_t port, const struct inet_addr *from, deadline_t d,
		 int *fd, struct err *e)
{
	struct sockaddr_storage ss;
	int on = 1;
	*fd = -1;
	int s = socket(to->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return err_sys(e, "socket");
	(void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (from != NULL && from->family == to->family) {
		socklen_t n = inet_addr_to_sockaddr(from, 0, &ss);
		if (bind(s, (const struct sockaddr *)&ss, n) < 0)
			return ended(err_sys(e, "bind"), s, fd);
	}
	socklen_t len = inet_addr_to_sockaddr(to, port, &ss);
	return ended(start(s, &ss, len, d, e), s, fd);
}

enum rc conn_finish(int *fd, deadline_t d, struct err *e)
{
	int s = *fd, on = 1;
	*fd = -1;
	(void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return ended(finish(s, d, e), s, fd);
}

enum rc conn_unix(const char *path, int type, deadline_t d, int *fd, struct err *e)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNIX };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	*fd = -1;
	if (n >= sizeof un.sun_path)
		return err_set(e, RC_LIMIT, "path of socket too long: %s", path);
	memcpy(un.sun_path, path, n + 1);
	memcpy(&ss, &un, sizeof un);
	int s = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return err_sys(e, "socket");
	return ended(start(s, &ss, sizeof un, d, e), s, fd);
}
