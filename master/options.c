/* master/options.c - the command line (master(8)). */
#include "master.h"
#include "log/log.h"
#include <unistd.h>

static NORETURN void usage(void)
{
	fprintf(stderr,
		"usage: master [-c config_dir] [-D] [-d] [-e exit_time] [-i] [-p] [-s] [-t] [-v] [-w]\n");
	exit(1);
}

void options_parse(int argc, char **argv, struct options *o)
{
	int c;
	*o = (struct options){ .dir = conf_default_dir() };
	while ((c = getopt(argc, argv, "c:Dde:ipstvw")) > 0)
		switch (c) {
		case 'c':
			o->dir = optarg;
			if (setenv("MAIL_CONFIG", optarg, 1) < 0)
				die("out of memory");
			break;
		case 'd':
		case 's':
			o->foreground = true;
			break;
		case 'i':
			o->init = o->foreground = true;
			break;
		case 'p':
			o->permissions = true;
			break;
		case 't':
			o->test = true;
			break;
		case 'v':
			o->verbose++;
			break;
		case 'w':
			o->wait = true;
			break;
		case 'D':
		case 'e': /* a limit on the life of master: only ever of use under a debugger */
			break;
		default:
			usage();
		}
	if (optind < argc)
		usage();
	if (o->init && getpid() != 1)
		o->init = false;
}
