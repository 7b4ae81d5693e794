/* cmd/postern/postern.c - postern(1), also installed as postfix(1): start, stop, reload and look after the
 * mail system. */
#include "control.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <unistd.h>

static const struct command {
	const char *name;
	int (*run)(const struct control *c);
} commands[] = {
	{ "start", control_start },
	{ "start-fg", control_start_fg },
	{ "stop", control_stop },
	{ "quick-stop", control_stop },
	{ "drain", control_stop },
	{ "abort", control_abort },
	{ "reload", control_reload },
	{ "flush", control_flush },
	{ "status", control_status },
	{ "check", control_check },
	{ "logrotate", control_logrotate },
	{ "non-bdb", control_non_bdb },
	{ "set-permissions", control_permissions },
	{ "upgrade-configuration", control_upgrade },
	{ "tls", control_tls },
};

static NORETURN void usage(const char *name)
{
	fprintf(stderr, "usage: %s [-c config_dir] [-Dv] command\n", name);
	exit(1);
}

static void parse_options(int argc, char **argv, struct control *c)
{
	int opt;
	while ((opt = getopt(argc, argv, "+c:Dv")) > 0)
		switch (opt) {
		case 'c':
			if (optarg[0] != '/')
				die("-c requires absolute pathname");
			c->dir = optarg;
			if (setenv("MAIL_CONFIG", optarg, 1) < 0)
				die("out of memory");
			break;
		case 'D':
			break;
		case 'v':
			c->verbose++;
			break;
		default:
			usage(argv[0]);
		}
	if (optind >= argc)
		usage(argv[0]);
	c->argc = argc - optind - 1;
	c->argv = argv + optind + 1;
}

/* The primary instance speaks for all: its multi_instance_wrapper (postmulti -p --) runs the command for each. An
 * instance that was named (-c), or that the wrapper runs us for, is meant alone. */
static void run_wrapper(const struct control *c, bool named, char **command)
{
	struct span rest = span_str(conf_str(c->conf, "multi_instance_wrapper")), word;
	struct arena a;
	char *argv[64];
	size_t n = 0;

	if (named || getenv("POSTERN_INSTANCE") != NULL || rest.n == 0 ||
	    conf_str(c->conf, "multi_instance_directories")[0] == '\0')
		return;
	arena_init(&a);
	while (n < 32 && span_next_word(&rest, " \t", &word))
		argv[n++] = arena_cstr(&a, word);
	if (n == 0)
		return;
	while (*command != NULL && n < ARRAY_LEN(argv) - 1)
		argv[n++] = *command++;
	argv[n] = NULL;
	execvp(argv[0], argv);
	die("multi_instance_wrapper: cannot execute %s: %m", argv[0]);
}

int main(int argc, char **argv)
{
	static struct control c; /* for the life of the process */
	struct err e;
	log_init(&(struct log_conf){ .service = "postfix-script", .file_fd = -1, .to_stderr = true });
	parse_options(argc, argv, &c);
	bool named = c.dir != NULL;
	if (!named)
		c.dir = conf_default_dir();
	const char *verb = argv[optind];
	const struct command *found = NULL;
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, verb) == 0)
			found = &commands[i];
	if (conf_load(c.dir, &c.conf, &e) != RC_OK)
		die("%s", e.text);
	logsetup_command(c.conf, "postfix-script", true, c.verbose);
	if (found == NULL)
		die("unknown command: '%s'. Usage: postfix start (or stop, reload, abort, flush, check, "
		    "status, logrotate, set-permissions, upgrade-configuration, tls)",
		    verb);
	run_wrapper(&c, named, argv + optind);
	return found->run(&c);
}
