/* cmd/smtp-sink/main.c - smtp-sink(1) and qmqp-sink(1), by the name it is called: the command line, the rights that are given up, the loop. */
#include "sink.h"
#include "service/options.h"
#include "log/log.h"
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct sink_conf conf = {
	.hostname = "smtp-sink",
	.soft_reply = "450 4.3.0 Error: command failed",
	.hard_reply = "500 5.3.0 Error: command failed",
	.abort_s = -1,
	.timeout_s = 100,
	.max_sessions = 256,
};
static const char *root_dir, *user, *program = "smtp-sink";
static unsigned verbose;
static bool to_syslog; /* -s; else only to who runs us */

NORETURN static void usage(void)
{
	if (conf.qmqp)
		die("usage: qmqp-sink [-46cv] [-x time] [inet:][host]:port backlog | unix:pathname backlog");
	die("usage: smtp-sink [-468acCeEFLNpPv] [-A abort_delay] [-b soft_bounce_reply] [-B "
	    "hard_bounce_reply] "
	    "[-d dump-template] [-D dump-template] [-f commands] [-h hostname] [-H read_delay] [-m "
	    "max_concurrency] "
	    "[-M message_quit_count] [-n quit_count] [-q commands] [-Q commands] [-r commands] [-R root-dir] "
	    "[-s commands] [-S start-string] [-t timeout] [-T window] [-u user_privs] [-w delay] "
	    "[-W command:delay[:odds]] [host]:port backlog");
}

/* A complete reply of the class: code, blank, text. */
static const char *reply(const char *text, char class, const char *what)
{
	struct span t = span_str(text);

	if (t.n < 3 || t.p[0] != class || !ascii_isdigit(t.p[1]) || !ascii_isdigit(t.p[2]) ||
	    (t.n > 3 && t.p[3] != ' ') || span_chr(t, '\n') >= 0)
		die("bad %s error reply: %s", what, text);
	return text;
}

static char octal(const char **p)
{
	unsigned n = 0;

	for (int i = 0; i < 3 && **p >= '0' && **p <= '7'; i++)
		n = n * 8 + (unsigned)(*(*p)++ - '0');
	return (char)n;
}

/* The escapes of -S, undone in place. */
static struct span unescape(char *text)
{
	static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
	char *out = text;

	for (const char *p = text; *p != '\0';) {
		if (*p != '\\') {
			*out++ = *p++;
			continue;
		}
		const char *known = *++p != '\0' ? strchr(from, *p) : NULL;
		if (known != NULL)
			*out++ = to[known - from], p++;
		else if (*p >= '0' && *p <= '7')
			*out++ = octal(&p);
		else if (*p != '\0')
			*out++ = *p++;
	}
	return span_make(text, (size_t)(out - text));
}

static bool option_simple(int opt)
{
	const struct option_row rows[] = {
		{ '8', OPT_FLAG, &conf.no_8bitmime, 0, 0, NULL },
		{ 'a', OPT_FLAG, &conf.no_auth, 0, 0, NULL },
		{ 'c', OPT_FLAG, &conf.counters, 0, 0, NULL },
		{ 'C', OPT_FLAG, &conf.no_xclient, 0, 0, NULL },
		{ 'e', OPT_FLAG, &conf.plain, 0, 0, NULL },
		{ 'E', OPT_FLAG, &conf.no_codes, 0, 0, NULL },
		{ 'F', OPT_FLAG, &conf.no_xforward, 0, 0, NULL },
		{ 'L', OPT_FLAG, &conf.lmtp, 0, 0, NULL },
		{ 'N', OPT_FLAG, &conf.no_dsn, 0, 0, NULL },
		{ 'P', OPT_FLAG, &conf.pix, 0, 0, NULL },
		{ 'p', OPT_FLAG, &conf.no_pipelining, 0, 0, NULL },
		{ 'v', OPT_COUNT, &verbose, 0, 0, NULL },
		{ 'd', OPT_TEXT, &conf.single, 0, 0, NULL },
		{ 'D', OPT_TEXT, &conf.multi, 0, 0, NULL },
		{ 'h', OPT_TEXT, &conf.hostname, 0, 0, NULL },
		{ 'R', OPT_TEXT, &root_dir, 0, 0, NULL },
		{ 'u', OPT_TEXT, &user, 0, 0, NULL },
		{ 'A', OPT_NUMBER, &conf.abort_s, 0, 1000000, "abort delay" },
		{ 'H', OPT_NUMBER, &conf.read_delay_s, 1, 1000000, "read delay" },
		{ 'm', OPT_NUMBER, &conf.max_sessions, 1, 1000000, "concurrency limit" },
		{ 'M', OPT_NUMBER, &conf.quit_messages, 1, INT64_MAX, "message quit count" },
		{ 'n', OPT_NUMBER, &conf.quit_sessions, 1, INT64_MAX, "session quit count" },
		{ 't', OPT_NUMBER, &conf.timeout_s, 1, 1000000, "timeout" },
		{ 'T', OPT_NUMBER, &conf.window, 1, 65535, "TCP window size" },
		{ 'x', OPT_NUMBER, &conf.end_after_s, 1, 1000000, "time to live" },
	};

	if (opt == '4' || opt == '6')
		conf.family = opt == '4' ? AF_INET : AF_INET6;
	return opt == '4' || opt == '6' || option_take(rows, ARRAY_LEN(rows), opt, optarg);
}

