/* asuser/monitor.c - the root half: takes one fixed-size record, forks, hands the descriptor back, reaps. It
 * allocates nothing per request, opens nothing, and never waits for a child. */
#include "asuser/private.h"
#include "log/log.h"
#include "task/task.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_DEFAULT 1000
/* What the child needs on its way to being the user: filters only add up, so the monitor's must hold all of
 * it. */
#define OWN_RIGHTS "stdio recvfd id fork kill confine rpath wpath chown unix"

struct running {
	pid_t pid;
	int status_fd; /* -1: nobody asked */
};
static struct running *running;
static unsigned running_n, running_max;

static void monitor_confine(const struct asuser_conf *c)
{
	static const int caps[] = { CAP_SETUID, CAP_SETGID,  CAP_KILL,	     CAP_CHOWN, CAP_DAC_OVERRIDE,
				    CAP_FOWNER, CAP_SETPCAP, CAP_SYS_CHROOT, -1 };
	static int without_chroot[ARRAY_LEN(caps)];
	struct err e;
	char rights[512];
	snprintf(rights, sizeof rights, "%s %s %s", OWN_RIGHTS, c->child_rights,
		 c->exec_rights != NULL ? c->exec_rights : "");
	memcpy(without_chroot, caps, sizeof caps);
	without_chroot[ARRAY_LEN(caps) - 2] = -1;
	bool chroots = c->chroot_dir != NULL && c->chroot_dir[0] != '\0';
	if (sandbox_enter(rights, NULL, 0, chroots ? caps : without_chroot, &e) != RC_OK)
		die("sandbox: %s", e.text);
}

static void reply(int control, enum rc rc, const char *text, const int *fds, size_t n)
{
	struct asuser_reply r = { .rc = rc };
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control_bytes = { .bytes = { 0 } };
	struct iovec iov = { &r, sizeof r };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	snprintf(r.text, sizeof r.text, "%s", text);
	if (n > 0) {
		m.msg_control = control_bytes.bytes;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	while (sendmsg(control, &m, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* pair[0] is the caller's end, pair[1] the child's; status likewise. */
static bool make_channels(const struct asuser_request *r, const struct asuser_conf *c, int pair[2],
			  int status[2])
{
	status[0] = status[1] = -1;
	if (socketpair(AF_UNIX, (c->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	if (!r->want_status || pipe2(status, O_CLOEXEC | O_NONBLOCK) == 0)
		return true;
	close(pair[0]);
	close(pair[1]);
	return false;
}

static void start_child(int control, const struct asuser_request *r, const struct asuser_conf *c)
{
	int pair[2], status[2];
	if (running_n == running_max) {
		reply(control, RC_AGAIN, "too many processes", NULL, 0);
		return;
	}
	if (!make_channels(r, c, pair, status)) {
		reply(control, RC_AGAIN, strerror(errno), NULL, 0);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		asuser_child(pair[1], &r->id, c);
	close(pair[1]);
	if (pid > 0) {
		running[running_n++] = (struct running){ pid, status[1] };
		reply(control, RC_OK, "", (int[]){ pair[0], status[0] }, r->want_status ? 2 : 1);
	} else {
		reply(control, RC_AGAIN, strerror(errno), NULL, 0);
		if (status[1] >= 0)
			close(status[1]);
	}
	close(pair[0]);
	if (status[0] >= 0)
		close(status[0]);
}

static void reap(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (unsigned i = 0; i < running_n; i++) {
			if (running[i].pid != pid)
				continue;
			int32_t value = status;
			if (running[i].status_fd >= 0) {
				if (write(running[i].status_fd, &value, sizeof value) !=
				    (ssize_t)sizeof value)
					log_debug("asuser: status: %m");
				close(running[i].status_fd);
			} else if (WIFSIGNALED(status))
				log_warning("process %ld of a user killed by signal %d", (long)pid,
					    WTERMSIG(status));
			running[i] = running[--running_n];
			break;
		}
}

/* The caller says who. */
static enum rc take_identity(const struct asuser_request *r, size_t n, const struct asuser_conf *c,
			     struct err *e)
{
	return n == sizeof *r ? asuser_validate(r, c, e) : err_set(e, RC_DENIED, "record of wrong size");
}

/* The caller has a ticket, and auth says who; its answer goes through the same checks. */
static enum rc take_ticket(struct asuser_request *r, const struct asuser_ticket_request *t, size_t n,
			   const struct asuser_conf *c, struct err *e)
{
	if (n != sizeof *t)
		return err_set(e, RC_DENIED, "record of wrong size");
	if (t->magic != ASUSER_MAGIC_TICKET)
		return err_set(e, RC_DENIED, "malformed request");
	*r = (struct asuser_request){ .magic = ASUSER_MAGIC };
	enum rc rc = ticket_redeem(c->ticket_dir, c->ticket_service, &t->ticket, &r->id, e);
	return rc == RC_OK ? asuser_validate(r, c, e) : rc;
}

/* False when the daemon is gone. */
static bool serve(int control, const struct asuser_conf *c)
{
	union {
		struct asuser_request identity;
		struct asuser_ticket_request ticket;
	} got;
	struct asuser_request r;
	struct err e;
	ssize_t n = recv(control, &got, sizeof got, MSG_TRUNC);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return false;
	bool tickets = c->ticket_dir != NULL;
	enum rc rc = tickets ? take_ticket(&r, &got.ticket, (size_t)n, c, &e)
			     : take_identity(&got.identity, (size_t)n, c, &e);
	if (rc == RC_OK) {
		start_child(control, tickets ? &r : &got.identity, c);
	} else {
		log_warning("asuser: refused: %s", e.text);
		reply(control, rc, e.text, NULL, 0);
	}
	return true;
}

static int children_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		die("sigprocmask: %m");
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("signalfd: %m");
	return fd;
}

/* A child asks for its groups: what that loads is loaded here, once, and shared by all children. */
static void load_name_services(void)
{
	gid_t groups[1];
	int n = 1;
	(void)getgrouplist("root", 0, groups, &n);
}

NORETURN void asuser_monitor(int control, const struct asuser_conf *c)
{
	struct signalfd_siginfo info;
	asuser_close_others(control);
	loop_after_fork(); /* its descriptors are gone: their numbers must not be closed once more in a child,
			      where they are others */
	prctl(PR_SET_NAME, c->name, 0, 0, 0);
	running_max = c->max_children != 0 ? c->max_children : CHILDREN_DEFAULT;
	running = xcalloc(running_max, sizeof *running);
	int signals = children_signals();
	load_name_services();
	monitor_confine(c);
	for (;;) {
		struct pollfd p[2] = { { control, POLLIN, 0 }, { signals, POLLIN, 0 } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			_exit(1);
		while (read(signals, &info, sizeof info) > 0)
			;
		reap();
		if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !serve(control, c))
			_exit(0);
	}
}
