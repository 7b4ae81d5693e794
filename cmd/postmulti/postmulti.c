/* postmulti.c - postmulti(1): several instances on one host. */
#include "postmulti.h"
#include "log/log.h"
#include <unistd.h>

static NORETURN void usage(void)
{
	fprintf(
	    stderr,
	    "usage: postmulti -l [-ajRv] [-g group] [-i name]\n"
	    "       postmulti -p [-av] [-g group] [-i name] postfix-command ...\n"
	    "       postmulti -x [-aRv] [-g group] [-i name] unix-command ...\n"
	    "       postmulti -e action [-av] [-g group] [-i name] [-G group] [-I name] [name=value ...]\n");
	exit(1);
}

struct options {
	struct selection s;
	int mode; /* l, p, x, e; 0 none */
	const char *action;
};

static void choose(struct options *o, int mode)
{
	if (o->mode != 0 && o->mode != mode)
		die("Specify exactly one of '-e', '-l', '-p', '-x'");
	o->mode = mode;
}

static void parse(struct options *o, int argc, char **argv)
{
	int ch;

	while ((ch = getopt(argc, argv, "+ae:g:G:i:I:jlpRvx")) > 0)
		switch (ch) {
		case 'a':
			o->s.all = true;
			break;
		case 'e':
			o->action = optarg;
			choose(o, 'e');
			break;
		case 'g':
			o->s.group = optarg;
			break;
		case 'G':
			o->s.new_group = optarg;
			break;
		case 'i':
			o->s.name = optarg;
			break;
		case 'I':
			o->s.new_name = optarg;
			break;
		case 'j':
			o->s.json = true;
			break;
		case 'l':
		case 'p':
		case 'x':
			choose(o, ch);
			break;
		case 'R':
			o->s.reverse = true;
			break;
		case 'v':
			o->s.verbose++;
			break;
		default:
			usage();
		}
	if ((o->mode == 'p' || o->mode == 'e') && o->s.reverse)
		die("The '-p' and '-e' options preclude the use of '-R'");
	if (o->mode != 'e' && (o->s.new_name != NULL || o->s.new_group != NULL))
		die("Cannot assign instance name or group without '-e assign'");
	if (o->s.all + (o->s.group != NULL) + (o->s.name != NULL) > 1)
		die("Specify no more than one of '-a', '-g', '-i'");
}

int main(int argc, char **argv)
{
	static struct multi m; /* for the life of the process */
	struct options o = { .mode = 0 };

	log_init(&(struct log_conf){ .service = "postmulti", .file_fd = -1, .to_stderr = true });
	parse(&o, argc, argv);
	argc -= optind;
	argv += optind;
	if (o.mode == 0)
		usage();
	if ((o.mode == 'p' || o.mode == 'x') && argc == 0)
		die("Command required with '-p' or '-x' option");
	if (o.mode == 'l' && argc > 0)
		die("Command not allowed with '-l'");
	multi_load(&m);
	switch (o.mode) {
	case 'l':
		list_instances(&m, &o.s);
		return fflush(stdout) == 0 ? 0 : 1;
	case 'p':
		return run_postfix(&m, &o.s, argv);
	case 'x':
		return run_command(&m, &o.s, argv);
	default:
		return manage(&m, &o.s, o.action, argv);
	}
}
