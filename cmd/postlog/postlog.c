/* cmd/postlog/postlog.c - postlog(1): a line for the log, from a script. */
#include "base/buf.h"
#include "conf/conf.h"
#include "log/log.h"
#include "service/client.h"
#include "service/logsetup.h"
#include <unistd.h>

static const struct {
	const char *name;
	enum log_level level;
} priorities[] = {
	{ "info", LOG_LEVEL_INFO },   { "warn", LOG_LEVEL_WARNING }, { "warning", LOG_LEVEL_WARNING },
	{ "error", LOG_LEVEL_ERROR }, { "fatal", LOG_LEVEL_FATAL },  { "panic", LOG_LEVEL_PANIC },
};

static enum log_level priority(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(priorities); i++)
		if (span_is_ci(span_str(name), priorities[i].name))
			return priorities[i].level;
	die("bad severity: \"%s\"", name);
}

static NORETURN void usage(const char *name)
{
	fprintf(stderr, "usage: %s [-iv] [-c config_dir] [-p priority] [-t tag] [text...]\n", name);
	exit(1);
}

/* "postfix/postfix-script" -> tag "postfix", service "postfix-script". */
static void open_log(const struct conf *c, const char *tag, unsigned verbose)
{
	char first[64] = "";
	const char *slash = tag != NULL ? strchr(tag, '/') : NULL;
	struct log_conf lc = {
		.file_fd = -1, .to_syslog = true, .to_stderr = true, .stderr_tag = true, .verbose = verbose
	};
	if (c != NULL)
		logsetup_where(c, &lc);
	if (tag == NULL)
		lc.service = "postlog";
	else if (slash != NULL) {
		snprintf(first, sizeof first, "%.*s", (int)(slash - tag), tag);
		lc.tag = first;
		lc.service = slash + 1;
	} else
		lc.tag = tag;
	log_init(&lc);
}

/* As one line, of which the log takes as much as it has room for. */
static void log_arguments(enum log_level level, int argc, char **argv)
{
	struct buf line;
	struct span text;
	buf_init(&line, LOG_LINE_MAX);
	for (int i = 0; i < argc && line.n < LOG_LINE_MAX; i++) {
		if (i > 0)
			(void)buf_putc(&line, ' ');
		(void)buf_append(&line, span_head(span_str(argv[i]), LOG_LINE_MAX - line.n));
	}
	text = buf_span(&line);
	log_line(level, SPAN_FMT, SPAN_ARG(text));
	buf_release(&line);
}

/* Line by line; of a line that is longer than the log takes the rest is passed over. */
static void log_input(enum log_level level)
{
	char line[LOG_LINE_MAX];
	size_t n = 0;
	bool begun = false;
	int c;
	while ((c = getchar()) != EOF) {
		begun = c != '\n';
		if (begun && n < sizeof line)
			line[n++] = (char)c;
		if (begun)
			continue;
		log_line(level, SPAN_FMT, SPAN_ARG(span_make(line, n)));
		n = 0;
	}
	if (begun)
		log_line(level, SPAN_FMT, SPAN_ARG(span_make(line, n)));
}

/* Nothing here needs the rights of setgid_group; should an installation give them, the caller does not get at them. */
static void clean_environment(void)
{
	static const char *const keep[] = { "MAIL_CONFIG", "MAIL_LOGTAG", "TZ" };
	char *value[ARRAY_LEN(keep)];
	if (getuid() == geteuid() && getgid() == getegid())
		return;
	for (size_t i = 0; i < ARRAY_LEN(keep); i++)
		value[i] = getenv(keep[i]) != NULL ? xstrdup(getenv(keep[i])) : NULL;
	(void)clearenv();
	for (size_t i = 0; i < ARRAY_LEN(keep); i++)
		if (value[i] != NULL) {
			(void)setenv(keep[i], value[i], 1);
			free(value[i]);
		}
	(void)close_range(3, ~0U, 0);
}

int main(int argc, char **argv)
{
	const char *tag = NULL, *dir = NULL;
	enum log_level level = LOG_LEVEL_INFO;
	unsigned verbose = 0;
	static struct conf *c; /* for the life of the process */
	struct err e;
	int opt;
	clean_environment();
	log_init(
	    &(struct log_conf){ .service = "postlog", .file_fd = -1, .to_stderr = true, .stderr_tag = true });
	while ((opt = getopt(argc, argv, "c:ip:t:v")) > 0)
		switch (opt) {
		case 'c':
			dir = optarg;
			break;
		case 'i': /* the process id is always there */
			break;
		case 'p':
			level = priority(optarg);
			break;
		case 't':
			tag = optarg;
			break;
		case 'v':
			verbose++;
			break;
		default:
			usage(argv[0]);
		}
	client_require_known_dir(dir != NULL ? dir : conf_default_dir(), 1);
	if (conf_load(dir != NULL ? dir : conf_default_dir(), &c, &e) != RC_OK) {
		if (dir != NULL)
			die("%s", e.text);
		c = NULL; /* what a script has to say is said, whatever state the configuration is in */
	}
	open_log(c, tag, verbose);
	if (optind < argc)
		log_arguments(level, argc - optind, argv + optind);
	else
		log_input(level);
	if (level == LOG_LEVEL_FATAL || level == LOG_LEVEL_PANIC) {
		sleep(1); /* for a script that is started over and over */
		return 0;
	}
	return 0;
}
