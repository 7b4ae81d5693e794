/* cmd/postern/control.h - the commands of postern(1). Each returns the exit status. */
#ifndef POSTERN_CONTROL_H
#define POSTERN_CONTROL_H

#include "conf/mastercf.h"

struct control {
	const char *dir; /* of main.cf */
	struct conf *conf;
	unsigned verbose;
	int argc; /* what follows the command */
	char **argv;
};

int control_start(const struct control *c);
int control_start_fg(const struct control *c);
int control_stop(const struct control *c);
int control_abort(const struct control *c);
int control_reload(const struct control *c);
int control_flush(const struct control *c);
int control_status(const struct control *c);
int control_check(const struct control *c);
int control_logrotate(const struct control *c);
int control_non_bdb(const struct control *c);
int control_nothing(
    const struct control *c); /* set-permissions, upgrade-configuration: master does it at each start */

/* running.c: the process id of the master of this instance, 0 when none runs. */
pid_t master_pid(const struct conf *c);
/* check.c: die() when main.cf or master.cf is unusable; warns of the rest. */
void check_configuration(const struct control *c);

#endif
