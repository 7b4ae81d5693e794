/* cmd/smtp-sink/main.c - smtp-sink(1): the command line, the rights that are given up, the loop. */
#include "sink.h"
#include "log/log.h"
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
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
static const char *root_dir, *user;
static unsigned verbose;
static bool to_syslog; /* -s; else only to who runs us */

NORETURN static void usage(void)
{
	die("usage: smtp-sink [-468acCeEFLNpPv] [-A abort_delay] [-b soft_bounce_reply] [-B "
	    "hard_bounce_reply] "
	    "[-d dump-template] [-D dump-template] [-f commands] [-h hostname] [-H read_delay] [-m "
	    "max_concurrency] "
	    "[-M message_quit_count] [-n quit_count] [-q commands] [-Q commands] [-r commands] [-R root-dir] "
	    "[-s commands] [-S start-string] [-t timeout] [-T window] [-u user_privs] [-w delay] "
	    "[-W command:delay[:odds]] [host]:port backlog");
}

static int64_t number(const char *text, int64_t least, int64_t most, const char *what)
{
	uint64_t n;

	if (span_to_u64(span_str(text), (uint64_t)most, &n) != RC_OK || (int64_t)n < least)
		die("bad %s: %s", what, text);
	return (int64_t)n;
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

/* Options that only set something to true. */
static bool option_flag(int opt)
{
	const struct {
		char opt;
		bool *flag;
	} flags[] = {
		{ '8', &conf.no_8bitmime }, { 'a', &conf.no_auth },	  { 'c', &conf.counters },
		{ 'C', &conf.no_xclient },  { 'e', &conf.plain },	  { 'E', &conf.no_codes },
		{ 'F', &conf.no_xforward }, { 'L', &conf.lmtp },	  { 'N', &conf.no_dsn },
		{ 'P', &conf.pix },	    { 'p', &conf.no_pipelining },
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
		int64_t *to, least, most;
		const char *what;
	} numbers[] = {
		{ 'A', &conf.abort_s, 0, 1000000, "abort delay" },
		{ 'H', &conf.read_delay_s, 1, 1000000, "read delay" },
		{ 'm', &conf.max_sessions, 1, 1000000, "concurrency limit" },
		{ 'M', &conf.quit_messages, 1, INT64_MAX, "message quit count" },
		{ 'n', &conf.quit_sessions, 1, INT64_MAX, "session quit count" },
		{ 't', &conf.timeout_s, 1, 1000000, "timeout" },
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (numbers[i].opt == opt) {
			*numbers[i].to = number(optarg, numbers[i].least, numbers[i].most, numbers[i].what);
			return true;
		}
	return false;
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
		verb_find(SPAN("DATA"))->delay_s = number(optarg, 1, 1000000, "delay");
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
	if (option_flag(opt) || option_number(opt) || option_verbs(opt))
		return;
	switch (opt) {
	case '4':
		conf.family = AF_INET;
		break;
	case '6':
		conf.family = AF_INET6;
		break;
	case 'b':
		conf.soft_reply = reply(optarg, '4', "soft");
		break;
	case 'B':
		conf.hard_reply = reply(optarg, '5', "hard");
		break;
	case 'd':
		conf.single = optarg;
		break;
	case 'D':
		conf.multi = optarg;
		break;
	case 'h':
		conf.hostname = optarg;
		break;
	case 'R':
		root_dir = optarg;
		break;
	case 'S':
		conf.start = unescape(optarg);
		break;
	case 'T':
		conf.window = (int)number(optarg, 1, 65535, "TCP window size");
		break;
	case 'u':
		user = optarg;
		break;
	case 'v':
		verbose++;
		break;
	default:
		usage();
	}
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

/* -m and what the process has open besides, as far as the host lets it. */
static void raise_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void start_log(void)
{
	log_init(&(struct log_conf){ .service = "smtp-sink",
				     .file_fd = -1,
				     .to_stderr = true,
				     .to_syslog = to_syslog,
				     .verbose = verbose });
}

int main(int argc, char **argv)
{
	int opt;

	log_init(&(struct log_conf){ .service = "smtp-sink", .file_fd = -1, .to_stderr = true });
	while ((opt = getopt(argc, argv, "468aA:b:B:cCd:D:eEf:Fh:H:Lm:M:n:NpPq:Q:r:R:s:S:t:T:u:vw:W:")) > 0)
		option(opt);
	if (argc != optind + 2)
		usage();
	conf.plain = conf.plain || conf.pix;
	verbs_apply_conf();
	srandom((unsigned)getpid() ^ (unsigned)time(NULL));
	start_log();
	raise_descriptors();
	listen_open(argv[optind], (int)number(argv[optind + 1], 1, 1000000, "backlog"));
	drop_rights();
	loop_init();
	listen_start();
	return loop_run();
}
