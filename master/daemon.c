/* master/daemon.c - master as a process: background, terminal, limits, rights. */
#include "master.h"
#include "log/log.h"
#include "sandbox/caps.h"
#include "sandbox/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_WANTED 65536

/* The parent's exit status tells whether start-up succeeded; what went wrong was said on stderr. */
static NORETURN void await_child(int fd)
{
	char ok;
	ssize_t n;
	do
		n = read(fd, &ok, 1);
	while (n < 0 && errno == EINTR);
	_exit(n == 1 ? 0 : 1);
}

void daemon_background(void)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		die("pipe: %m");
	pid_t pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (pid > 0) {
		close(p[1]);
		await_child(p[0]);
	}
	close(p[0]);
	master.ready_fd = p[1];
	if (setsid() < 0)
		die("setsid: %m");
}

static void leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i <= 2; i++)
		if (dup2(fd, i) < 0)
			log_warning("dup2: %m");
	if (fd > 2)
		close(fd);
}

void daemon_ready(void)
{
	if (master.ready_fd < 0)
		return;
	leave_terminal();
	ssize_t n = write(master.ready_fd, "", 1);
	if (n != 1)
		log_warning("the process that started master is gone");
	close(master.ready_fd);
	master.ready_fd = -1;
	logfile_open(master.now->conf); /* no more lines to stderr */
}

void daemon_limits(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return;
	rlim_t hard = r.rlim_max, want = hard > FILES_WANTED ? hard : FILES_WANTED;
	r.rlim_max = want;
	r.rlim_cur = FILES_WANTED;
	if (setrlimit(RLIMIT_NOFILE, &r) == 0)
		return;
	r.rlim_max = hard;
	r.rlim_cur = hard < FILES_WANTED ? hard : FILES_WANTED;
	(void)setrlimit(RLIMIT_NOFILE, &r);
}

/* What is left is what starting daemons takes: their ids, chroot, the queue's owners and modes, ports below
 * 1024 on reload; and what their root monitors need: keys wherever they lie (tlsmgr), PAM's audit records
 * (auth), without which libpam refuses everybody on a kernel with audit. The calls that nobody here needs
 * (ptrace, mount, modules, namespaces ...) are taken from master and all it will ever start. */
void daemon_drop_rights(void)
{
	static const int keep[] = { CAP_SETUID,	 CAP_SETGID,	      CAP_SYS_CHROOT,  CAP_KILL,
				    CAP_CHOWN,	 CAP_DAC_OVERRIDE,    CAP_FOWNER,      CAP_NET_BIND_SERVICE,
				    CAP_SETPCAP, CAP_DAC_READ_SEARCH, CAP_AUDIT_WRITE, -1 };
	struct err e;
	if (caps_keep(keep, &e) != RC_OK)
		log_warning("capabilities: %s", e.text);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		log_warning("prctl: %m");
	if (sandbox_filter("exec", &e) != RC_OK)
		log_warning("%s", e.text);
	if (master.one_uid)
		log_warning(
		    "not started as root: all processes run as uid %ld, so that they could signal each other "
		    "and read "
		    "each other's files where landlock is missing, and no mail is delivered as another user",
		    (long)geteuid());
}
