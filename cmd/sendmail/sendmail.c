/* sendmail.c - sendmail(1), and mailq, newaliases, rmail by its name: what programs and users hand mail in
 * with. No privileges: who calls is known to pickup(8) from the kernel. Exit status 0 means the message is on
 * stable storage; 75 anything else. */
#include "sendmail.h"
#include "base/codec.h"
#include "log/log.h"
#include "mime/address.h"
#include "queue/verp.h"
#include "service/logsetup.h"
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

struct arena memory;
static const char *program = "sendmail"; /* the name we were called by */
const struct conf *config;

/* The logger is asked for only when there is something to say: most calls never need it. */
static void start_log(void)
{
	struct log_conf lc = { .service = program, .to_syslog = true, .file_fd = -1, .to_stderr = true };

	if (config != NULL)
		logsetup_where(config, &lc);
	log_init(&lc);
}

void fatal(const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	start_log();
	die_status(75, "%s", text);
}

void warn(const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	start_log();
	log_warning("%s", text);
}

static void load(const struct options *o)
{
	struct stat st;
	struct conf *c;
	struct err e;
	const char *dir = conf_default_dir();

	if (o->config != NULL) { /* a file of sendmail's own: its directory */
		char *slash, *path = arena_strdup(&memory, o->config);

		if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode) && (slash = strrchr(path, '/')) != NULL)
			*slash = '\0';
		setenv("MAIL_CONFIG", path, 1); /* for the programs that we start */
		dir = path;
	}
	if (conf_load(dir, &c, &e) != RC_OK)
		fatal("%s", e.text);
	config = c;
}

static struct span sender_of(const struct options *o)
{
	struct span s = o->sender != NULL ? sender_read(span_str(o->sender)) : span_str(login_name());

	if (s.n > ENV_ADDR_MAX)
		fatal("%s: the sender address has %zu bytes", who(), s.n);
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			fatal("%s: the sender address holds a control character", who());
	return s;
}

/* -XV without delimiters: the default ones. */
static struct span verp_delims(const struct options *o)
{
	const char *filter = conf_str(config, "verp_delimiter_filter");
	struct span d;

	if (o->verp == NULL)
		return SPAN_NONE;
	d = span_str(o->verp[0] != '\0' ? o->verp : conf_str(config, "default_verp_delimiters"));
	if (!verp_delims_ok(d, filter))
		fatal("-V requires two characters from %s", filter);
	return d;
}

static void deliver(struct options *o)
{
	struct envelope env = { .arrival_us = wall_now().us, .ret = o->ret };
	struct span content = SPAN_NONE;

	env.full_name = full_name(o);
	env.body = o->eight_bit ? BODY_8BITMIME : BODY_7BIT;
	if (o->envid != NULL)
		env.envid = span_str(o->envid);
	if (o->mode == MODE_VERIFY) {
		if (o->extract)
			fatal("-t option cannot be used with -bv");
		env.flags |= ENVF_VERIFY_ONLY | ENVF_TRACE;
	} else {
		content = message_read(o);
		if (o->uucp)
			rmail_need_sender(o);
		if (!span_is_ascii(content))
			env.flags |= ENVF_MIME_CONVERT;
	}
	env.sender = sender_of(o);
	env.verp = verp_delims(o);
	if (o->smtputf8)
		env.flags |= ENVF_SMTPUTF8;
	if (o->gateway)
		env.flags |= ENVF_GATEWAY;
	if (o->verbose == 1) /* more of them ask for a talkative program, not for a report */
		env.flags |= ENVF_TRACE;
	if (o->extract)
		env.flags |= ENVF_EXTRACT;
	recipients_take(o, env.sender, content, &env.rcpts);
	if (o->mode == MODE_VERIFY)
		content = message_probe(env.sender, &env.rcpts);
	submit(&env, content);
	if (env.flags & ENVF_TRACE)
		printf("Mail Delivery Status Report will be mailed to <" SPAN_FMT ">.\n",
		       SPAN_ARG(env.sender));
}

/* Descriptors that a caller left open have no business here; 0 to 2 must be open, or a file would become
 * standard output. */
static void tidy_descriptors(void)
{
	struct stat st;

	(void)close_range(3, ~0U, 0);
	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &st) != 0 && open("/dev/null", O_RDWR) != fd)
			_exit(75);
}

int main(int argc, char **argv)
{
	struct options o = { .mode = MODE_DELIVER };
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "sendmail";

	program = name;
	tidy_descriptors();
	umask(022);
	arena_init(&memory);
	log_init(&(struct log_conf){ .service = "sendmail", .file_fd = -1, .to_stderr = true });
	if (span_is(span_str(name), "rmail"))
		rmail_options(argc, argv, &o);
	else {
		options_parse(argc, argv, &o);
		if (span_is(span_str(name), "mailq") && o.mode == MODE_DELIVER)
			o.mode = MODE_LIST;
		if (span_is(span_str(name), "newaliases"))
			o.mode = MODE_ALIASES;
	}
	if (o.mode == MODE_NOTHING)
		return 0;
	if (o.extract && o.mode != MODE_DELIVER && o.mode != MODE_VERIFY)
		fatal("-t can be used only in delivery mode");
	load(&o);
	if (o.mode == MODE_DELIVER || o.mode == MODE_VERIFY || o.mode == MODE_SMTP)
		require_submit_user();
	if (o.mode == MODE_SMTP && o.rcpts == 0) {
		dialogue_run(&o);
		return 0;
	}
	if (o.mode != MODE_DELIVER && o.mode != MODE_VERIFY)
		run_other(&o);
	deliver(&o);
	return 0;
}
