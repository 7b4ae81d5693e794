/* options.c - the flags of sendmail(1), one row each. */
#include "sendmail.h"

/* What a flag does with its argument. `arg` is "" for flags without one. */
struct flag {
	char letter;
	bool has_arg;
	void (*run)(struct options *o, const char *arg);
};

static void ignore(struct options *o, const char *arg)
{
	(void)o;
	(void)arg;
}

static void set_body(struct options *o, const char *arg)
{
	if (span_is_ci(span_str(arg), "8bitmime"))
		o->eight_bit = true;
	else if (!span_is_ci(span_str(arg), "7bit"))
		fatal("-B option needs 8BITMIME or 7BIT");
}

static void set_config(struct options *o, const char *arg)
{
	o->config = arg;
}

static void set_full_name(struct options *o, const char *arg)
{
	o->full_name = arg;
}

static void set_sender(struct options *o, const char *arg)
{
	o->sender = arg;
}

static void set_gateway(struct options *o, const char *arg)
{
	(void)arg;
	o->gateway = true;
}

static void keep_dot(struct options *o, const char *arg)
{
	(void)arg;
	o->keep_dot = true;
}

static void set_notify(struct options *o, const char *arg)
{
	struct span rest = span_str(arg), w;

	o->notify = 0;
	while (span_next_word(&rest, ", \t", &w)) {
		uint16_t bit = notify_bit(w);

		if (bit == 0) {
			warn("unknown DSN NOTIFY command value \"" SPAN_FMT "\" in \"%s\"", SPAN_ARG(w), arg);
			o->notify = 0;
			break;
		}
		o->notify |= bit;
	}
	if (o->notify == 0 || ((o->notify & NOTIFY_NEVER) && o->notify != NOTIFY_NEVER)) {
		warn("bad -N option value -- ignored");
		o->notify = 0;
	}
}

static void set_ret(struct options *o, const char *arg)
{
	if (span_is_ci(span_str(arg), "full"))
		o->ret = RET_FULL;
	else if (span_is_ci(span_str(arg), "hdrs"))
		o->ret = RET_HDRS;
	else
		warn("bad -R option value -- ignored");
}

static void set_envid(struct options *o, const char *arg)
{
	size_t n = strlen(arg);

	if (n == 2) { /* the old way to ask for VERP */
		warn("option -V%s is deprecated with Postfix 2.3; specify -XV%s instead", arg, arg);
		o->verp = arg;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!ascii_isprint(arg[i]))
			n = 0;
	if (n == 0)
		warn("bad syntax in -V option value -- ignored");
	else if (n > 100)
		warn("too long -V option value -- ignored");
	else
		o->envid = arg;
}

static void set_mode(struct options *o, const char *arg)
{
	switch (arg[0]) {
	case 'd':
	case 'l':
		o->mode = MODE_DAEMON;
		return;
	case 'h':
	case 'H': /* host status: there is none */
		o->mode = MODE_NOTHING;
		return;
	case 'm':
		o->mode = MODE_DELIVER;
		return;
	case 'i':
		o->mode = MODE_ALIASES;
		return;
	case 'p':
		o->mode = MODE_LIST;
		return;
	case 's':
		o->mode = MODE_SMTP;
		return;
	case 'v':
		o->mode = MODE_VERIFY;
		return;
	default:
		fatal("unsupported: -%c%c", 'b', arg[0]);
	}
}

static void set_o(struct options *o, const char *arg)
{
	if (arg[0] == 'A' && arg[1] == '\0')
		fatal("-oA requires pathname");
	if (arg[0] == 'i')
		o->keep_dot = true;
	else if (arg[0] == 'e' || arg[0] == 'A' || arg[0] == 'd' || arg[0] == 'm' || arg[0] == '7' ||
		 arg[0] == '8')
		return;
	/* any other option of old: without effect */
}

static void set_queue(struct options *o, const char *arg)
{
	if (arg[0] == '\0')
		o->mode = MODE_FLUSH;
	else if (arg[0] == 'I' || arg[0] == 'R') {
		o->mode = arg[0] == 'I' ? MODE_FLUSH_ID : MODE_FLUSH_SITE;
		o->flush_arg = arg + 1;
		if (arg[1] == '\0')
			fatal("specify: %s", arg[0] == 'I' ? "-qIqueueid" : "-qRsitename");
	} else if (!ascii_isdigit(arg[0]))
		fatal("-q%c is not implemented", arg[0]);
	else if (o->mode == MODE_DELIVER) /* "-q15m": be the daemon that looks at the queue so often */
		o->mode = MODE_DAEMON;
}

