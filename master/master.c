/* master/master.c - main(): the order of starting (master(8)). */
#include "master.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <unistd.h>

struct master master = {
	.listeners = { &master.listeners, &master.listeners }, .log_fd = -1, .events_fd = -1, .ready_fd = -1
};

static void first_task(void *arg)
{
	(void)arg;
	start_all();
	daemon_ready();
	log_info("daemon started -- version %s, configuration %s", POSTERN_VERSION,
		 conf_dir(master.now->conf));
	systemd_ready();
}

static struct running *first_configuration(void)
{
	struct running *r;
	struct err e;
	if (config_load(master.opt.dir, &r, &e) != RC_OK)
		die("%s", e.text);
	return r;
}

int main(int argc, char **argv)
{
	log_init(&(struct log_conf){ .service = "master", .file_fd = -1, .to_stderr = true });
	options_parse(argc, argv, &master.opt);
	master.one_uid = geteuid() != 0;
	struct running *first = master.now = first_configuration();
	if (master.opt.test)
		return pidlock_test(first->conf);
	if (master.opt.permissions) {
		directories_restore(first->conf);
		return 0;
	}
	if (master.opt.wait)
		daemon_background();
	conf_enforce_environment(first->conf);
	logsetup_master(first->conf, "master", true, master.opt.verbose);
	directories_make(first->conf);
	pidlock_take(first->conf);
	logfile_open(first->conf);
	daemon_limits();
	inherit_take();
	loop_init();
	signals_watch();
	first_start(first);
	daemon_drop_rights();
	task_spawn(first_task, NULL);
	return loop_run();
}
