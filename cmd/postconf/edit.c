/* edit.c - changing main.cf: name=value, -X (remove), -# (comment out). Comments and lines of other settings stay
 * byte for byte. */
#include "postconf.h"

struct change {
	struct span name;
	struct span value;
	bool done;
};

struct edit {
	const struct options *o;
	struct change *change;
	size_t n;
	struct buf out;
};

static struct change *find(struct edit *ed, struct span name)
{
	for (size_t i = 0; i < ed->n; i++)
		if (span_eq(ed->change[i].name, name))
			return &ed->change[i];
	return NULL;
}

static void collect(struct edit *ed)
{
	for (int i = 0; i < ed->o->args; i++) {
		const char *arg = ed->o->arg[i];
		struct span name = span_trim(span_str(arg)), value = SPAN_NONE;
		struct change *ch;

		if (strpbrk(arg, "\r\n") != NULL)
			fatal("-e, -X, or -# accepts no multi-line input");
		if (ed->o->action == A_EDIT)
			split_argument(arg, &name, &value);
		else if (strchr(arg, '=') != NULL)
			fatal("-X or -# requires names without value: \"%s\"", arg);
		if (name.n == 0 || name.p[0] == '#')
			fatal("not a parameter name: \"%s\"", arg);
		if ((ch = find(ed, name)) == NULL)
			ch = &ed->change[ed->n++];
		else if (ed->o->action == A_EDIT)
			warn("ignoring earlier request: '" SPAN_FMT " = " SPAN_FMT "'", SPAN_ARG(ch->name),
			     SPAN_ARG(ch->value));
		ch->name = name;
		ch->value = value;
	}
}

static void put(struct edit *ed, struct span s)
{
	if (buf_append(&ed->out, s) != RC_OK)
		fatal("%s/main.cf would be longer than %zu bytes", ed->o->dir, CONF_FILE_MAX);
}

static void put_setting(struct edit *ed, struct change *ch)
{
	if (ch->done) /* the last one would win: all get the new value, as Postfix does it */
		warn("%s/main.cf: multiple entries for \"" SPAN_FMT "\"", ed->o->dir, SPAN_ARG(ch->name));
	put(ed, ch->name);
	put(ed, SPAN(" = "));
	put(ed, ch->value);
	put(ed, SPAN("\n"));
	ch->done = true;
}

static bool blank_or_comment(struct span line)
{
	line = span_trim(line);
	return line.n == 0 || line.p[0] == '#';
}

static struct span setting_name(struct span line)
{
	size_t n = 0;

	while (n < line.n && !ascii_isspace(line.p[n]) && line.p[n] != '=')
		n++;
	return span_head(line, n);
}

/* `ch` is the change that the current logical line falls under, or NULL. */
static void edit_line(struct edit *ed, struct span line, struct change **ch)
{
	bool starts = false;

	if (!blank_or_comment(line) && !ascii_isspace(line.p[0])) {
		*ch = find(ed, setting_name(line));
		starts = true;
	}
	if (*ch == NULL || blank_or_comment(line)) {
		put(ed, line);
		put(ed, SPAN("\n"));
		return;
	}
	switch (ed->o->action) {
	case A_COMMENT:
		put(ed, SPAN("#"));
		put(ed, line);
		put(ed, SPAN("\n"));
		break;
	case A_EDIT:
		if (starts)
			put_setting(ed, *ch);
		break;
	default:
		break; /* removed */
	}
}

static void edit_text(struct edit *ed, struct span text)
{
	struct change *ch = NULL;
	bool open_end = text.n > 0 && text.p[text.n - 1] != '\n';
	size_t before;

	while (text.n > 0) {
		ptrdiff_t nl = span_chr(text, '\n');
		size_t n = nl < 0 ? text.n : (size_t)nl;

		edit_line(ed, span_head(text, n), &ch);
		text = span_skip(text, nl < 0 ? n : n + 1);
	}
	before = ed->out.n;
	for (size_t i = 0; ed->o->action == A_EDIT && i < ed->n; i++)
		if (!ed->change[i].done)
			put_setting(ed, &ed->change[i]);
	if (open_end && ed->out.n == before && before > 0)
		ed->out.n--; /* the file had no newline at its end, and nothing came after it */
}

void edit_parameters(const struct options *o)
{
	struct edit ed = { .o = o };
	struct target t;

	edit_needs_argument(o);
	ed.change = xcalloc((size_t)o->args, sizeof(*ed.change));
	buf_init(&ed.out, CONF_FILE_MAX);
	collect(&ed);
	target_open(&t, o, "main.cf");
	edit_text(&ed, span_make(t.bytes, t.n));
	target_finish(&t, buf_span(&ed.out));
	buf_release(&ed.out);
	free(ed.change);
}
