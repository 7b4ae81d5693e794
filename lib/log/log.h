/* log/log.h - the one way to log. A line is "TAG/SERVICE[pid]: [warning: |error: |fatal: |panic: ]text", TAG
 * being syslog_name (default "postfix"), exactly as Postfix writes it, so that the tools that read such logs
 * go on working.
 *
 * Where lines go: syslog (/dev/log), the file that maillog_file names, or stderr;
 * several at once. A command that may open none of them gives its lines to postlogd(8) (log/relay.h). The log never
 * blocks (but for a command that waits a moment for postlogd): a full socket drops the line and counts it ("N log lines
 * dropped" follows when it drains). Every byte of the text outside printable ASCII and valid UTF-8 is written as '?',
 * so no peer can start a line or forge a field. At most LOG_LINE_MAX bytes a line; longer ones are cut. */
#ifndef LOG_LOG_H
#define LOG_LOG_H

#include "base/clock.h"
#include "base/span.h"

#define LOG_LINE_MAX 2000

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_FATAL,
	LOG_LEVEL_PANIC
};

struct log_conf {
	const char *tag;	 /* syslog_name; NULL: "postfix" */
	const char *service;	 /* "smtpd", "submission/smtpd": what stands before [pid] */
	const char *host;	 /* in lines of a file, up to its first dot; NULL: this host's name */
	int facility;		 /* LOG_MAIL ... of syslog(3); 0 means LOG_MAIL */
	bool to_syslog;		 /* connect to /dev/log now (kept open across chroot) */
	const char *syslog_path; /* NULL or "": /dev/log */
	int syslog_fd; /* 0 or -1, or a socket to syslog that another process holds, too, and connects again when the syslog daemon was
			* started anew */
	int file_fd; /* -1, or a descriptor opened O_APPEND: lines carry date and host as syslogd writes them
		      */
	int relay_fd; /* 0 or -1, or a socket connected to postlogd(8), which the log takes over: lines that it does not take
		       * within a moment go to stderr */
	bool to_stderr;	  /* "SERVICE: text" without tag and pid, as commands speak to those who typed them */
	bool stderr_tag;  /* there "TAG/SERVICE: text", as postlog(1) has it */
	unsigned verbose; /* 0; > 0 lets log_debug() through */
};
/* Copies what it needs. May be called again (a daemon learns its syslog_name after reading main.cf). Before
 * the first call lines go to stderr only. */
void log_init(const struct log_conf *c);
/* info_log_address_format: "external" (until told) or "internal"; false for anything else, which changes nothing. mime/address_log.h obeys. */
bool log_address_format(const char *name);
bool log_addresses_internal(void);
void log_set_file(int fd); /* a new descriptor after rotation: takes it over, closes the former */
/* Who gives others its socket to syslog (-1: it has none), and what they call when it leads nowhere any more, at most once a second, but not
 * in processes forked off from them. */
int log_syslog_fd(void);
void log_reconnect_syslog(void);
void log_on_lost_syslog(void (*ask)(void));
const char *log_service(void);
unsigned log_verbose(void);

void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warning(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Logs "fatal: ..." and ends the process with status 1. Only while a daemon starts, and in commands. */
NORETURN void die(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The same with another exit status (sysexits.h: 75 for sendmail(1)). */
NORETURN void die_status(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
