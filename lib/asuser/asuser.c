/* asuser/asuser.c - the daemon's half: asks the monitor, one request at a time. */
#include "asuser/private.h"
#include "log/log.h"
#include "task/task.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_S 30

static int control = -1;
static bool asking;
static struct waitq turn = { { &turn.waiters, &turn.waiters } };

enum rc asuser_start(const struct asuser_conf *c, struct err *e)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	pid_t pid = fork();
	if (pid < 0) {
		close(pair[0]);
		close(pair[1]);
		return err_sys(e, "fork");
	}
	if (pid == 0) {
		close(pair[0]);
		asuser_monitor(pair[1], c);
	}
	close(pair[1]);
	control = pair[0];
	(void)fcntl(control, F_SETFL, O_NONBLOCK);
	return RC_OK;
}

static enum rc receive(int fds[2], size_t *n, struct err *e)
{
	struct asuser_reply r;
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} bytes;
	struct iovec iov = { &r, sizeof r };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = bytes.bytes, .msg_controllen = sizeof bytes
	};
	enum rc rc = task_wait_fd(control, TASK_READ, deadline_s(ANSWER_S));
	if (rc != RC_OK) { /* its answer must never be taken for that of the next request: another user's */
		shutdown(control, SHUT_RDWR);
		return err_set(e, RC_GONE, "the monitor does not answer");
	}
	ssize_t got = recvmsg(control, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got != (ssize_t)sizeof r)
		return err_set(e, RC_GONE, "the monitor has ended");
	const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	*n = 0;
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), *n * sizeof(int));
	}
	r.text[sizeof r.text - 1] = '\0';
	return r.rc == RC_OK ? RC_OK : err_set(e, (enum rc)r.rc, "%s", r.text);
}

/* A request of either kind. */
struct request {
	const void *bytes;
	size_t n;
	bool want_status;
};

static enum rc exchange(const struct request *r, int fds[2], size_t *n, struct err *e)
{
	if (send(control, r->bytes, r->n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)r->n)
		return err_set(e, RC_GONE, "the monitor has ended");
	return receive(fds, n, e);
}

static enum rc ask(const struct request *r, int fds[2], struct err *e)
{
	size_t n = 0;
	INVARIANT(control >= 0);
	while (asking)
		if (waitq_wait(&turn, deadline_s(ANSWER_S)) != RC_OK)
			return err_set(e, RC_AGAIN, "the monitor is busy");
	asking = true;
	enum rc rc = exchange(r, fds, &n, e);
	asking = false;
	waitq_wake_one(&turn);
	if (rc == RC_OK && n != (r->want_status ? 2U : 1U)) {
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		return err_set(e, RC_SYNTAX, "nonsense from the monitor");
	}
	return rc;
}

static enum rc ask_run(const struct asuser_id *id, bool want_status, int fds[2], struct err *e)
{
	struct asuser_request r = { .magic = ASUSER_MAGIC, .want_status = want_status, .id = *id };
	return ask(&(struct request){ &r, sizeof r, want_status }, fds, e);
}

enum rc asuser_run(const struct asuser_id *id, int *fd, struct err *e)
{
	int fds[2] = { -1, -1 };
	enum rc rc = ask_run(id, false, fds, e);
	*fd = rc == RC_OK ? fds[0] : -1;
	return rc;
}

enum rc asuser_run_wait(const struct asuser_id *id, int *fd, int *status_fd, struct err *e)
{
	int fds[2] = { -1, -1 };
	enum rc rc = ask_run(id, true, fds, e);
	*fd = rc == RC_OK ? fds[0] : -1;
	*status_fd = rc == RC_OK ? fds[1] : -1;
	return rc;
}

enum rc asuser_redeem(const struct asuser_ticket *t, int *fd, struct err *e)
{
	struct asuser_ticket_request r = { .magic = ASUSER_MAGIC_TICKET, .ticket = *t };
	int fds[2] = { -1, -1 };
	enum rc rc = ask(&(struct request){ &r, sizeof r, false }, fds, e);
	*fd = rc == RC_OK ? fds[0] : -1;
	return rc;
}
