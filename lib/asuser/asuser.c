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

enum rc asuser_turn(int *fd, deadline_t d, struct err *e)
{
	INVARIANT(control >= 0);
	while (asking)
		if (waitq_wait(&turn, d) != RC_OK)
			return err_set(e, RC_AGAIN, "the monitor is busy");
	asking = true;
	*fd = control;
	return RC_OK;
}

void asuser_turn_over(void)
{
	asking = false;
	waitq_wake_one(&turn);
}

void asuser_end(void)
{
	shutdown(control, SHUT_RDWR);
}

static enum rc receive(int fds[2], struct err *e)
{
	struct asuser_reply r;
	const struct iovec iov = { &r, sizeof r };
	enum rc rc = task_wait_fd(control, TASK_READ, deadline_s(ANSWER_S));
	if (rc != RC_OK) { /* its answer must never be taken for that of the next request: another user's */
		shutdown(control, SHUT_RDWR);
		return err_set(e, RC_GONE, "the monitor does not answer");
	}
	if (asuser_receive(control, &iov, 1, fds) != (ssize_t)sizeof r)
		return err_set(e, RC_GONE, "the monitor has ended");
	r.text[sizeof r.text - 1] = '\0';
	return r.rc == RC_OK ? RC_OK : err_set(e, (enum rc)r.rc, "%s", r.text);
}

static enum rc exchange(const struct asuser_request *r, int fds[2], struct err *e)
{
	if (send(control, r, sizeof *r, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof *r)
		return err_set(e, RC_GONE, "the monitor has ended");
	return receive(fds, e);
}

static enum rc ask_run(const struct asuser_id *id, bool want_status, int fds[2], struct err *e)
{
	const struct asuser_request r = { .magic = ASUSER_MAGIC, .want_status = want_status, .id = *id };
	int fd;
	enum rc rc = asuser_turn(&fd, deadline_s(ANSWER_S), e);
	if (rc != RC_OK)
		return rc;
	rc = exchange(&r, fds, e);
	asuser_turn_over();
	if (rc == RC_OK && (fds[0] < 0 || (fds[1] >= 0) != want_status)) {
		asuser_close_fds(fds, 2);
		return err_set(e, RC_SYNTAX, "nonsense from the monitor");
	}
	return rc;
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
