/* t/system/daemon_echo.c - a daemon for the tests of master(8) and lib/service. By the name it is called it is a program with
 * streams ("smtpd", "echo") or with records and wake-ups ("qmgr", "cleanup", ...). A line to the stream side is a command:
 *   pid | args | crash | exit N | connect SERVICE | open PATH | uid | conf NAME | hold | anything else comes back */
#include "log/log.h"
#include "service/service.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1000

static void answer_connect(struct stream *io, const char *service)
{
	struct err e;
	int fd;
	enum rc rc = service_connect(service, &fd, deadline_s(5), &e);
	if (rc == RC_OK)
		close(fd);
	stream_printf(io, "%s\n", rc_name(rc));
}

static void answer_args(struct stream *io)
{
	char **argv;
	size_t n = service_args(&argv);
	for (size_t i = 0; i < n; i++)
		stream_printf(io, "%s ", argv[i]);
	stream_printf(io, "name=%s lane=%u\n", service_name(), service_lane());
}

static void command(struct stream *io, const char *verb, const char *arg)
{
	if (strcmp(verb, "pid") == 0)
		stream_printf(io, "%ld\n", (long)getpid());
	else if (strcmp(verb, "uid") == 0)
		stream_printf(io, "%ld\n", (long)getuid());
	else if (strcmp(verb, "args") == 0)
		answer_args(io);
	else if (strcmp(verb, "conf") == 0)
		stream_printf(io, "%s\n", conf_str(service_conf(), arg));
	else if (strcmp(verb, "connect") == 0)
		answer_connect(io, arg);
	else if (strcmp(verb, "open") == 0)
		stream_printf(io, "%s\n", open(arg, O_RDONLY) < 0 ? strerror(errno) : "open");
	else if (strcmp(verb, "kill") == 0)
		stream_printf(io, "%s\n", kill(getppid(), 0) < 0 ? strerror(errno) : "alive");
	else if (strcmp(verb, "crash") == 0)
		abort();
	else if (strcmp(verb, "exit") == 0)
		_exit(3);
	else
		stream_printf(io, "%s %s\n", verb, arg);
}

static void serve(struct service_conn *c)
{
	struct span line, verb;
	char v[64], a[LINE_MAX_BYTES];
	struct err e;
	while (stream_line(c->io, &line, LINE_MAX_BYTES, NULL, deadline_s(60), &e) == RC_OK) {
		if (!span_next(&line, ' ', &verb))
			verb = SPAN_NONE;
		if (span_cstr(verb, v, sizeof v) != RC_OK || span_cstr(line, a, sizeof a) != RC_OK)
			return;
		command(c->io, v, a);
		if (stream_flush(c->io, deadline_s(5), &e) != RC_OK)
			return;
	}
}

static void start(void)
{
	log_info("started");
	if (access("die-at-start", F_OK) == 0 || conf_bool(service_conf(), "soft_bounce"))
		_exit(1);
}

static void wakeup(void)
{
	log_info("wakeup \"%s\"", service_trigger());
}

static void drain(void)
{
	log_info("drain");
}

static const struct ipc_handler no_handlers[] = { { 0, "", NULL } };

static const struct service streams = {
	.name = "smtpd",
	.kind = SV_STREAM,
	.user = "net_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.start = start,
	.serve = serve,
	.drain = drain,
};

static const struct service records = {
	.name = "qmgr",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd",
	.start = start,
	.handlers = no_handlers,
	.wakeup = wakeup,
	.drain = drain,
};

int main(int argc, char **argv)
{
	static struct service s;
	const char *slash = strrchr(argv[0], '/'), *name = slash != NULL ? slash + 1 : argv[0];
	s = strcmp(name, "smtpd") == 0 || strcmp(name, "echo") == 0 || strcmp(name, "auth") == 0 ? streams
												 : records;
	s.name = name;
	return service_main(argc, argv, &s);
}
