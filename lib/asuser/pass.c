/* asuser/pass.c - records with descriptors, between the daemon, its monitor and the children. */
#include "asuser/private.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	char bytes[CMSG_SPACE(ASUSER_FDS * sizeof(int))];
	struct cmsghdr align;
};

void asuser_close_fds(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

ssize_t asuser_send(int fd, const struct iovec *iov, size_t parts, const int *fds, size_t n)
{
	union control control = { .bytes = { 0 } };
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = parts };
	ssize_t sent;

	INVARIANT(n <= ASUSER_FDS);
	if (n > 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	while ((sent = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 && errno == EINTR)
		;
	return sent;
}

ssize_t asuser_receive(int fd, const struct iovec *iov, size_t parts, int fds[ASUSER_FDS])
{
	union control control;
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov,
			    .msg_iovlen = parts,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control };
	ssize_t n;

	for (size_t i = 0; i < ASUSER_FDS; i++)
		fds[i] = -1;
	while ((n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (n < 0)
		return n;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
		return n;
	asuser_close_fds(fds, ASUSER_FDS);
	errno = EBADMSG;
	return -1;
}
