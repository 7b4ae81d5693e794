/* Any bytes as a request of postconf -e, -X or -# that changes main.cf, and as that file: it is refused, or what was asked for is what the new text says, and
 * every other setting is what it was. Input: a byte that selects what is done, requests, each ended by a line end, an empty line, the file. */
#include "../../cmd/postconf/edit.c" /* a command's file: not in the archive */
#include "postconf_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void split_argument(const char *arg, struct span *name, struct span *value)
{
	struct span rest = span_str(arg);

	if (strchr(arg, '=') == NULL || !span_next(&rest, '=', name))
		fatal("no value");
	*name = span_trim(*name);
	for (size_t i = 0; i < name->n; i++)
		if (ascii_isspace(name->p[i]))
			fatal("a blank");
	*value = span_trim(rest);
}

static struct conf *parse(struct span text)
{
	struct conf *c = NULL;
	struct err e;

	return conf_parse(text, "main.cf", "/nonexistent", &c, &e) == RC_OK ? c : NULL;
}

/* The text of a setting; NULL: there is none. */
static const char *said(const struct conf *c, struct span name)
{
	const char *other, *raw, *found = NULL;
	unsigned line;

	for (size_t pos = 0; conf_next(c, &pos, &other, &raw, &line);)
		if (span_is(name, other))
			found = raw;
	return found;
}

static void check_changes(const struct edit *ed, const struct conf *new)
{
	for (size_t i = 0; i < ed->n; i++) {
		const char *raw = said(new, ed->change[i].name);

		INVARIANT(ed->o->action == A_EDIT ? raw != NULL && span_is(ed->change[i].value, raw)
						  : raw == NULL);
	}
}

static void check_others(struct edit *ed, const struct conf *old, const struct conf *new)
{
	const char *name, *raw, *now;
	unsigned line;
	size_t before = 0, after = 0;

	for (size_t pos = 0; conf_next(old, &pos, &name, &raw, &line);)
		if (find(ed, span_str(name)) == NULL) {
			before++;
			INVARIANT((now = said(new, span_str(name))) != NULL && strcmp(now, raw) == 0);
		}
	for (size_t pos = 0; conf_next(new, &pos, &name, &raw, &line);)
		after += find(ed, span_str(name)) == NULL;
	INVARIANT(before == after);
}

static void run(const struct options *o, struct span file)
{
	static struct edit ed; /* as it is after longjmp() */
	struct change changes[REQUESTS_MAX];
	struct conf *old = parse(file), *new = NULL;

	if (old == NULL)
		return;
	memset(changes, 0, sizeof changes);
	ed = (struct edit){ .o = o, .change = changes };
	buf_init(&ed.out, CONF_FILE_MAX);
	if (setjmp(refused) == 0) {
		collect(&ed);
		edit_text(&ed, file);
		new = parse(buf_span(&ed.out));
		INVARIANT(new != NULL);
		check_changes(&ed, new);
		check_others(&ed, old, new);
	}
	conf_free(&new);
	conf_free(&old);
	buf_release(&ed.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum action actions[] = { A_EDIT, A_REMOVE, A_COMMENT };
	struct span file;
	char *arg[REQUESTS_MAX];
	struct options o = { .args = 0 };
	struct arena a;

	if (size < 1 || size > 16384 || memchr(data, '\0', size) != NULL ||
	    memchr(data, '\v', size) != NULL ||
	    memchr(data, '\f', size) !=
		NULL) /* blanks at the ends of values for one, and not for the other */
		return 0;
	o.action = actions[*data % ARRAY_LEN(actions)];
	file = span_make((const char *)data + 1, size - 1);
	arena_init(&a);
	take_requests(&o, arg, &file, &a);
	if (o.args > 0)
		run(&o, file);
	arena_release(&a);
	return 0;
}