static bool option_verbs(int opt)
{
	switch (opt) {
	case 'f':
		verbs_mark(optarg, offsetof(struct verb, reject_hard));
		conf.no_pipelining = true;
		return true;
	case 'r':
		verbs_mark(optarg, offsetof(struct verb, reject_soft));
		conf.no_pipelining = true;
		return true;
	case 'q':
		verbs_mark(optarg, offsetof(struct verb, hang_up));
		return true;
	case 'Q':
		verbs_mark(optarg, offsetof(struct verb, say_421));
		return true;
	case 's':
		verbs_mark(optarg, offsetof(struct verb, log));
		to_syslog = true;
		return true;
	case 'w':
		verb_find(SPAN("DATA"))->delay_s = option_number(optarg, 1, 1000000, "delay");
		return true;
	case 'W':
		verb_set_delay(optarg);
		return true;
	default:
		return false;
	}
}

static void option(int opt)
{
	if (option_simple(opt) || option_verbs(opt))
		return;
	if (opt == 'b')
		conf.soft_reply = reply(optarg, '4', "soft");
	else if (opt == 'B')
		conf.hard_reply = reply(optarg, '5', "hard");
	else if (opt == 'S')
		conf.start = unescape(optarg);
	else
		usage();
}

static void drop_rights(void)
{
	const struct passwd *pw = user != NULL ? getpwnam(user) : NULL;

	if (user != NULL && pw == NULL)
		die("unknown user: %s", user);
	if (user == NULL && geteuid() == 0)
		die("-u option is required if running as root");
	if (pw != NULL && geteuid() == 0 && initgroups(pw->pw_name, pw->pw_gid) != 0)
		die("initgroups(%s): %m", user);
	tzset(); /* the zone's file is out of reach below */
	if (root_dir != NULL && (chroot(root_dir) != 0 || chdir("/") != 0))
		die("chroot(%s): %m", root_dir);
	if (pw != NULL && (setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0))
		die("cannot become the user %s: %m", user);
}

static void start_log(void)
{
	log_init(&(struct log_conf){ .service = program,
				     .file_fd = -1,
				     .to_stderr = true,
				     .to_syslog = to_syslog,
				     .verbose = verbose });
}

static void end_later(void *arg)
{
	(void)arg;
	task_sleep_ms(conf.end_after_s * 1000);
	loop_stop(0);
}

int main(int argc, char **argv)
{
	int opt;

	program = argc > 0 ? base_name(argv[0]) : program;
	conf.qmqp = strcmp(program, "qmqp-sink") == 0;
	log_init(&(struct log_conf){ .service = program, .file_fd = -1, .to_stderr = true });
	while ((opt = getopt(argc, argv,
			     conf.qmqp ? "46cvx:"
				       : "468aA:b:B:cCd:D:eEf:Fh:H:Lm:M:n:NpPq:Q:r:R:s:S:t:T:u:vw:W:")) > 0)
		option(opt);
	if (argc != optind + 2)
		usage();
	conf.plain = conf.plain || conf.pix;
	verbs_apply_conf();
	srandom((unsigned)getpid() ^ (unsigned)time(NULL));
	start_log();
	raise_descriptors();
	listen_open(argv[optind], (int)option_number(argv[optind + 1], 1, 1000000, "backlog"));
	if (!conf.qmqp) /* which has no -u, and writes nothing */
		drop_rights();
	loop_init();
	listen_start();
	if (conf.end_after_s > 0)
		task_spawn(end_later, NULL);
	return loop_run();
}
