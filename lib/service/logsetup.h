/* service/logsetup.h - from main.cf to the log: what daemons, master and the commands share. */
#ifndef SERVICE_LOGSETUP_H
#define SERVICE_LOGSETUP_H

#include "conf/conf.h"

/* "mail", "local3" ... as syslog_facility has it; LOG_MAIL for an unknown name. */
int logsetup_facility(const char *name);
/* Opens maillog_file for appending: *fd is -1 when the parameter is empty. RC_DENIED: not below
 * maillog_file_prefixes. */
MUST_CHECK enum rc logsetup_open(const struct conf *c, int *fd, struct err *e);
/* The same for the file of event_log: *fd is -1 when it names none. */
MUST_CHECK enum rc logsetup_open_events(const struct conf *c, int *fd, struct err *e);
/* event_log: "", a file (open as `fd`), "journald" or "journald:/socket". */
void logsetup_events(const struct conf *c, int fd);
/* log_init() for a command or master: syslog, or maillog_file when it can be opened; lines also go to stderr
 * when told. */
void logsetup_command(const struct conf *c, const char *service, bool to_stderr, unsigned verbose);

#endif
