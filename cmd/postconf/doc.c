/* doc.c - the table of parameters as text: docs/parameters.md and the generated part of main.cf(5). */
#include "postconf.h"

static const char *const type_name[] = {
	[P_STR] = "text",	[P_RAW] = "text, expanded when used",
	[P_INT] = "number",	[P_LONG] = "number",
	[P_BOOL] = "yes or no", [P_TIME] = "time",
};

static const char *shown_default(const struct param *p)
{
	static const char *const computed[][2] = {
		{ "mydomain", "(from $myhostname)" },
		{ "myhostname", "(the host's name)" },
		{ "mynetworks", "(the host's networks)" },
		{ "process_id", "(set)" },
		{ "process_name", "(set)" },
	};

	for (size_t i = 0; i < ARRAY_LEN(computed); i++)
		if (strcmp(p->name, computed[i][0]) == 0)
			return computed[i][1];
	return p->def;
}

static void md_text(const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '|')
			putchar('\\');
		putchar(*s);
	}
}

static void md_table(enum param_state state, const char *title, const char *text)
{
	unsigned n = 0;

	for (const struct param *p = conf_params; p->name != NULL; p++)
		n += p->state == state;
	printf("\n## %s (%u)\n\n%s\n", title, n, text);
	if (n == 0)
		return;
	printf("\n| name | default | type | read by | meaning |\n| --- | --- | --- | --- | --- |\n");
	for (const struct param *p = conf_params; p->name != NULL; p++) {
		const char *def = shown_default(p);

		if (p->state != state)
			continue;
		printf("| %s | ", p->name);
		if (*def != '\0') {
			printf("`");
			md_text(def);
			printf("`");
		}
		printf(" | %s", type_name[p->type]);
		if (p->min != NULL && (p->type == P_STR || p->type == P_RAW))
			printf(strcmp(p->min, "1") == 0 ? ", not empty" : ", from 2 bytes");
		else if (p->min != NULL && strcmp(p->min, "0") != 0)
			printf(", from %s", p->min);
		if (p->max != NULL)
			printf(", to %s", p->max);
		printf(" | %s | ", p->programs);
		md_text(p->meaning);
		printf(" |\n");
	}
}

static void md(void)
{
	printf("# Parameters of main.cf\n\n"
	       "Made from lib/conf/params.def by `make docs`; do not edit. Every parameter that Postfix 3.7 "
	       "knows is in one of the\n"
	       "three lists, and those that Postern adds are in the first.\n");
	md_table(PS_DONE, "Implemented", "These do what they say.");
	md_table(PS_IGNORED, "Accepted without effect",
		 "A main.cf may set these; nothing comes of it yet, or ever, for the reason given.");
	md_table(PS_REFUSED, "Refused", "Any value but the default is an error, for the reason given.");
}

/* roff: a backslash is \e, and a line must not start with a dot or an apostrophe. */
static void man_text(const char *s)
{
	if (*s == '.' || *s == '\'')
		printf("\\&");
	for (; *s != '\0'; s++) {
		if (*s == '\\')
			printf("\\e");
		else if (*s == '-')
			printf("\\-");
		else if (*s == '"')
			printf("\\(dq");
		else
			putchar(*s);
	}
}

static void man(void)
{
	for (const struct param *p = conf_params; p->name != NULL; p++) {
		const char *def = shown_default(p);

		if (p->state != PS_DONE)
			continue;
		printf(".It Va ");
		man_text(p->name);
		printf("\n");
		man_text(p->meaning);
		printf(".\n");
		printf("Default: ");
		man_text(*def == '\0' ? "empty" : def);
		printf(".\n");
	}
}

void write_doc(const char *form)
{
	if (strcmp(form, "md") == 0)
		md();
	else if (strcmp(form, "man") == 0)
		man();
	else
		fatal("--doc: md or man");
}
