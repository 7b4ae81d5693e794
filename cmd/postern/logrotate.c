/* cmd/postern/logrotate.c - maillog_file gets a new name, master and its children a new file, the old one is
 * compressed. */
#include "control.h"
#include "log/log.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void compress(const char *program, const char *file)
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
		log_warning("%s %s failed", program, file);
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

int control_logrotate(const struct control *c)
{
	char suffix[128], new_name[4096];
	const char *file = conf_str(c->conf, "maillog_file"),
		   *program = conf_str(c->conf, "maillog_file_compressor");
	if (c->argc > 0)
		die("usage: postfix logrotate (no arguments)");
	if (file[0] == '\0')
		die("maillog_file is empty: the log goes to syslog");
	if (strncmp(file, "/dev/", 5) == 0)
		die("maillog_file %s cannot be rotated", file);
	if (!make_suffix(conf_str(c->conf, "maillog_file_rotate_suffix"), suffix, sizeof suffix) ||
	    snprintf(new_name, sizeof new_name, "%s.%s", file, suffix) >= (int)sizeof new_name)
		die("maillog_file_rotate_suffix: bad value");
	if (access(new_name, F_OK) == 0 || rename(file, new_name) < 0)
		die("rename %s to %s: %s", file, new_name,
		    access(new_name, F_OK) == 0 ? "exists" : strerror(errno));
	pid_t pid = master_pid(c->conf);
	if (pid != 0 && kill(pid, SIGUSR1) < 0)
		die("signal process %ld: %m", (long)pid);
	sleep(1); /* lines under way still go to the old file */
	if (program[0] != '\0')
		compress(program, new_name);
	return 0;
}
