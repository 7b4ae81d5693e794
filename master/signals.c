/* master/signals.c - TERM, INT: stop; QUIT: stop at once; HUP: reload; USR1: open the log file anew; CHLD:
 * reap. */
#include "master.h"
#include "log/log.h"
#include <signal.h>

static void drain_one(struct child *c, void *arg)
{
	(void)arg;
	child_drain(c, KILL_AFTER_S);
}

static void kill_one(struct child *c, void *arg)
{
	(void)arg;
	child_kill(c);
}

void stop_check(void)
{
	if (master.stopping && master.children == 0)
		loop_stop(0);
}

void stop(bool at_once)
{
	if (!master.stopping) {
		master.stopping = true;
		systemd_notify("STOPPING=1");
		LIST_EACH(it, &master.now->services)
		service_stop(LIST_ENTRY(it, struct service, link));
		listen_close_all();
	}
	child_each(at_once ? kill_one : drain_one, NULL);
	stop_check();
}

static void on_term(void *arg)
{
	log_info("terminating on signal %d", (int)(intptr_t)arg);
	stop((intptr_t)arg == SIGQUIT);
}

void signals_watch(void)
{
	loop_on_signal(SIGTERM, on_term, (void *)(intptr_t)SIGTERM);
	loop_on_signal(SIGINT, on_term, (void *)(intptr_t)SIGINT);
	loop_on_signal(SIGQUIT, on_term, (void *)(intptr_t)SIGQUIT);
	loop_on_signal(SIGHUP, reload, NULL);
	loop_on_signal(SIGUSR1, logfile_reopen, NULL);
	loop_on_signal(SIGCHLD, child_reap, NULL);
}
