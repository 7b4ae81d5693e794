/* service/logsetup.h - from main.cf to the log: what daemons, master and the commands share. */
#ifndef SERVICE_LOGSETUP_H
#define SERVICE_LOGSETUP_H

#include "conf/conf.h"

struct log_conf;

/* "mail", "local3" ... as syslog_facility has it; LOG_MAIL for an unknown name. */
int logsetup_facility(const char *name);
/* Whether maillog_file_prefixes allow the file that `param` names. */
MUST_CHECK enum rc logsetup_allowed(const struct conf *c, const char *param, const char *file, struct err *e);
/* Opens maillog_file for appending: *fd is -1 when the parameter is empty. RC_DENIED: not allowed. */
MUST_CHECK enum rc logsetup_open(const struct conf *c, int *fd, struct err *e);
/* The same for the file of event_log: *fd is -1 when it names none. */
MUST_CHECK enum rc logsetup_open_events(const struct conf *c, int *fd, struct err *e);
/* event_log: "", a file (open as `fd`), "journald" or "journald:/socket". */
void logsetup_events(const struct conf *c, int fd);
/* Where the lines of a command go, into *lc (all but .service, .verbose and what is on stderr): syslog; or maillog_file, when the caller may
 * write it; else the socket of postlogd(8), when the suite runs. maillog_file = /dev/stdout is that of the suite, so there the
 * socket comes first. Set-gid programs open no file. lc's strings are c's. What import_environment sets is in force afterwards. */
void logsetup_where(const struct conf *c, struct log_conf *lc);
/* log_init() with that, for commands of the administrator: root is told why maillog_file cannot be opened. */
void logsetup_command(const struct conf *c, const char *service, bool to_stderr, unsigned verbose);
/* The same for master, which is what postlogd(8) depends on: the file alone. */
void logsetup_master(const struct conf *c, const char *service, bool to_stderr, unsigned verbose);

#endif
