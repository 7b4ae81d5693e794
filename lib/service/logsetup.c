/* service/logsetup.c - from main.cf to the log. */
#include "service/logsetup.h"
#include "log/log.h"
#include "log/event.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syslog.h>
#include <sys/un.h>
#include <unistd.h>

static const struct {
	const char *name;
	int value;
} facilities[] = {
	{ "auth", LOG_AUTH },	  { "authpriv", LOG_AUTHPRIV }, { "cron", LOG_CRON },
	{ "daemon", LOG_DAEMON }, { "ftp", LOG_FTP },		{ "kern", LOG_KERN },
	{ "lpr", LOG_LPR },	  { "mail", LOG_MAIL },		{ "news", LOG_NEWS },
	{ "syslog", LOG_SYSLOG }, { "user", LOG_USER },		{ "uucp", LOG_UUCP },
	{ "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 },	{ "local2", LOG_LOCAL2 },
	{ "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 },	{ "local5", LOG_LOCAL5 },
	{ "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 },
};

int logsetup_facility(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(facilities); i++)
		if (span_is_ci(span_str(name), facilities[i].name))
			return facilities[i].value;
	return LOG_MAIL;
}

/* Prefixes are strings: /var/log/mail allows /var/log/mail.log. */
enum rc logsetup_allowed(const struct conf *c, const char *param, const char *file, struct err *e)
{
	struct span *words;
	size_t n;
	struct arena a;
	bool ok = false;
	arena_init(&a);
	enum rc rc = conf_words(span_str(conf_str(c, "maillog_file_prefixes")), false, &a, &words, &n, e);
	for (size_t i = 0; rc == RC_OK && i < n; i++)
		ok = ok || span_starts(span_str(file), words[i]);
	if (rc == RC_OK && (!ok || strstr(file, "/../") != NULL))
		rc = err_set(e, RC_DENIED, "%s %s starts with none of maillog_file_prefixes", param, file);
	arena_release(&a);
	return rc;
}

static enum rc mode_of_new(const struct conf *c, mode_t *mode, struct err *e)
{
	static const struct {
		const char *name;
		mode_t mode;
	} modes[] = { { "0600", 0600 }, { "0640", 0640 }, { "0644", 0644 } };
	const char *value = conf_str(c, "maillog_file_permissions");

	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(value, modes[i].name) == 0 || strcmp(value, modes[i].name + 1) == 0) {
			*mode = modes[i].mode;
			return RC_OK;
		}
	return err_set(e, RC_SYNTAX, "maillog_file_permissions = %s: need 0600, 0640 or 0644", value);
}

/* A file that is made here gets the mode whatever the umask; one that is there keeps its own. */
static int open_or_make(const char *file, mode_t mode)
{
	const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(file, flags | O_CREAT | O_EXCL, 0600);

	if (fd < 0)
		return errno == EEXIST ? open(file, flags | O_CREAT, mode) : -1;
	(void)!fchmod(fd, mode);
	return fd;
}

static enum rc open_file(const struct conf *c, const char *param, const char *file, int *fd, struct err *e)
{
	*fd = -1;
	if (file[0] == '\0')
		return RC_OK;
	mode_t mode = 0600;
	enum rc rc = logsetup_allowed(c, param, file, e);
	if (rc != RC_OK || (rc = mode_of_new(c, &mode, e)) != RC_OK)
		return rc;
	*fd = open_or_make(file, mode);
	return *fd < 0 ? err_sys(e, "open %s", file) : RC_OK;
}

enum rc logsetup_open(const struct conf *c, int *fd, struct err *e)
{
	return open_file(c, "maillog_file", conf_str(c, "maillog_file"), fd, e);
}

/* The file that event_log names; "" for none and for journald. */
static const char *events_file(const struct conf *c)
{
	const char *where = conf_str(c, "event_log");
	return where[0] == '/' ? where : "";
}

enum rc logsetup_open_events(const struct conf *c, int *fd, struct err *e)
{
	return open_file(c, "event_log", events_file(c), fd, e);
}

void logsetup_events(const struct conf *c, int fd)
{
	struct span where = span_str(conf_str(c, "event_log"));
	if (where.n == 0)
		return;
	if (where.p[0] == '/')
		event_to_file(fd);
	else if (span_is(where, "journald"))
		event_to_journal("");
	else if (span_starts(where, SPAN("journald:/")))
		event_to_journal(where.p + sizeof("journald:") - 1);
	else
		log_warning("event_log = " SPAN_FMT ": neither a file name that starts with / nor journald",
			    SPAN_ARG(where));
}

/* A socket connected to postlogd(8), or -1. */
static int connect_relay(const struct conf *c)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n = snprintf(a.sun_path, sizeof a.sun_path, "%s/public/%s", conf_str(c, "queue_directory"),
			 conf_str(c, "postlog_service_name"));
	int fd = -1;

	if (n > 0 && (size_t)n < sizeof a.sun_path)
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (fd <= STDERR_FILENO || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct log_conf basics(const struct conf *c)
{
	return (struct log_conf){
		.tag = conf_str(c, "syslog_name"),
		.host = conf_str(c, "myhostname"),
		.facility = logsetup_facility(conf_str(c, "syslog_facility")),
		.to_syslog = conf_str(c, "maillog_file")[0] == '\0',
		.file_fd = -1,
		.relay_fd = -1,
	};
}

/* No file is made by whom it would then belong to: only root makes the one that is missing. */
static int open_as_caller(const struct conf *c)
{
	struct err e;
	int fd = -1;

	if (getuid() != geteuid() || getgid() != getegid())
		return -1;
	if (geteuid() != 0 && access(conf_str(c, "maillog_file"), W_OK) < 0)
		return -1;
	return logsetup_open(c, &fd, &e) == RC_OK ? fd : -1;
}

void logsetup_where(const struct conf *c, struct log_conf *lc)
{
	struct log_conf found = basics(c);

	conf_enforce_environment(c); /* lines bear the time of TZ */
	found.service = lc->service;
	found.to_stderr = lc->to_stderr;
	found.stderr_tag = lc->stderr_tag;
	found.verbose = lc->verbose;
	*lc = found;
	if (lc->to_syslog)
		return;
	if (span_starts(span_str(conf_str(c, "maillog_file")), SPAN("/dev/")))
		lc->relay_fd = connect_relay(c);
	if (lc->relay_fd < 0)
		lc->file_fd = open_as_caller(c);
	if (lc->relay_fd < 0 && lc->file_fd < 0)
		lc->relay_fd = connect_relay(c);
}

void logsetup_command(const struct conf *c, const char *service, bool to_stderr, unsigned verbose)
{
	struct log_conf lc = { .service = service, .to_stderr = to_stderr, .verbose = verbose };
	struct err e;
	int fd;

	logsetup_where(c, &lc);
	log_init(&lc);
	if (lc.to_syslog || lc.file_fd >= 0 || geteuid() != 0)
		return;
	if (logsetup_open(c, &fd, &e) != RC_OK)
		log_warning("%s", e.text);
	else
		close(fd);
}

void logsetup_master(const struct conf *c, const char *service, bool to_stderr, unsigned verbose)
{
	struct err e;
	struct log_conf lc = basics(c);
	enum rc rc = logsetup_open(c, &lc.file_fd, &e);

	lc.service = service;
	lc.to_stderr = to_stderr;
	lc.verbose = verbose;
	log_init(&lc);
	if (rc != RC_OK && geteuid() == 0)
		log_warning("%s", e.text);
}
