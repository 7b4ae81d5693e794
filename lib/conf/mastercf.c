/* conf/mastercf.c - master.cf: eight columns, the last of which is a command with arguments (master(5)). */
#include "conf/mastercf.h"
#include "conf/conf_int.h"

#define ENTRIES_MAX 10000
#define ARGS_MAX    10000

static const char *const column_name[] = { "service", "type",	"private", "unpriv",
					   "chroot",  "wakeup", "maxproc", "command" };

struct parse {
	const char *file;
	unsigned line;
	struct mastercf *m;
	size_t cap;
	int64_t default_maxproc;
	bool default_chroot;
	struct err *e;
};

static enum rc bad(struct parse *p, unsigned column, struct span text, const char *expected)
{
	return err_set(p->e, RC_SYNTAX, "%s line %u: %s column: \"" SPAN_FMT "\" (%s)", p->file, p->line,
		       column_name[column], SPAN_ARG(span_head(text, 80)), expected);
}

static enum rc take_word(struct span *rest, struct span *word)
{
	size_t n = 0;

	while (rest->n > 0 && ascii_isspace(rest->p[0]))
		*rest = span_skip(*rest, 1);
	while (n < rest->n && !ascii_isspace(rest->p[n]))
		n++;
	*word = span_head(*rest, n);
	*rest = span_skip(*rest, n);
	return n > 0 ? RC_OK : RC_EOF;
}

/* ---- columns ---- */

static enum rc parse_type(struct parse *p, struct span s, enum service_type *type)
{
	static const struct {
		const char *name;
		enum service_type type;
	} types[] = { { "inet", ST_INET },
		      { "unix", ST_UNIX },
		      { "unix-dgram", ST_UNIX_DGRAM },
		      { "fifo", ST_FIFO },
		      { "pass", ST_PASS } };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (span_is(s, types[i].name)) {
			*type = types[i].type;
			return RC_OK;
		}
	return bad(p, 1, s, "inet, unix, unix-dgram, fifo or pass");
}

static enum rc parse_flag(struct parse *p, unsigned column, struct span s, bool def, bool *out)
{
	if (span_is(s, "-"))
		*out = def;
	else if (span_is(s, "y") || span_is(s, "n"))
		*out = s.p[0] == 'y';
	else
		return bad(p, column, s, "y, n or -");
	return RC_OK;
}

static enum rc parse_wakeup(struct parse *p, struct span s, struct master_entry *en)
{
	struct span digits = s;
	uint64_t value;

	if (span_is(s, "-"))
		return RC_OK;
	if (digits.n > 1 && digits.p[digits.n - 1] == '?') {
		en->wakeup_if_used = true;
		digits.n--;
	}
	if (span_to_u64(digits, INT32_MAX, &value) != RC_OK)
		return bad(p, 5, s, "seconds, perhaps with ?, or -");
	en->wakeup_s = (int64_t)value;
	return RC_OK;
}

static enum rc parse_maxproc(struct parse *p, struct span s, struct master_entry *en)
{
	uint64_t value;

	if (span_is(s, "-")) {
		en->maxproc = p->default_maxproc;
		return RC_OK;
	}
	if (span_to_u64(s, INT32_MAX, &value) != RC_OK)
		return bad(p, 6, s, "a number or -");
	en->maxproc = (int64_t)value;
	return RC_OK;
}

static enum rc parse_columns(struct parse *p, struct master_entry *en)
{
	const struct span *col = en->column;
	enum rc rc;

	en->name = col[0];
	if ((rc = parse_type(p, col[1], &en->type)) != RC_OK ||
	    (rc = parse_flag(p, 2, col[2], en->type != ST_INET, &en->is_private)) != RC_OK ||
	    (rc = parse_flag(p, 3, col[3], true, &en->unpriv)) != RC_OK ||
	    (rc = parse_flag(p, 4, col[4], p->default_chroot, &en->chroot)) != RC_OK ||
	    (rc = parse_wakeup(p, col[5], en)) != RC_OK || (rc = parse_maxproc(p, col[6], en)) != RC_OK)
		return rc;
	if (en->type == ST_INET)
		en->is_private = false; /* the network is public whatever the column says */
	return RC_OK;
}

/* ---- command ---- */

/* { text } is one argument without the braces. */
static enum rc take_argument(struct parse *p, struct span *rest, struct span *arg, bool *braced)
{
	struct span whole;

