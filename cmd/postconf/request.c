/* request.c - which services a command line means: SERVICE[/TYPE[/NAME]]. */
#include "postconf.h"

static const struct {
	char letter;
	const char *form;
	size_t parts, edit_parts;
} forms[] = {
	[S_SERVICES] = { 'M', "service_name[/type]", 2, 2 },
	[S_FIELDS] = { 'F', "service_name[/type[/field]]", 3, 3 },
	[S_SETTINGS] = { 'P', "service_name[/type[/parameter]]", 3, 3 },
};

static void parse(const struct options *o, struct request *r, struct span text)
{
	struct span item;

	while (span_next(&text, '/', &item)) {
		if (r->parts == forms[o->subject].parts || item.n == 0)
			fatal("-%c option requires %s", forms[o->subject].letter, forms[o->subject].form);
		r->part[r->parts++] = item;
	}
	for (size_t i = r->parts; i < ARRAY_LEN(r->part); i++)
		r->part[i] = SPAN("*");
}

static void must_be_field(struct span name)
{
	for (size_t i = 0; i < FIELDS; i++)
		if (span_is(name, field_name[i]))
			return;
	if (!span_is(name, "*"))
		fatal("invalid service attribute name: \"" SPAN_FMT "\"", SPAN_ARG(name));
}

/* A value behind '=' is the business of the editor. */
struct request *requests_parse(const struct options *o, struct arena *a)
{
	struct request *r = arena_array(a, (size_t)o->args + 1, sizeof(*r));

	for (int i = 0; i < o->args; i++) {
		struct span text = span_str(o->arg[i]);
		ptrdiff_t eq = o->action == A_EDIT ? span_chr(text, '=') : -1;

		memset(&r[i], 0, sizeof(r[i]));
		r[i].text = o->arg[i];
		if (o->action != A_SHOW && strpbrk(o->arg[i], "\r\n") != NULL)
			fatal("-Me, -Fe, -Pe, -X, or -# accept no multi-line input");
		if (eq >= 0)
			text = span_trim(span_head(text, (size_t)eq));
		parse(o, &r[i], text);
		if (o->subject == S_FIELDS)
			must_be_field(r[i].part[2]);
		if (o->action != A_SHOW && r[i].parts < forms[o->subject].edit_parts)
			fatal("%s", o->subject == S_SERVICES ? "-Me, -MX or -M# requires service_name/type"
				    : o->subject == S_FIELDS
					? "-Fe requires service_name/type/field"
					: "-Pe or -PX requires service_name/type/parameter");
	}
	return r;
}

static bool part_matches(struct span pattern, struct span text)
{
	return span_is(pattern, "*") || span_eq(pattern, text);
}

bool request_matches(const struct request *r, const struct master_entry *en)
{
	return part_matches(r->part[0], en->name) && part_matches(r->part[1], en->column[1]);
}
