/* asuser/monitor.c - the root half: takes one record, forks, hands the descriptor back, reaps. It
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
#include <unistd.h>

/* What the child needs on its way to being the user: filters only add up, so the monitor's must hold all of
 * it. */
#define OWN_RIGHTS "stdio recvfd id fork kill confine rpath wpath chown unix"

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

/* There is room for it: the daemon asks for one at a time. */
static void reply(int control, enum rc rc, const char *text, const int *fds, size_t n)
{
	struct asuser_reply r = { .rc = rc };
	const struct iovec iov = { &r, sizeof r };
	snprintf(r.text, sizeof r.text, "%s", text);
	if (asuser_send(control, &iov, 1, fds, n) < 0)
		log_debug("asuser: answer: %m");
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
	struct err e;
	if (!make_channels(r, c, pair, status)) {
		reply(control, RC_AGAIN, strerror(errno), NULL, 0);
		return;
	}
	const struct child of = { .status_fd = status[1], .channel = -1, .id = r->id };
	if (children_start(&of, pair[1], c, &e) == RC_OK) {
		reply(control, RC_OK, "", (int[]){ pair[0], status[0] }, r->want_status ? 2 : 1);
	} else {
		reply(control, RC_AGAIN, e.text, NULL, 0);
		asuser_close_fds(&status[1], 1);
	}
	asuser_close_fds(pair, 2);
	asuser_close_fds(&status[0], 1);
}

/* The caller says who. False when the daemon is gone. */
static bool by_identity(int control, const struct asuser_conf *c)
{
	struct asuser_request r;
	struct err e;
	ssize_t n = recv(control, &r, sizeof r, MSG_TRUNC);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return false;
	enum rc rc = n == (ssize_t)sizeof r ? asuser_validate(&r, c, &e)
					    : err_set(&e, RC_DENIED, "record of wrong size");
	if (rc == RC_OK) {
		start_child(control, &r, c);
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
	children_init(c->max_children);
	bool (*serve)(int, const struct asuser_conf *) =
	    c->ticket_dir != NULL ? asuser_by_ticket : by_identity;
	int signals = children_signals();
	load_name_services();
	monitor_confine(c);
	for (;;) {
		struct pollfd p[2] = { { control, POLLIN, 0 }, { signals, POLLIN, 0 } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			_exit(1);
		while (read(signals, &info, sizeof info) > 0)
			;
		children_reap();
		if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !serve(control, c))
			_exit(0);
	}
}
