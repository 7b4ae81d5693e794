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
	{ "set-permissions", control_nothing },
	{ "upgrade-configuration", control_nothing },
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

int main(int argc, char **argv)
{
	static struct control c; /* for the life of the process */
	struct err e;
	log_init(&(struct log_conf){ .service = "postfix-script", .file_fd = -1, .to_stderr = true });
	parse_options(argc, argv, &c);
	if (c.dir == NULL)
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
		    "status, logrotate)",
		    verb);
	return found->run(&c);
}