	while (rest->n > 0 && ascii_isspace(rest->p[0]))
		*rest = span_skip(*rest, 1);
	whole = *rest;
	*braced = rest->n > 0 && rest->p[0] == '{';
	if (!*braced)
		return take_word(rest, arg);
	if (conf_braces(rest, arg) != RC_OK)
		return err_set(p->e, RC_SYNTAX, "%s line %u: missing '}' in \"" SPAN_FMT "\"", p->file,
			       p->line, SPAN_ARG(span_head(whole, 80)));
	if (rest->n > 0 && !ascii_isspace(rest->p[0]))
		return err_set(p->e, RC_SYNTAX, "%s line %u: text after '}' in \"" SPAN_FMT "\"", p->file,
			       p->line, SPAN_ARG(span_head(whole, 80)));
	return RC_OK;
}

/* "name = value" in braces: the blanks around '=' are not part of either. */
static enum rc join_setting(struct parse *p, struct span text, struct span *out)
{
	ptrdiff_t eq = span_chr(text, '=');
	struct span name = span_trim(span_head(text, eq < 0 ? 0 : (size_t)eq));

	if (eq < 0 || name.n == 0)
		return err_set(p->e, RC_SYNTAX,
			       "%s line %u: name=value expected after -o, not \"" SPAN_FMT "\"", p->file,
			       p->line, SPAN_ARG(span_head(text, 80)));
	*out = span_printf(&p->m->arena, SPAN_FMT "=" SPAN_FMT, SPAN_ARG(name),
			   SPAN_ARG(span_trim(span_skip(text, (size_t)eq + 1))));
	return RC_OK;
}

static enum rc add_argument(struct parse *p, struct master_entry *en, size_t *cap, struct span arg)
{
	if (en->argc >= ARGS_MAX)
		return err_set(p->e, RC_LIMIT, "%s line %u: a command is limited to %d arguments", p->file,
			       p->line, ARGS_MAX);
	if (en->argc == *cap)
		en->argv = arena_grow(&p->m->arena, en->argv, en->argc, cap, sizeof(*en->argv));
	en->argv[en->argc++] = arg;
	return RC_OK;
}

/* -o name=value, -oname=value, -o {name = value}, -o{name = value}: `arg` starts with -o. Two arguments come
 * of it. */
static enum rc parse_setting(struct parse *p, struct master_entry *en, size_t *cap, struct span arg,
			     struct span *rest)
{
	struct span value = span_skip(arg, 2);
	bool braced;
	enum rc rc = RC_OK;

	if (value.n == 0) {
		rc = take_argument(p, rest, &value, &braced);
	} else if (value.p[0] == '{') { /* may hold blanks: take it again from its brace */
		*rest = span_make(value.p, (size_t)(rest->p + rest->n - value.p));
		rc = take_argument(p, rest, &value, &braced);
	}
	if (rc == RC_EOF)
		return err_set(p->e, RC_SYNTAX, "%s line %u: name=value expected after -o", p->file, p->line);
	if (rc != RC_OK || (rc = join_setting(p, value, &value)) != RC_OK ||
	    (rc = add_argument(p, en, cap, SPAN("-o"))) != RC_OK)
		return rc;
	return add_argument(p, en, cap, value);
}

/* Options end at the first word that is none: what follows argv= of pipe(8) is another program's. */
static enum rc parse_command(struct parse *p, struct master_entry *en)
{
	struct span rest = en->column[7], arg;
	bool options = true, braced;
	size_t cap = 0;
	enum rc rc;

	while ((rc = take_argument(p, &rest, &arg, &braced)) == RC_OK) {
		if (en->argc == 0) {
			if (braced || arg.p[0] == '-')
				return bad(p, 7, en->column[7], "a program name");
		} else if (braced || arg.p[0] != '-') {
			options = false;
		} else if (options && span_starts(arg, SPAN("-o"))) {
			if ((rc = parse_setting(p, en, &cap, arg, &rest)) != RC_OK)
				return rc;
			continue;
		}
		if ((rc = add_argument(p, en, &cap, arg)) != RC_OK)
			return rc;
	}
	return rc == RC_EOF ? RC_OK : rc;
}

/* ---- entries ---- */

static enum rc parse_entry(struct parse *p, struct span text)
{
	struct master_entry *en;
	struct span rest = span_dup(&p->m->arena, text);
	enum rc rc;

