/* main.c - postconf(1): shows and changes main.cf, shows master.cf. */
#include "postconf.h"
#include "map/map.h"
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

void split_override(const char *arg, struct span *name, struct span *value)
{
	ptrdiff_t eq = span_chr(span_str(arg), '=');

	if (eq < 0)
		fatal("invalid parameter override: %s: missing '=' after attribute name", arg);
	if (span_trim(span_head(span_str(arg), (size_t)eq)).n == 0)
		fatal("invalid parameter override: %s: missing attribute name", arg);
	split_argument(arg, name, value);
}

void edit_needs_argument(const struct options *o)
{
	if (o->args == 0)
		fatal(o->action == A_EDIT ? "-e requires name=value argument" : "missing service argument");
}

static NORETURN void usage(void)
{
	fatal("usage: postconf [-dfhHjnqx] [-c directory] [-C class] [-o name=value] [name ...] | "
	      "[-e] [-c directory] name=value ... | -X|-# [-c directory] name ... | "
	      "-M|-F|-P [-fhHjqx] [-c directory] [service[/type[/name]] ...] | "
	      "-M|-F|-P [-e] [-c directory] service/type[/name]=value ... | "
	      "-MX|-M#|-PX [-c directory] service/type[/name] ... | -T mode | -b|-t [file] | -a|-A|-l|-m");
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
			fatal("unknown -C option value \"" SPAN_FMT "\" in \"%s\"", SPAN_ARG(word), list);
	}
	return set;
}

struct parser {
	struct options *o;
	bool seen[128]; /* the options of the command line */
};

static const struct {
	int ch;
	bool subject;
	int value;
} choices[] = {
	{ 'a', false, A_SASL_SERVER },	   { 'A', false, A_SASL_CLIENT }, { 'e', false, A_EDIT },
	{ 'l', false, A_LOCKS },	   { 'm', false, A_MAPS },	  { 'X', false, A_REMOVE },
	{ '#', false, A_COMMENT },	   { 'T', false, A_TLS },	  { 'M', true, S_SERVICES },
	{ 'F', true, S_FIELDS },	   { 'P', true, S_SETTINGS },	  { 'b', false, A_BOUNCE_TEXT },
	{ 't', false, A_BOUNCE_TEMPLATE },
};

static bool parse_choice(struct parser *p, int ch)
{
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		if (choices[i].ch != ch)
			continue;
		if (choices[i].subject)
			p->o->subject = (enum subject)choices[i].value;
		else
			p->o->action = (enum action)choices[i].value;
		if (ch == 'T')
			p->o->tls_mode = optarg;
		return true;
	}
	return false;
}

static void parse_option(struct parser *p, int ch)
{
	struct options *o = p->o;
	bool *flag = NULL;

	switch (ch) {
	case 'c':
		o->dir = optarg;
		break;
	case 'C':
		o->classes = classes(optarg);
		break;
	case 'd':
		flag = &o->defaults;
		break;
	case 'f':
		flag = &o->fold;
		break;
	case 'h':
		flag = &o->no_name;
		break;
	case 'H':
		flag = &o->no_value;
		break;
	case 'j':
		flag = &o->json;
		break;
	case 'n':
		flag = &o->explicit_only;
		break;
	case 'o':
		o->override[o->overrides++] = span_str(optarg);
		break;
	case 'p': /* main.cf, as without it */
	case 'v':
		break;
	case 'q':
		flag = &o->quiet;
		break;
	case 'x':
		flag = &o->expand;
		break;
	default:
		usage();
	}
	if (flag != NULL)
		*flag = true;
}

/* The first of `letters` that was given; 0: none. */
static char first_of(const struct parser *p, const char *letters)
{
	while (*letters != '\0' && !p->seen[(unsigned char)*letters])
		letters++;
	return *letters;
}

/* What shows something of its own, or another file, stands alone. */
static void refuse_two_subjects(const struct parser *p)
{
	static const char letters[] = "aAbFlmMPtT";
	char one = first_of(p, letters);
	char two = one != 0 ? first_of(p, strchr(letters, one) + 1) : (char)0;

	if (one == 'b' && two == 't')
		fatal("specify one of -b and -t");
	if (two != 0)
		fatal("specify one of -%c -%c", one, two);
}

/* What goes neither with an option that stands alone, nor with one that edits. */
static void refuse_with_action(const struct parser *p)
{
	static const char others[] = "defhHnoxX#";
	char alone = first_of(p, "aAblmtT"), edit = first_of(p, "eX#"), one = first_of(p, others);
	char two = one != 0 ? first_of(p, strchr(others, one) + 1) : (char)0;

	if (alone != 0 && one != 0)
		fatal("with option -%c, do not specify -%c", alone, one);
	if (edit != 0 && two != 0)
		fatal("specify one of -%c -%c", one, one == edit || two == edit ? two : edit);
}

/* Combinations without a meaning. */
static void refuse(const struct options *o)
{
	static const char letter[] = { [S_SERVICES] = 'M', [S_FIELDS] = 'F', [S_SETTINGS] = 'P' };
	int subject = o->subject == S_MAIN ? 0 : letter[o->subject];

	if (o->defaults && o->explicit_only)
		fatal("specify one of -d -n");
	if (o->defaults && o->overrides > 0)
		fatal("specify one of -d -o");
	if (o->no_name && o->no_value)
		fatal("specify one of -h -H");
	if (o->subject == S_SERVICES && (o->no_name || o->no_value))
		fatal("with option -M, do not specify -%c", o->no_name ? 'h' : 'H');
	if (subject != 0 && (o->defaults || o->explicit_only))
		fatal("with option -%c, do not specify -%c", subject, o->defaults ? 'd' : 'n');
	if (o->subject == S_FIELDS && o->action == A_REMOVE)
		fatal("with option -F, do not specify -X");
	if (o->subject > S_SERVICES && o->action == A_COMMENT)
		fatal("with option -%c, do not specify -#", subject);
}

static void parse_options(struct options *o, int argc, char **argv)
{
	struct parser p = { .o = o };
	int ch;

	opterr = 0;
	while ((ch = getopt(argc, argv, "+aAbc:C:deEfFhHjlmMno:pPqtT:vxX#")) > 0) {
		p.seen[ch & 127] = true;
		if (!parse_choice(&p, ch))
			parse_option(&p, ch);
	}
	o->arg = argv + optind;
	o->args = argc - optind;
	if ((o->action == A_SHOW || o->action == A_COMMENT || o->action == A_REMOVE) && o->args > 0 &&
	    strchr(o->arg[0], '=') != NULL)
		p.seen['e'] = true;
	if (o->action == A_SHOW && p.seen['e'])
		o->action = A_EDIT;
	refuse_two_subjects(&p);
	refuse_with_action(&p);
	refuse(o);
}

static void show(const struct options *o)
{
	if (o->subject == S_MAIN)
		show_parameters(o);
	else
		show_services(o);
}

static void edit(const struct options *o)
{
	if (o->subject == S_MAIN)
		edit_parameters(o);
	else
		edit_services(o);
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
		show(&o);
		break;
	case A_EDIT:
	case A_REMOVE:
	case A_COMMENT:
		edit(&o);
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
	case A_TLS:
		show_tls(o.tls_mode);
		break;
	case A_BOUNCE_TEXT:
	case A_BOUNCE_TEMPLATE:
		show_bounce_texts(&o);
		break;
	}
	free(o.override);
	if (fflush(stdout) != 0 || ferror(stdout))
		fatal("write to standard output");
	return 0;
}
