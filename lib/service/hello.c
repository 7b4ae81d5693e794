/* service/hello.c - who is at the other end of an accepted UNIX connection. What master made for one of our
 * own programs starts with struct mp_hello, and SO_PEERCRED shows master's pid; anybody else is a public
 * peer, known by its uid alone. */
#include "service/frame.h"
#include <errno.h>
#include <sys/socket.h>

#define FIRST_BYTES_S 30

static enum rc wait_bytes(int fd, char *buf, size_t n, int flags, size_t *got, struct err *e)
{
	for (;;) {
		ssize_t r = recv(fd, buf, n, flags | MSG_DONTWAIT);
		if (r > 0) {
			*got = (size_t)r;
			return RC_OK;
		}
		if (r == 0)
			return err_set(e, RC_EOF, "connection closed");
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, "recv");
		enum rc rc = task_wait_fd(fd, TASK_READ, deadline_s(FIRST_BYTES_S));
		if (rc != RC_OK)
			return err_set(e, rc, "no first record");
	}
}

static bool text_ok(const char *s, size_t size)
{
	size_t n = strnlen(s, size);
	if (n == size)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!ascii_isprint(s[i]))
			return false;
	return true;
}

static enum rc read_hello(int fd, struct ipc_peer *peer, struct err *e)
{
	struct mp_hello h = { 0 };
	size_t n = 0, more;
	while (n < sizeof h) { /* one piece on SOCK_SEQPACKET */
		enum rc rc = wait_bytes(fd, (char *)&h + n, sizeof h - n, 0, &more, e);
		if (rc != RC_OK)
			return rc;
		n += more;
	}
	if (h.magic != MP_HELLO_MAGIC || !text_ok(h.program, sizeof h.program) ||
	    !text_ok(h.service, sizeof h.service))
		return err_set(e, RC_SYNTAX, "bad hello from master");
	memcpy(peer->program, h.program, sizeof peer->program);
	memcpy(peer->service, h.service, sizeof peer->service);
	peer->pid = (pid_t)h.pid;
	return RC_OK;
}

enum rc hello_read(int fd, enum service_kind kind, struct ipc_peer *peer, enum hello_kind *what,
		   char *trigger, size_t size, struct err *e)
{
	struct ucred c;
	socklen_t len = sizeof c;
	*peer = (struct ipc_peer){ .uid = (uid_t)-1 };
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
		return err_sys(e, "SO_PEERCRED");
	peer->uid = c.uid;
	peer->pid = c.pid;
	*what = HELLO_OURS;
	if (c.pid == frame.master)
		return read_hello(fd, peer, e);
	*what = HELLO_PUBLIC;
	if (kind != SV_IPC)
		return RC_OK;
	/* A record of our own starts with the version and has a header of 8 bytes; a trigger is shorter. */
	char head[8];
	size_t n;
	enum rc rc = wait_bytes(fd, head, sizeof head, MSG_PEEK, &n, e);
	if (rc != RC_OK || (n == sizeof head && head[0] == IPC_VERSION))
		return rc;
	*what = HELLO_TRIGGER;
	rc = wait_bytes(fd, trigger, size - 1, 0, &n, e);
	if (rc == RC_OK)
		trigger[n] = '\0';
	return rc;
}