	if (p->m->n >= ENTRIES_MAX)
		return err_set(p->e, RC_LIMIT, "%s line %u: limited to %d services", p->file, p->line,
			       ENTRIES_MAX);
	if (p->m->n == p->cap)
		p->m->entry = arena_grow(&p->m->arena, p->m->entry, p->m->n, &p->cap, sizeof(*p->m->entry));
	en = &p->m->entry[p->m->n];
	memset(en, 0, sizeof(*en));
	en->line = p->line;
	for (unsigned i = 0; i < 7; i++)
		if (take_word(&rest, &en->column[i]) != RC_OK)
			return err_set(p->e, RC_SYNTAX,
				       "%s line %u: %u of 8 columns, the %s column is missing", p->file,
				       p->line, i, column_name[i]);
	en->column[7] = span_trim(rest);
	if (en->column[7].n == 0)
		return err_set(p->e, RC_SYNTAX, "%s line %u: 7 of 8 columns, the command column is missing",
			       p->file, p->line);
	if ((rc = parse_columns(p, en)) != RC_OK || (rc = parse_command(p, en)) != RC_OK)
		return rc;
	p->m->n++;
	return RC_OK;
}

/* "-" in the chroot column is "y" up to compatibility_level 0. */
static bool chroot_by_default(const struct conf *c)
{
	struct arena a;
	struct span answer;
	bool chroot;

	if (c == NULL)
		return false;
	arena_init(&a);
	chroot = conf_expand(c, SPAN("${{$compatibility_level} <level {1} ? {y} : {n}}"), &a, &answer,
			     NULL) == RC_OK &&
		 span_is(answer, "y");
	arena_release(&a);
	return chroot;
}

enum rc mastercf_parse(struct span text, const char *name, const struct conf *c, struct mastercf **out,
		       struct err *e)
{
	struct mastercf *m;
	struct parse p = { .file = name, .e = e };
	struct lines l;
	struct span line;
	enum rc rc;

	if (text.n > CONF_FILE_MAX)
		return err_set(e, RC_LIMIT, "%s: a configuration file is limited to %zu bytes", name,
			       CONF_FILE_MAX);
	m = xcalloc(1, sizeof(*m));
	arena_init(&m->arena);
	p.m = m;
	p.default_maxproc = c != NULL ? conf_int(c, "default_process_limit") : 100;
	p.default_chroot = chroot_by_default(c);
	lines_init(&l, text, name);
	while ((rc = lines_next(&l, &line, &p.line, e)) == RC_OK) {
		if (ascii_isspace(line.p[0])) { /* continues nothing: ignored, as in main.cf */
			m->lost_line = p.line;
			continue;
		}
		if ((rc = parse_entry(&p, line)) != RC_OK)
			break;
	}
	lines_release(&l);
	if (rc != RC_EOF) {
		mastercf_free(&m);
		return rc;
	}
	*out = m;
	return RC_OK;
}

enum rc mastercf_load(const char *dir, const struct conf *c, struct mastercf **out, struct err *e)
{
	char *bytes = NULL, *path;
	struct arena a;
	size_t n = 0;
	enum rc rc;

	arena_init(&a);
	path = arena_printf(&a, "%s/master.cf", dir);
	if ((rc = conf_read_file(path, &bytes, &n, e)) == RC_OK)
		rc = mastercf_parse(span_make(bytes, n), path, c, out, e);
	free(bytes);
	arena_release(&a);
	return rc;
}

void mastercf_free(struct mastercf **mp)
{
	struct mastercf *m = *mp;

	if (m == NULL)
		return;
	arena_release(&m->arena);
	free(m);
	*mp = NULL;
}

bool mastercf_next_setting(const struct master_entry *en, size_t *pos, struct span *name, struct span *value)
{
	while (*pos < en->argc && en->argv[*pos].n > 0 && en->argv[*pos].p[0] == '-') {
		struct span arg = en->argv[(*pos)++];
		ptrdiff_t eq;

		if (!span_is(arg, "-o") || *pos == en->argc)
			continue;
		arg = en->argv[(*pos)++];
		if ((eq = span_chr(arg, '=')) < 0)
			continue;
		*name = span_head(arg, (size_t)eq);
		*value = span_skip(arg, (size_t)eq + 1);
		return true;
	}
	return false;
}

size_t mastercf_arguments(const struct master_entry *en)
{
	struct span name, value;
	size_t pos = 1;

	while (mastercf_next_setting(en, &pos, &name, &value))
		;
	return pos;
}
