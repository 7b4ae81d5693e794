/* master/logfile.c - maillog_file and the file of event_log: opened here, handed to the children, opened anew on SIGUSR1
 * after they were rotated. */
#include "master.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <fcntl.h>
#include <unistd.h>

static void open_events(const struct conf *c)
{
	struct err e;
	int fd;
	if (logsetup_open_events(c, &fd, &e) != RC_OK) {
		log_error("%s", e.text);
		return;
	}
	if (fd >= 0 && !master.one_uid && fchown(fd, geteuid(), getegid()) < 0)
		log_debug("event_log: %m");
	if (master.events_fd >= 0)
		close(master.events_fd);
	master.events_fd = fd;
}

void logfile_open(const struct conf *c)
{
	struct err e;
	int fd;
	logsetup_master(c, "master", master.ready_fd >= 0 || master.opt.foreground, master.opt.verbose);
	if (logsetup_open(c, &fd, &e) != RC_OK) {
		log_error("%s", e.text);
		return;
	}
	if (fd >= 0 && !master.one_uid && fchown(fd, geteuid(), getegid()) < 0)
		log_debug("maillog_file: %m");
	if (master.log_fd >= 0)
		close(master.log_fd);
	master.log_fd = fd;
	open_events(c);
}

static void hand_over(struct child *c, void *arg)
{
	(void)arg;
	if (master.log_fd >= 0)
		child_send(c, MP_LOGFILE, 0, 0, master.log_fd);
	if (master.events_fd >= 0)
		child_send(c, MP_LOGFILE, 0, 1, master.events_fd);
}

void logfile_reopen(void *unused)
{
	(void)unused;
	logfile_open(master.now->conf);
	if (master.log_fd >= 0 || master.events_fd >= 0)
		child_each(hand_over, NULL);
}
