/* monitor.c - the one part that stays root, because keys are root's files. It knows the configured names,
 * reads four bytes (the number of a name), and passes a descriptor of that file: no parsing, no path from
 * anybody. */
#include "tlsmgr.h"
#include "asuser/asuser.h"
#include "log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <unistd.h>

#define NAMES_MAX     128
#define MONITOR_FD    3
#define ANSWER_TIME_S 10

static const char *names[NAMES_MAX];
static unsigned names_n;
static int channel = -1;
static bool busy;
static struct waitq idle;

unsigned monitor_file(const char *path)
{
	for (unsigned i = 0; i < names_n; i++)
		if (strcmp(names[i], path) == 0)
			return i;
	if (names_n == NAMES_MAX)
		die("too many certificate files");
	names[names_n] = path;
	return names_n++;
}

const char *monitor_path(unsigned file)
{
	return names[file];
}

/* ---- the monitor's side ---- */

static void answer(int error, int fd)
{
	int32_t code = error;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { &code, sizeof code };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	while (sendmsg(MONITOR_FD, &m, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			_exit(1);
}

static int open_regular(const char *path, int *error)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	*error = fd < 0 ? errno : 0;
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		*error = EINVAL;
		close(fd);
		fd = -1;
	}
	return fd;
}

NORETURN static void monitor_run(void)
{
	for (;;) {
		uint32_t file;
		int error = EINVAL, fd = -1;
		ssize_t n = recv(MONITOR_FD, &file, sizeof file, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* the process that asks has ended */
			_exit(0);
		if (n == sizeof file && file < names_n)
			fd = open_regular(names[file], &error);
		answer(error, fd);
		if (fd >= 0)
			close(fd);
	}
}

/* The directories of the names and of what they lead to now: a renewed file is a new one in the same place.
 */
static size_t directories(struct arena *a, struct sandbox_path **out)
{
	struct sandbox_path *v = arena_array(a, 2 * (size_t)names_n + 1, sizeof *v);
	size_t n = 0;
	for (unsigned i = 0; i < names_n; i++) {
		char real[PATH_MAX];
		const char *forms[2] = { names[i], realpath(names[i], real) };
		for (int k = 0; k < 2; k++) {
			struct span path = span_str(forms[k]);
			ptrdiff_t slash = span_rchr(path, '/');
			if (slash < 0)
				continue;
			v[n++] = (struct sandbox_path){
				arena_cstr(a, slash == 0 ? SPAN("/") : span_head(path, (size_t)slash)),
				SB_READ
			};
		}
	}
	*out = v;
	return n;
}

NORETURN static void monitor_child(int fd)
{
	static const int caps[] = { CAP_DAC_READ_SEARCH, -1 };
	struct arena a;
	struct sandbox_path *paths;
	struct err e;
	arena_init(&a);
	if (dup2(fd, MONITOR_FD) < 0)
		_exit(1);
	asuser_close_others(MONITOR_FD);
	signal(SIGHUP, SIG_IGN);
	size_t n = directories(&a, &paths);
	if (sandbox_enter("stdio rpath", paths, n, geteuid() == 0 ? caps : NULL, &e) != RC_OK)
		_exit(1);
	monitor_run();
}

void monitor_start(void)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair: %m");
	pid_t pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (pid == 0)
		monitor_child(pair[1]);
	close(pair[1]);
	channel = pair[0];
	if (fcntl(channel, F_SETFL, O_NONBLOCK) < 0)
		die("fcntl: %m");
	waitq_init(&idle);
}

/* ---- the asking side ---- */

static enum rc receive(int *error, int *fd, struct err *e)
{
	int32_t code = 0;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { &code, sizeof code };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control };
	ssize_t n;
	while ((n = recvmsg(channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(e, "monitor");
		enum rc rc = task_wait_fd(channel, TASK_READ, deadline_s(ANSWER_TIME_S));
		if (rc != RC_OK)
			return err_set(e, rc, "no answer from the monitor");
	}
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	*error = n == sizeof code ? code : EPIPE;
	return RC_OK;
}

enum rc monitor_open(unsigned file, int *fd, struct err *e)
{
	uint32_t number = file;
	int error = 0;
	enum rc rc = RC_OK;
	*fd = -1;
	while (busy) /* one question at a time */
		if ((rc = waitq_wait(&idle, DEADLINE_NEVER)) != RC_OK)
			return rc;
	busy = true;
	if (send(channel, &number, sizeof number, MSG_NOSIGNAL) != sizeof number)
		rc = err_sys(e, "monitor");
	else
		rc = receive(&error, fd, e);
	busy = false;
	waitq_wake_one(&idle);
	if (rc == RC_OK && *fd < 0) {
		errno = error;
		rc = err_sys(e, "open %s", names[file]);
	}
	return rc;
}
