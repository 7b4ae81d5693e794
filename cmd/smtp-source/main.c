/* cmd/smtp-source/main.c - smtp-source(1) and qmqp-source(1), by the name it is called: the command line and the loop. */
#include "source.h"
#include "service/options.h"
#include "log/log.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct source_conf conf = { .sessions = 1, .messages = 1, .recipients = 1, .connect_tries = 1 };
static const char *message_file;
static int64_t length;
static unsigned verbose;

NORETURN static void usage(void)
{
	if (conf.qmqp)
		die("usage: qmqp-source [-46cv] [-C count] [-f from] [-l length] [-m messages] [-M "
		    "myhostname] "
		    "[-r recipients] [-R interval] [-s sessions] [-t to] [-w interval] [inet:]host[:port] | "
		    "unix:pathname");
	die("usage: smtp-source [-46AcdLNov] [-C count] [-f from] [-F file] [-l length] [-m messages] "
	    "[-M myhostname] [-r recipients] [-R interval] [-s sessions] [-S subject] [-t to] [-T window] "
	    "[-w interval] [inet:]host[:port] | unix:pathname");
}

static void option(int opt)
{
	const struct option_row rows[] = {
		{ 'A', OPT_FLAG, &conf.go_on, 0, 0, NULL },
		{ 'c', OPT_FLAG, &conf.counter, 0, 0, NULL },
		{ 'd', OPT_FLAG, &conf.keep, 0, 0, NULL },
		{ 'L', OPT_FLAG, &conf.lmtp, 0, 0, NULL },
		{ 'N', OPT_FLAG, &conf.numbered, 0, 0, NULL },
		{ 'o', OPT_FLAG, &conf.old, 0, 0, NULL },
		{ 'v', OPT_COUNT, &verbose, 0, 0, NULL },
		{ 'f', OPT_TEXT, &conf.from, 0, 0, NULL },
		{ 'F', OPT_TEXT, &message_file, 0, 0, NULL },
		{ 'M', OPT_TEXT, &conf.myhostname, 0, 0, NULL },
		{ 'S', OPT_TEXT, &conf.subject, 0, 0, NULL },
		{ 't', OPT_TEXT, &conf.to, 0, 0, NULL },
		{ 'C', OPT_NUMBER, &conf.connect_tries, 1, INT32_MAX, "connection count" },
		{ 'l', OPT_NUMBER, &length, 1, 1 << 30, "message length" },
		{ 'm', OPT_NUMBER, &conf.messages, 1, INT64_MAX, "message count" },
		{ 'r', OPT_NUMBER, &conf.recipients, 1, INT32_MAX, "recipient count" },
		{ 'R', OPT_NUMBER, &conf.pause_s, 1, 1000000, "random delay" },
		{ 's', OPT_NUMBER, &conf.sessions, 1, 1000000, "session count" },
		{ 'T', OPT_NUMBER, &conf.window, 1, 65535, "TCP window size" },
		{ 'w', OPT_NUMBER, &conf.pause_s, 1, 1000000, "fixed delay" },
	};

	if (opt == '4' || opt == '6')
		conf.family = opt == '4' ? AF_INET : AF_INET6;
	else if (!option_take(rows, ARRAY_LEN(rows), opt, optarg))
		usage();
	if (opt == 'R' || opt == 'w')
		conf.random_pause = opt == 'R';
}

/* What the options left open. */
static void defaults(void)
{
	static char host[256], foo[300];

	if (conf.myhostname == NULL) {
		if (gethostname(host, sizeof host - 1) != 0)
			die("gethostname: %m");
		conf.myhostname = host;
	}
	snprintf(foo, sizeof foo, "foo@%.255s", conf.myhostname);
	if (conf.from == NULL)
		conf.from = foo;
	if (conf.to == NULL)
		conf.to = foo;
	if (conf.sessions > conf.messages)
		conf.sessions = conf.messages; /* the others would have nothing to send */
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? base_name(argv[0]) : "smtp-source";
	struct log_conf log = { .service = name, .file_fd = -1, .to_stderr = true };
	int opt;

	conf.qmqp = strcmp(name, "qmqp-source") == 0;
	log_init(&log);
	while ((opt = getopt(argc, argv,
			     conf.qmqp ? "46cC:f:l:m:M:r:R:s:t:vw:"
				       : "46AcC:df:F:l:Lm:M:Nor:R:s:S:t:T:vw:")) > 0)
		option(opt);
	if (argc != optind + 1)
		usage();
	log.verbose = verbose;
	log_init(&log);
	defaults();
	if (conf.qmqp)
		qmqp_prepare(length);
	else if (message_file != NULL)
		payload_read(message_file);
	else
		payload_generate(length);
	srandom((unsigned)getpid() ^ (unsigned)time(NULL));
	raise_descriptors();
	target_set(argv[optind]);
	loop_init();
	for (int64_t i = 1; i <= conf.sessions; i++)
		task_spawn(conf.qmqp ? qmqp_run : session_run, (void *)(intptr_t)i);
	int status = loop_run();
	if (conf.counter)
		printf("\n");
	return status;
}