static void set_extract(struct options *o, const char *arg)
{
	(void)arg;
	o->extract = true;
}

static void set_verbose(struct options *o, const char *arg)
{
	(void)arg;
	o->verbose++;
}

static void refuse_n(struct options *o, const char *arg)
{
	(void)o;
	(void)arg;
	fatal("-n option not supported");
}

/* -XV, -XV+=: VERP; "-X file", the transaction log of old, is refused. */
static void set_verp(struct options *o, const char *arg)
{
	if (arg[0] != 'V')
		fatal("unsupported: -X%c", arg[0]);
	o->verp = arg + 1;
}

/* -O name=value: those of RFC 8689 and RFC 6531 count; any other is without effect. */
static void set_option(struct options *o, const char *arg)
{
	if (span_is_ci(span_str(arg), "smtputf8=yes"))
		o->smtputf8 = true;
	else if (span_is_ci(span_str(arg), "smtputf8=no"))
		o->smtputf8 = false;
	else if (span_is_ci(span_str(arg),
			    "requiretls=yes")) /* a promise: rather no mail than one sent in the clear */
		fatal("-O requiretls=yes: REQUIRETLS (RFC 8689) is not supported");
}

static const struct flag flags[] = {
	{ 'A', true, ignore },	      { 'B', true, set_body },	   { 'C', true, set_config },
	{ 'F', true, set_full_name }, { 'G', false, set_gateway }, { 'I', false, NULL },
	{ 'L', true, ignore },	      { 'N', true, set_notify },   { 'O', true, set_option },
	{ 'R', true, set_ret },	      { 'U', false, ignore },	   { 'V', true, set_envid },
	{ 'X', true, set_verp },      { 'b', true, set_mode },	   { 'c', false, ignore },
	{ 'e', true, ignore },	      { 'f', true, set_sender },   { 'h', true, ignore },
	{ 'i', false, keep_dot },     { 'm', false, ignore },	   { 'n', false, refuse_n },
	{ 'o', true, set_o },	      { 'p', true, ignore },	   { 'r', true, set_sender },
	{ 't', false, set_extract },  { 'v', false, set_verbose }, { 'x', false, ignore },
};

static const char *called = "sendmail";

NORETURN static void usage(const char *what, char letter)
{
	fprintf(stderr, "%s: %s -- '%c'\n", called, what, letter);
	fatal("usage: %s [options]", called);
}

static const struct flag *find(char letter)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (flags[i].letter == letter)
			return &flags[i];
	return NULL;
}

/* One word of flags: "-tifroot". Returns how many further words it used. */
static int one_word(struct options *o, char **argv, int left)
{
	for (const char *p = argv[0] + 1; *p != '\0'; p++) {
		const struct flag *f;

		if (*p == 'q') {
			set_queue(o, p + 1);
			return 0;
		}
		if ((f = find(*p)) == NULL)
			usage("invalid option", *p);
		if (f->run == NULL) {
			o->mode = MODE_ALIASES;
			continue;
		}
		if (!f->has_arg) {
			f->run(o, "");
			continue;
		}
		if (p[1] != '\0') {
			f->run(o, p + 1);
			return 0;
		}
		if (left < 2)
			usage("option requires an argument", *p);
		f->run(o, argv[1]);
		return 1;
	}
	return 0;
}

/* Flags may stand behind recipients, too: some callers put them there. "--" ends them. */
void options_parse(int argc, char **argv, struct options *o)
{
	bool no_more = false;

	if (argc > 0)
		called = argv[0];
	o->rcpt = arena_array(&memory, (size_t)argc + 1, sizeof(*o->rcpt));
	for (int i = 1; i < argc; i++) {
		if (!no_more && span_is(span_str(argv[i]), "--"))
			no_more = true;
		else if (!no_more && argv[i][0] == '-' && argv[i][1] != '\0')
			i += one_word(o, argv + i, argc - i);
		else
			o->rcpt[o->rcpts++] = argv[i];
	}
}
