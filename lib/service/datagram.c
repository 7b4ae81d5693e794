/* service/datagram.c - SV_DGRAM: what comes on a socket of type unix-dgram, with the sender's ids from the kernel. */
#include "service/frame.h"
#include "log/log.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_A_ROW 64
#define REST_MAX 4096 /* on the way out: somebody may send as fast as this reads */

/* The room for control data holds the ids and nothing else: descriptors that somebody sends along go nowhere. */
static bool take_one(int fd)
{
	static char bytes[DATAGRAM_MAX];
	union {
		char room[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control = { .room = { 0 } };
	struct ucred from = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	struct iovec iov = { bytes, sizeof bytes };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.room,
			    .msg_controllen = sizeof control.room };
	ssize_t n;

	do
		n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS &&
		    c->cmsg_len == CMSG_LEN(sizeof from))
			memcpy(&from, CMSG_DATA(c), sizeof from);
	frame.s->datagram(span_make(bytes, (size_t)n), &from);
	return true;
}

static bool take_some(int fd, unsigned most)
{
	unsigned n = 0;

	while (n < most && take_one(fd))
		n++;
	return n == most;
}

static void reader(void *arg)
{
	int fd = (int)(intptr_t)arg;

	while (!frame.draining) {
		if (take_some(fd, IN_A_ROW))
			task_yield();
		else if (task_wait_fd(fd, TASK_READ, DEADLINE_NEVER) != RC_OK)
			break;
	}
}

void datagram_start(unsigned index)
{
	static const int on = 1;
	int fd = MP_FD_LISTEN + (int)index, type = 0;
	socklen_t len = sizeof type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_DGRAM)
		die("service %s: the type in master.cf has to be unix-dgram", frame.name);
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
		die("SO_PASSCRED: %s", strerror(errno));
	task_spawn(reader, (void *)(intptr_t)fd);
}

void datagram_rest(unsigned index)
{
	(void)take_some(MP_FD_LISTEN + (int)index, REST_MAX);
}
