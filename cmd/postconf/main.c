/* main.c - postconf(1): shows and changes main.cf, shows master.cf. */
#include "map/map.h"
#include "postconf.h"
#include <stdarg.h>
#include <unistd.h>

static void say(const char *level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void say(const char *level, const char *fmt, va_list ap)
{
	char text[1024];

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	for (char *p = text; *p != '\0'; p++)
		if (!ascii_isprint(*p) && (unsigned char)*p < 0x80)
			*p = '?';
	(void)fflush(stdout);
	fprintf(stderr, "postconf: %s: %s\n", level, text);
}

void fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("fatal", fmt, ap);
	va_end(ap);
	exit(1);
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("warning", fmt, ap);
	va_end(ap);
}

void split_argument(const char *arg, struct span *name, struct span *value)
{
	struct span text = span_trim(span_str(arg));
	ptrdiff_t eq = span_chr(text, '=');

	*name = span_trim(span_head(text, eq < 0 ? text.n : (size_t)eq));
	for (size_t i = 0; i < name->n; i++)
		if (ascii_isspace(name->p[i]))
			eq = -1;
	if (eq < 0)
		fatal("missing '=' after attribute name: \"%s\"", arg);
	if (name->n == 0)
		fatal("missing attribute name: \"%s\"", arg);
	*value = span_trim(span_skip(text, (size_t)eq + 1));
}

static NORETURN void usage(void)
{
	fatal("usage: postconf [-dfhHnpx] [-c directory] [-C class] [-o name=value] [name ...] | "
	      "[-e] [-c directory] name=value ... | -X|-# [-c directory] name ... | "
	      "-M [-fx] [-c directory] [service[/type] ...] | -a|-A|-l|-m");
}

static NORETURN void unsupported(const char *what)
{
	fatal("%s is not supported yet", what);
}

static void print_words(const char *const *word)
{
	for (; *word != NULL; word++)
		printf("%s\n", *word);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_map_types(void)
{
	const char *type[MAP_TYPES_MAX + 1];
	size_t n = map_types(type, MAP_TYPES_MAX);

	qsort(type, n, sizeof *type, by_name);
	type[n] = NULL;
	print_words(type);
}

static const char *const lock_types[] = { "flock", "fcntl", "dotlock", NULL };
static const char *const sasl_server_types[] = { "cyrus", "dovecot", NULL };
static const char *const sasl_client_types[] = { "cyrus", NULL };

static unsigned classes(const char *list)
{
	struct span rest = span_str(list), word;
	unsigned set = 0;

	while (span_next_word(&rest, ", \t", &word)) {
		if (span_is(word, "builtin"))
			set |= CLASS_BUILTIN;
		else if (span_is(word, "service"))
			set |= CLASS_SERVICE;
		else if (span_is(word, "user"))
			set |= CLASS_USER;
		else if (span_is(word, "all"))
			set |= CLASS_BUILTIN | CLASS_SERVICE | CLASS_USER;
		else
			fatal("unknown parameter class: \"" SPAN_FMT "\"", SPAN_ARG(word));
	}
	return set;
}

static void set_action(struct options *o, enum action a)
{
	if (o->action != A_SHOW && o->action != a)
		fatal("specify one of -e, -X, -#, -M, -a, -A, -l, -m");
	o->action = a;
}

static void parse_option(struct options *o, int ch, bool *services)
{
	switch (ch) {
	case 'a':
		set_action(o, A_SASL_SERVER);
		break;
	case 'A':
		set_action(o, A_SASL_CLIENT);
		break;
	case 'c':
		o->dir = optarg;
		break;
	case 'C':
		o->classes = classes(optarg);
		break;
	case 'd':
		o->defaults = true;
		break;
	case 'e':
		set_action(o, A_EDIT);
		break;
	case 'f':
		o->fold = true;
		break;
	case 'h':
		o->no_name = true;
		break;
	case 'H':
		o->no_value = true;
		break;
	case 'l':
		set_action(o, A_LOCKS);
		break;
	case 'm':
		set_action(o, A_MAPS);
		break;
	case 'M':
		*services = true;
		break;
	case 'n':
		o->explicit_only = true;
		break;
	case 'o':
		o->override[o->overrides++] = span_str(optarg);
		break;
	case 'p':
	case 'v':
		break;
	case 'x':
		o->expand = true;
		break;
	case 'X':
		set_action(o, A_REMOVE);
		break;
	case '#':
		set_action(o, A_COMMENT);
		break;
	case 'b':
	case 't':
		unsupported("showing bounce templates (-b, -t)");
	case 'F':
		unsupported("showing fields of master.cf (-F)");
	case 'P':
		unsupported("showing parameters of master.cf (-P)");
	case 'T':
		unsupported("showing TLS features (-T)");
	case 'j':
		unsupported("JSON output (-j)");
	default:
		usage();
	}
}

static void parse_options(struct options *o, int argc, char **argv)
{
	bool services = false;
	int ch;

	opterr = 0;
	while ((ch = getopt(argc, argv, "+aAbc:C:deEfFhHjlmMno:pPtT:vxX#")) > 0)
		parse_option(o, ch, &services);
	o->arg = argv + optind;
	o->args = argc - optind;
	if (o->defaults && o->explicit_only)
		fatal("specify one of -d -n");
	if (o->defaults && o->overrides > 0)
		fatal("specify one of -d -o");
	if (!services && o->action == A_SHOW && o->args > 0 && strchr(o->arg[0], '=') != NULL)
		o->action = A_EDIT;
	if (services && (o->action != A_SHOW || (o->args > 0 && strchr(o->arg[0], '=') != NULL)))
		unsupported("changing master.cf (-M with -e, -X, -#)");
	if (services)
		o->action = A_SERVICES;
}

int main(int argc, char **argv)
{
	struct options o = { .dir = conf_default_dir(),
			     .classes = CLASS_BUILTIN | CLASS_SERVICE | CLASS_USER };

	if (argc == 3 && strcmp(argv[1], "--doc") == 0) {
		write_doc(argv[2]);
		return 0;
	}
	o.override = xcalloc((size_t)argc, sizeof(*o.override));
	parse_options(&o, argc, argv);
	switch (o.action) {
	case A_SHOW:
		show_parameters(&o);
		break;
	case A_EDIT:
	case A_REMOVE:
	case A_COMMENT:
		edit_parameters(&o);
		break;
	case A_SERVICES:
		show_services(&o);
		break;
	case A_MAPS:
		print_map_types();
		break;
	case A_LOCKS:
		print_words(lock_types);
		break;
	case A_SASL_SERVER:
		print_words(sasl_server_types);
		break;
	case A_SASL_CLIENT:
		print_words(sasl_client_types);
		break;
	}
	free(o.override);
	if (fflush(stdout) != 0 || ferror(stdout))
		fatal("write to standard output");
	return 0;
}
