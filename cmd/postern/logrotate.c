/* cmd/postern/logrotate.c - maillog_file and the file of event_log get new names, master and its children new files,
 * the old ones are compressed. */
#include "control.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool compress(const char *program, const char *file)
{
	int status;
	pid_t pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (pid == 0) {
		execlp(program, program, file, (char *)NULL);
		die("cannot execute %s: %m", program);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %m");
	if (status != 0)
		log_error("%s %s failed", program, file);
	return status == 0;
}

/* The format is the administrator's. */
static bool make_suffix(const char *format, char *out, size_t size)
{
	struct tm tm;
	time_t now = time(NULL);
	localtime_r(&now, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	return strftime(out, size, format, &tm) > 0;
#pragma GCC diagnostic pop
}

/* The old file gets its new name; false: this parameter names no file that could. */
static bool rename_file(const struct conf *c, const char *param, char *new_name, size_t size)
{
	char suffix[128];
	struct err e;
	const char *file = conf_str(c, param);
	if (file[0] != '/' || strncmp(file, "/dev/", 5) == 0)
		return false;
	if (logsetup_allowed(c, param, file, &e) != RC_OK)
		die("%s", e.text);
	if (!make_suffix(conf_str(c, "maillog_file_rotate_suffix"), suffix, sizeof suffix) ||
	    snprintf(new_name, size, "%s.%s", file, suffix) >= (int)size)
		die("maillog_file_rotate_suffix: bad value");
	if (access(new_name, F_OK) == 0)
		die("rename %s to %s: exists", file, new_name);
	if (rename(file, new_name) == 0)
		return true;
	if (errno != ENOENT)
		die("rename %s to %s: %m", file, new_name);
	return false;
}

int control_logrotate(const struct control *c)
{
	static const char *const params[] = { "maillog_file", "event_log" };
	char names[ARRAY_LEN(params)][4096];
	const char *program = conf_str(c->conf, "maillog_file_compressor");
	size_t n = 0;
	bool ok = true;
	if (c->argc > 0)
		die("usage: postfix logrotate (no arguments)");
	if (program[0] == '\0')
		die("maillog_file_compressor: bad value");
	for (size_t i = 0; i < ARRAY_LEN(params); i++)
		if (rename_file(c->conf, params[i], names[n], sizeof names[n]))
			n++;
	if (n == 0)
		die("maillog_file = %s, event_log = %s: there is no log file to rotate",
		    conf_str(c->conf, params[0]), conf_str(c->conf, params[1]));
	pid_t pid = master_pid(c->conf);
	if (pid != 0 && kill(pid, SIGUSR1) < 0)
		die("signal process %ld: %m", (long)pid);
	sleep(1); /* lines under way still go to the old files */
	for (size_t i = 0; i < n; i++)
		ok = compress(program, names[i]) && ok;
	return ok ? 0 : 1;
}
