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
int control_tls(const struct control *c); /* tls.c */
/* Settings "name=value" for main.cf, by way of postconf(1). */
int control_set(const struct control *c, char **settings, size_t n);
/* The same for other operations of postconf(1): "-M", "-F". */
int control_edit(const struct control *c, const char *operation, char **settings, size_t n);
int control_permissions(const struct control *c); /* upgrade.c */
int control_upgrade(const struct control *c);

/* running.c: the process id of the master of this instance, 0 when none runs. */
pid_t master_pid(const struct conf *c);
/* check.c: die() when main.cf or master.cf is unusable; warns of the rest. `start`: nothing runs that could go on instead. */
void check_configuration(const struct control *c, bool start);

#endif
