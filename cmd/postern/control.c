/* cmd/postern/control.c - starting, stopping, signalling. The texts and exit statuses are those that scripts
 * know of postfix(1). */
#include "control.h"
#include "lint.h"
#include "log/log.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STOP_WAIT_S 7 /* master kills what has not ended after 5 */

static const char *master_path(const struct control *c, struct arena *a)
{
	const char *path = arena_printf(a, "%s/master", conf_str(c->conf, "daemon_directory"));
	if (access(path, X_OK) < 0)
		die("no master program %s: %m", path);
	return path;
}

static NORETURN void exec_master(const struct control *c, const char *how)
{
	struct arena a;
	arena_init(&a);
	const char *path = master_path(c, &a);
	execl(path, "master", "-c", c->dir, how, c->verbose > 0 ? "-v" : (char *)NULL, (char *)NULL);
	die("cannot execute %s: %m", path);
}

static void must_not_run(const struct control *c)
{
	if (master_pid(c->conf) != 0)
		die("the Postfix mail system is already running");
}

static pid_t must_run(const struct control *c)
{
	pid_t pid = master_pid(c->conf);
	if (pid == 0)
		die("the Postfix mail system is not running");
	return pid;
}

static void signal_master(pid_t pid, int sig)
{
	if (kill(pid, sig) < 0)
		die("signal %d to process %ld: %m", sig, (long)pid);
}

/* Waits for it; the status that waitpid(2) gives. */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %m");
	return status;
}

/* Before qmgr looks at the queue, and takes a file whose name is no queue id for damage. What goes wrong is told by postsuper itself,
 * and no reason not to start. */
static void order_queue(const struct control *c)
{
	struct arena a;
	const char *incoming, *postsuper;
	pid_t pid;

	arena_init(&a);
	incoming = arena_printf(&a, "%s/incoming", conf_str(c->conf, "queue_directory"));
	postsuper = arena_printf(&a, "%s/postsuper", conf_str(c->conf, "command_directory"));
	if (access(incoming, F_OK) == 0 && access(postsuper, X_OK) == 0) {
		if ((pid = fork()) == 0) {
			execl(postsuper, "postsuper", "-c", c->dir, "-s", "-p", (char *)NULL);
			_exit(1);
		}
		if (pid < 0)
			die("fork: %m");
		(void)wait_for(pid);
	}
	arena_release(&a);
}

int control_start(const struct control *c)
{
	must_not_run(c);
	check_configuration(c, true);
	order_queue(c);
	log_info("starting the Postfix mail system");
	pid_t pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (pid == 0)
		exec_master(c, "-w");
	if (wait_for(pid) != 0)
		die("mail system startup failed");
	return 0;
}

int control_start_fg(const struct control *c)
{
	must_not_run(c);
	check_configuration(c, true);
	order_queue(c);
	log_info("starting the Postfix mail system");
	exec_master(c, getpid() == 1 ? "-i" : "-s");
}

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

int control_stop(const struct control *c)
{
	pid_t pid = must_run(c);
	log_info("stopping the Postfix mail system");
	signal_master(pid, SIGTERM);
	for (int tenths = 1; tenths <= STOP_WAIT_S * 10; tenths++) {
		sleep_ms(100);
		if (master_pid(c->conf) == 0)
			return 0;
		if (tenths % 10 == 0)
			log_info("waiting for the Postfix mail system to terminate");
	}
	log_warning("stopping the Postfix mail system with force");
	signal_master(pid, SIGQUIT);
	sleep_ms(500);
	if (master_pid(c->conf) == pid)
		signal_master(pid, SIGKILL);
	return 0;
}

int control_abort(const struct control *c)
{
	pid_t pid = must_run(c);
	log_info("aborting the Postfix mail system");
	signal_master(pid, SIGQUIT);
	return 0;
}

int control_reload(const struct control *c)
{
	pid_t pid = must_run(c);
	check_configuration(c, false);
	log_info("refreshing the Postfix mail system");
	signal_master(pid, SIGHUP);
	return 0;
}

int control_flush(const struct control *c)
{
	struct arena a;
	arena_init(&a);
	const char *path = arena_printf(&a, "%s/postqueue", conf_str(c->conf, "command_directory"));
	execl(path, "postqueue", "-c", c->dir, "-f", (char *)NULL);
	die("cannot execute %s: %m", path);
}

int control_status(const struct control *c)
{
	pid_t pid = master_pid(c->conf);
	if (pid == 0) {
		log_info("the Postfix mail system is not running");
		return 1;
	}
	log_info("the Postfix mail system is running: PID: %ld", (long)pid);
	return 0;
}

int control_check(const struct control *c)
{
	check_configuration(c, false);
	lint_configuration(c);
	return 0;
}
