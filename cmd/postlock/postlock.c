/* cmd/postlock/postlock.c - postlock(1): runs a command while a mailbox is locked, as delivery agents lock
 * it. */
#include "conf/conf.h"
#include "dotlock.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define EX_TEMPFAIL 75
#define EX_COMMAND  1 /* it could not be run, or a signal ended it */

struct styles {
	bool fcntl, flock, dotlock;
};

static NORETURN void usage(void)
{
	die_status(EX_TEMPFAIL, "usage: postlock [-c config_dir] [-l lock_style] [-v] folder command...");
}

static struct styles parse_styles(const char *text)
{
	struct styles s = { false, false, false };
	struct span rest = span_str(text), w;
	while (span_next_word(&rest, ", \t", &w)) {
		if (span_is(w, "fcntl"))
			s.fcntl = true;
		else if (span_is(w, "flock"))
			s.flock = true;
		else if (span_is(w, "dotlock"))
			s.dotlock = true;
		else
			die_status(EX_TEMPFAIL,
				   "unknown mailbox_delivery_lock value \"" SPAN_FMT "\" in \"%s\"",
				   SPAN_ARG(w), text);
	}
	return s;
}

static bool try_kernel_locks(int fd, const struct styles *s)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (s->fcntl && fcntl(fd, F_SETLK, &l) < 0)
		return false;
	return !s->flock || flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* All the locks or none. */
static bool try_lock(const char *folder, int fd, const struct styles *s, int64_t stale_s)
{
	if (s->dotlock && !dotlock_take(folder, stale_s))
		return false;
	if (try_kernel_locks(fd, s))
		return true;
	if (s->dotlock)
		dotlock_release(folder);
	return false;
}

/* In the words of a delivery agent, which makes FOLDER.lock before it opens the folder. */
static NORETURN void cannot_open(const char *folder, bool dotlock)
{
	int why = errno;

	if (why == ENOENT && dotlock)
		die_status(EX_TEMPFAIL, "open file %s: unable to create lock file %s.lock: %s", folder,
			   folder, strerror(why));
	die_status(EX_TEMPFAIL, "open file %s: %s: %s", folder,
		   why == ENOENT ? "cannot create file exclusively" : "cannot open file", strerror(why));
}

static int lock_folder(const struct conf *c, const char *folder, const struct styles *s)
{
	int64_t attempts = conf_int(c, "deliver_lock_attempts"), delay = conf_int(c, "deliver_lock_delay");
	int fd = open(folder, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		cannot_open(folder, s->dotlock);
	while (!try_lock(folder, fd, s, conf_int(c, "stale_lock_time"))) {
		if (--attempts <= 0)
			die_status(EX_TEMPFAIL, "unable to lock %s: %m", folder);
		sleep((unsigned)delay);
	}
	return fd;
}

static int run(char **command)
{
	int status;
	pid_t pid = fork();
	if (pid < 0)
		die_status(EX_TEMPFAIL, "fork: %m");
	if (pid == 0) {
		execvp(command[0], command);
		die_status(EX_COMMAND, "execvp %s: %m", command[0]);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EX_TEMPFAIL;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_COMMAND;
}

int main(int argc, char **argv)
{
	const char *dir = conf_default_dir(), *style = NULL;
	unsigned verbose = 0;
	static struct conf *c; /* for the life of the process */
	struct err e;
	int opt;
	log_init(&(struct log_conf){ .service = "postlock", .file_fd = -1, .to_stderr = true });
	while ((opt = getopt(argc, argv, "+c:l:v")) > 0)
		switch (opt) {
		case 'c':
			dir = optarg;
			break;
		case 'l':
			style = optarg;
			break;
		case 'v':
			verbose++;
			break;
		default:
			usage();
		}
	if (argc < optind + 2)
		usage();
	if (conf_load(dir, &c, &e) != RC_OK)
		die_status(EX_TEMPFAIL, "%s", e.text);
	logsetup_command(c, "postlock", true, verbose);
	struct styles s = parse_styles(style != NULL ? style : conf_str(c, "mailbox_delivery_lock"));
	const char *folder = argv[optind];
	int fd = lock_folder(c, folder, &s);
	int status = run(argv + optind + 1);
	if (s.dotlock)
		dotlock_release(folder);
	close(fd);
	return status;
}
