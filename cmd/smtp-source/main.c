/* cmd/smtp-source/main.c - smtp-source(1): the command line and the loop. */
#include "source.h"
#include "log/log.h"
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct source_conf conf = { .sessions = 1, .messages = 1, .recipients = 1, .connect_tries = 1 };
static const char *message_file;
static int64_t length;
static unsigned verbose;

NORETURN static void usage(void)
{
	die("usage: smtp-source [-46AcdLNov] [-C count] [-f from] [-F file] [-l length] [-m messages] "
	    "[-M myhostname] [-r recipients] [-R interval] [-s sessions] [-S subject] [-t to] [-T window] "
	    "[-w interval] [inet:]host[:port] | unix:pathname");
}

static int64_t number(const char *text, int64_t least, int64_t most, const char *what)
{
	uint64_t n;

	if (span_to_u64(span_str(text), (uint64_t)most, &n) != RC_OK || (int64_t)n < least)
		die("bad %s: %s", what, text);
	return (int64_t)n;
}

/* Options that only set something to true. */
static bool option_flag(int opt)
{
	const struct {
		char opt;
		bool *flag;
	} flags[] = {
		{ 'A', &conf.go_on }, { 'c', &conf.counter },  { 'd', &conf.keep },
		{ 'L', &conf.lmtp },  { 'N', &conf.numbered }, { 'o', &conf.old },
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (flags[i].opt == opt)
			return *flags[i].flag = true;
	return false;
}

static bool option_number(int opt)
{
	const struct {
		char opt;
		int64_t *to, most;
		const char *what;
	} numbers[] = {
		{ 'C', &conf.connect_tries, INT32_MAX, "connection count" },
		{ 'l', &length, 1 << 30, "message length" },
		{ 'm', &conf.messages, INT64_MAX, "message count" },
		{ 'r', &conf.recipients, INT32_MAX, "recipient count" },
		{ 'R', &conf.pause_s, 1000000, "random delay" },
		{ 's', &conf.sessions, 1000000, "session count" },
		{ 'w', &conf.pause_s, 1000000, "fixed delay" },
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (numbers[i].opt == opt) {
			*numbers[i].to = number(optarg, 1, numbers[i].most, numbers[i].what);
			if (opt == 'R' || opt == 'w')
				conf.random_pause = opt == 'R';
			return true;
		}
	return false;
}

static void option(int opt)
{
	if (option_flag(opt) || option_number(opt))
		return;
	switch (opt) {
	case '4':
		conf.family = AF_INET;
		break;
	case '6':
		conf.family = AF_INET6;
		break;
	case 'f':
		conf.from = optarg;
		break;
	case 'F':
		message_file = optarg;
		break;
	case 'M':
		conf.myhostname = optarg;
		break;
	case 'S':
		conf.subject = optarg;
		break;
	case 't':
		conf.to = optarg;
		break;
	case 'T':
		conf.window = (int)number(optarg, 1, 65535, "TCP window size");
		break;
	case 'v':
		verbose++;
		break;
	default:
		usage();
	}
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

/* One descriptor per session, as far as the host lets us. */
static void raise_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

int main(int argc, char **argv)
{
	struct log_conf log = { .service = "smtp-source", .file_fd = -1, .to_stderr = true };
	int opt;

	log_init(&log);
	while ((opt = getopt(argc, argv, "46AcC:df:F:l:Lm:M:Nor:R:s:S:t:T:vw:")) > 0)
		option(opt);
	if (argc != optind + 1)
		usage();
	log.verbose = verbose;
	log_init(&log);
	defaults();
	if (message_file != NULL)
		payload_read(message_file);
	else
		payload_generate(length);
	srandom((unsigned)getpid() ^ (unsigned)time(NULL));
	raise_descriptors();
	target_set(argv[optind]);
	loop_init();
	for (int64_t i = 1; i <= conf.sessions; i++)
		task_spawn(session_run, (void *)(intptr_t)i);
	int status = loop_run();
	if (conf.counter)
		printf("\n");
	return status;
}
