/* asuser/handover.c - a connection with a ticket, where it starts (the daemon) and where it arrives (the child). */
#include "asuser/private.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the daemon ---- */
static enum rc send_connection(const struct asuser_ticket *t, struct span bytes, const int fds[2],
			       deadline_t d, struct err *e)
{
	struct asuser_ticket_request r = { .magic = ASUSER_MAGIC_TICKET, .ticket = *t };
	const struct iovec iov[] = { { &r, sizeof r }, { (void *)(uintptr_t)bytes.p, bytes.n } };
	int control;
	enum rc rc = asuser_turn(&control, d, e);

	if (rc != RC_OK)
		return rc;
	while (rc == RC_OK && asuser_send(control, iov, 2, fds, fds[1] >= 0 ? 2 : 1) < 0)
		rc = errno == EAGAIN ? task_wait_fd(control, TASK_WRITE, d) : RC_GONE;
	asuser_turn_over();
	if (rc == RC_TIMEOUT)
		return err_set(e, rc, "the monitor is busy");
	return rc == RC_OK ? rc : err_set(e, RC_GONE, "the monitor has ended");
}

/* What a child says is its user's word: one of three things, whatever it is. */
static enum rc read_answer(int fd, int32_t *pid, deadline_t d, struct err *e)
{
	struct asuser_answer a;
	enum rc rc = task_wait_fd(fd, TASK_READ, d);

	if (rc != RC_OK)
		return err_set(e, rc, "the user's process does not answer");
	if (recv(fd, &a, sizeof a, MSG_DONTWAIT) != (ssize_t)sizeof a || a.magic != ASUSER_MAGIC_TICKET)
		return err_set(e, RC_AGAIN, "the user's process did not start");
	*pid = a.pid;
	switch (a.rc) {
	case RC_OK:
		return RC_OK;
	case RC_LIMIT:
		return err_set(e, RC_LIMIT, "too many sessions of this user");
	case RC_DENIED:
		return err_set(e, RC_DENIED, "the monitor refuses the ticket");
	default:
		return err_set(e, RC_AGAIN, "the user's process cannot serve");
	}
}

enum rc asuser_hand_over(const struct asuser_ticket *t, struct span bytes, int client, int *fd, int32_t *pid,
			 deadline_t d, struct err *e)
{
	int pair[2];

	*fd = -1;
	*pid = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	enum rc rc = send_connection(t, bytes, (const int[]){ pair[1], client }, d, e);
	close(pair[1]);
	if (rc == RC_OK)
		rc = read_answer(pair[0], pid, d, e);
	if (rc == RC_OK) {
		*fd = pair[0];
	} else {
		task_forget_fd(pair[0]);
		close(pair[0]);
	}
	return rc;
}

/* ---- the child ---- */
enum rc asuser_take(int fd, void *bytes, size_t size, size_t *n, int fds[2])
{
	const struct iovec iov = { bytes, size };
	ssize_t got = asuser_receive(fd, &iov, 1, fds);

	if (got < 0 && errno == EAGAIN)
		return RC_AGAIN;
	if (got < 0 && errno == EBADMSG)
		return RC_SYNTAX;
	if (got <= 0)
		return RC_EOF;
	*n = (size_t)got;
	if (fds[0] >= 0)
		return RC_OK;
	return RC_SYNTAX;
}

void asuser_answer(int far_end, enum rc rc)
{
	const struct asuser_answer a = { .magic = ASUSER_MAGIC_TICKET,
					 .rc = (int32_t)rc,
					 .pid = (int32_t)getpid() };

	(void)!send(far_end, &a, sizeof a, MSG_DONTWAIT | MSG_NOSIGNAL);
}
