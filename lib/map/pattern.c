/* map/pattern.c - tables of regular expressions: from lines to rules, and the walk through them. */
#include "map/pattern.h"
#include "log/log.h"
#include <stdarg.h>

enum rule_kind { RULE_MATCH, RULE_IF, RULE_ENDIF };

/* A piece of a result: text, then the group (0: none). */
struct piece {
	struct span text;
	unsigned group;
};

struct rule {
	enum rule_kind kind;
	bool negate, substitutes;
	unsigned line;
	void *re;
	struct piece *pieces;
	size_t npieces;
	size_t end; /* RULE_IF: index of its endif, or of what follows the last rule */
};

struct patterns {
	const struct pattern_engine *engine;
	const char *name; /* the file, for messages */
	struct arena arena;
	struct rule *rules;
	size_t n, cap;
	unsigned groups; /* highest number used in a result */
	struct map_file file;
};

/* "MAP map FILE, line N: STORY"; always false. */
PRINTF_LIKE(3, 4) static bool complain(const struct patterns *p, unsigned line, const char *fmt, ...)
{
	char story[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(story, sizeof story, fmt, ap);
	va_end(ap);
	log_warning("%s map %s, line %u: %s", p->engine->name, p->name, line, story);
	return false;
}

static void skip_blanks(struct span *s)
{
	while (s->n && ascii_isspace(*s->p))
		*s = span_skip(*s, 1);
}

static struct rule *add_rule(struct patterns *p, enum rule_kind kind, unsigned line)
{
	struct rule *r;

	if (p->n == p->cap)
		p->rules = arena_grow(&p->arena, p->rules, p->n, &p->cap, sizeof *p->rules);
	r = &p->rules[p->n++];
	*r = (struct rule){ .kind = kind, .line = line };
	return r;
}

/* ---- results with $number ---- */
static bool is_name(char c)
{
	return ascii_isalnum(c) || c == '_';
}

/* After a '$' of `whole`: takes the name off *rest. */
static bool macro_name(struct span whole, struct span *rest, struct span *name)
{
	char closing = rest->n && *rest->p == '{' ? '}' : rest->n && *rest->p == '(' ? ')' : 0;
	size_t n = 0;

	if (closing) {
		ptrdiff_t end = span_chr(*rest, closing);
		if (end < 0) {
			log_warning("truncated macro reference: \"" SPAN_FMT "\"", SPAN_ARG(whole));
			return false;
		}
		*name = span_make(rest->p + 1, (size_t)end - 1);
		*rest = span_skip(*rest, (size_t)end + 1);
	} else {
		while (n < rest->n && is_name(rest->p[n]))
			n++;
		*name = span_head(*rest, n);
		*rest = span_skip(*rest, n);
	}
	if (!name->n)
		log_warning("empty macro name: \"" SPAN_FMT "\"", SPAN_ARG(whole));
	return name->n > 0;
}

static bool group_number(const struct patterns *p, unsigned line, struct span name, unsigned *out)
{
	uint64_t n = 0;
	enum rc rc = span_to_u64(name, UINT32_MAX, &n);

	if (rc == RC_SYNTAX)
		return complain(p, line, "non-numeric replacement index \"" SPAN_FMT "\"", SPAN_ARG(name));
	if (rc == RC_OK && n < 1)
		return complain(p, line, "%s replacement index \"" SPAN_FMT "\"", p->engine->below_range,
				SPAN_ARG(name));
	*out = rc == RC_OK ? (unsigned)n : UINT32_MAX;
	return true;
}

static void add_piece(struct patterns *p, struct rule *r, size_t *cap, struct span text, unsigned group)
{
	if (r->npieces == *cap)
		r->pieces = arena_grow(&p->arena, r->pieces, r->npieces, cap, sizeof *r->pieces);
	r->pieces[r->npieces++] = (struct piece){ span_dup(&p->arena, text), group };
	r->substitutes |= group > 0;
}

/* Its text may name groups that are not there: *top gets the highest number. */
static bool parse_result(struct patterns *p, struct rule *r, struct span whole, unsigned *top)
{
	struct span name = SPAN_NONE, literal, text = whole;
	size_t cap = 0;
	unsigned group = 0;
	ptrdiff_t at;

	*top = 0;
	while ((at = span_chr(text, '$')) >= 0) {
		literal = span_head(text, (size_t)at);
		text = span_skip(text, (size_t)at + 1);
		if (text.n && *text.p == '$') {
			add_piece(p, r, &cap, span_make(literal.p, literal.n + 1), 0);
			text = span_skip(text, 1);
			continue;
		}
		if (!macro_name(whole, &text, &name) || !group_number(p, r->line, name, &group))
			return complain(p, r->line, "bad replacement syntax: skipping this rule");
		add_piece(p, r, &cap, literal, group);
		*top = group > *top ? group : *top;
	}
	if (text.n || !r->npieces)
		add_piece(p, r, &cap, text, 0);
	return true;
}

static enum rc build_result(const struct rule *r, const struct span *group, struct arena *a,
			    struct span *value, struct err *e)
{
	size_t bytes = 0;
	char *p;

	for (size_t i = 0; i < r->npieces; i++)
		bytes += r->pieces[i].text.n + (r->pieces[i].group ? group[r->pieces[i].group].n : 0);
	if (bytes > MAP_VALUE_MAX)
		return err_set(e, RC_LIMIT, "line %u: result too long", r->line);
	p = arena_alloc(a, bytes + 1);
	*value = span_make(p, bytes);
	for (size_t i = 0; i < r->npieces; i++) {
		struct span s = r->pieces[i].text,
			    g = r->pieces[i].group ? group[r->pieces[i].group] : SPAN_NONE;
		if (s.n)
			memcpy(p, s.p, s.n);
		if (g.n)
			memcpy(p + s.n, g.p, g.n);
		p += s.n + g.n;
	}
	return RC_OK;
}

/* ---- lines ---- */
struct parsed {
	bool negate;
	struct span pattern;
	unsigned options;
	void *re; /* once it is compiled */
	unsigned groups;
};

/* The bytes between the delimiters; *rest goes on behind the closing one. */
static bool delimited(const struct patterns *p, unsigned line, struct span *rest, struct span *pattern)
{
	char delim = *rest->p;
	size_t i = 1;

	while (i < rest->n && (rest->p[i] != delim || delim == '\\'))
		i += rest->p[i] == '\\' && i + 1 < rest->n ? 2 : 1;
	if (i >= rest->n)
		return complain(p, line, "no closing regexp delimiter \"%c\": %s this rule", delim,
				p->engine->unclosed);
	*pattern = span_make(rest->p + 1, i - 1);
	*rest = span_skip(*rest, i + 1);
	return true;
}

static bool parse_flags(const struct patterns *p, unsigned line, struct span *rest, unsigned *options)
{
	for (; rest->n && !ascii_isspace(*rest->p); *rest = span_skip(*rest, 1)) {
		if (*rest->p == p->engine->obsolete)
			complain(p, line, "ignoring obsolete regexp option \"%c\"", *rest->p);
		else if (!p->engine->toggle(*rest->p, options))
			return complain(p, line, "unknown regexp option \"%c\": skipping this rule",
					*rest->p);
	}
	return true;
}

static bool parse_pattern(const struct patterns *p, unsigned line, struct span *rest, struct parsed *out)
{
	*out = (struct parsed){ .options = p->engine->options };
	while (rest->n && *rest->p == '!') {
		out->negate = !out->negate;
		*rest = span_skip(*rest, 1);
		skip_blanks(rest);
	}
	if (!rest->n)
		return complain(p, line, "no regexp: skipping this rule");
	return delimited(p, line, rest, &out->pattern) && parse_flags(p, line, rest, &out->options);
}

static bool compile(struct patterns *p, unsigned line, unsigned flags, struct parsed *in)
{
	struct err e;

	return p->engine->compile(arena_cstr(&p->arena, in->pattern), in->options, flags & MAP_UTF8, &in->re,
				  &in->groups, &e) == RC_OK ||
	       complain(p, line, "%s", e.text);
}

/* Whether a result with groups may stand here. */
static bool may_substitute(const struct patterns *p, const struct rule *r, unsigned flags)
{
	if (r->substitutes && r->negate)
		return complain(p, r->line,
				"$number found in negative match replacement text: skipping this rule");
	if (r->substitutes && (flags & MAP_NO_REGSUB))
		return complain(p, r->line,
				"regular expression substitution is not allowed: skipping this rule");
	return true;
}

static void parse_match(struct patterns *p, struct span text, unsigned line, unsigned flags)
{
	struct rule r = { .kind = RULE_MATCH, .line = line };
	struct parsed got;
	unsigned top;

	if (!parse_pattern(p, line, &text, &got))
		return;
	r.negate = got.negate;
	skip_blanks(&text);
	if (!text.n)
		complain(p, line, "no replacement text: using empty string");
	if (!parse_result(p, &r, text, &top) || !may_substitute(p, &r, flags) ||
	    !compile(p, line, flags, &got))
		return;
	if (top > got.groups || top > PATTERN_GROUPS_MAX) {
		complain(p, line, "out of range replacement index \"%u\": skipping this rule", top);
		p->engine->release(got.re);
		return;
	}
	p->groups = top > p->groups ? top : p->groups;
	r.re = got.re;
	*add_rule(p, RULE_MATCH, line) = r;
}

/* False: the line counts as absent, and what stands below it as unconditional. */
static bool parse_if(struct patterns *p, struct span text, unsigned line, unsigned flags)
{
	struct parsed got;
	struct rule *r;

	skip_blanks(&text);
	if (!parse_pattern(p, line, &text, &got))
		return false;
	text = span_trim(text);
	if (text.n) { /* mostly a rule that was indented, and so continues this line */
		complain(p, line, "ignoring extra text after IF statement: \"" SPAN_FMT "\"", SPAN_ARG(text));
		complain(p, line, "do not prepend whitespace to statements between IF and ENDIF");
	}
	if (!compile(p, line, flags, &got))
		return false;
	r = add_rule(p, RULE_IF, line);
	r->re = got.re;
	r->negate = got.negate;
	return true;
}

struct nesting {
	size_t open[PATTERN_NEST_MAX]; /* indexes of RULE_IF */
	size_t n;
};

static bool keyword(struct span text, const char *word)
{
	size_t n = strlen(word);
	return text.n >= n && span_is_ci(span_head(text, n), word) &&
	       (text.n == n || !ascii_isalnum(text.p[n]));
}

static void parse_endif(struct patterns *p, struct span text, unsigned line, struct nesting *nest)
{
	if (!nest->n) {
		complain(p, line, "ignoring ENDIF without matching IF");
		return;
	}
	if (span_trim(text).n)
		complain(p, line, "ignoring extra text after ENDIF");
	add_rule(p, RULE_ENDIF, line);
	p->rules[nest->open[--nest->n]].end = p->n - 1;
}

static void parse_line(struct patterns *p, struct span text, unsigned line, unsigned flags,
		       struct nesting *nest)
{
	text = span_trim(text);
	if (memchr(text.p, 0, text.n)) {
		complain(p, line, "null byte: skipping this rule");
	} else if (!ascii_isalnum(*text.p)) {
		parse_match(p, text, line, flags);
	} else if (keyword(text, "if")) {
		if (nest->n == PATTERN_NEST_MAX)
			complain(p, line, "IF nested too deeply: skipping this rule");
		else if (parse_if(p, span_skip(text, 2), line, flags))
			nest->open[nest->n++] = p->n - 1;
	} else if (keyword(text, "endif")) {
		parse_endif(p, span_skip(text, 5), line, nest);
	} else {
		complain(p, line, "ignoring unrecognized request");
	}
}

static void parse_all(struct patterns *p, struct span text, unsigned flags)
{
	struct nesting *nest = xcalloc(1, sizeof *nest);
	struct map_lines lines;
	struct span line;
	unsigned number;

	map_lines_init(&lines, text, p->name);
	while (map_lines_next(&lines, &line, &number))
		parse_line(p, line, number, flags, nest);
	while (nest->n) {
		struct rule *r = &p->rules[nest->open[--nest->n]];
		complain(p, r->line, "IF has no matching ENDIF");
		r->end = p->n;
	}
	map_lines_release(&lines);
	free(nest);
}

enum rc pattern_open(struct map *m, const struct pattern_engine *engine, struct err *e)
{
	struct patterns *p = xcalloc(1, sizeof *p);
	struct buf text;
	enum rc rc;

	buf_init(&text, MAP_SOURCE_MAX);
	arena_init(&p->arena);
	p->engine = engine;
	if ((rc = map_source_read(m, &p->file, &text, e)) != RC_OK) {
		free(p);
	} else {
		p->name = arena_cstr(&p->arena, m->arg);
		parse_all(p, buf_span(&text), m->flags);
		m->state = p;
	}
	buf_release(&text);
	return rc;
}

/* ---- the walk ---- */
static bool rule_holds(const struct patterns *p, const struct rule *r, struct span key, struct span *group)
{
	struct err e;
	enum rc rc = p->engine->match(r->re, key, group, p->groups + 1, &e);

	if (rc == RC_LIMIT) { /* neither a match nor a non-match: the rule counts as absent */
		complain(p, r->line, "%s", e.text);
		return false;
	}
	return (rc == RC_OK) != r->negate;
}

enum rc pattern_lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		       struct err *e)
{
	struct patterns *p = m->state;
	struct span *group = arena_array(a, p->groups + 1, sizeof *group);

	for (size_t i = 0; i < p->n; i++) {
		const struct rule *r = &p->rules[i];
		if (r->kind == RULE_ENDIF || (r->substitutes && (flags & MAP_NO_REGSUB)))
			continue;
		if (!rule_holds(p, r, key, group))
			i = r->kind == RULE_IF ? r->end : i;
		else if (r->kind == RULE_MATCH)
			return build_result(r, group, a, value, e);
	}
	return RC_NOTFOUND;
}

void pattern_close(struct map *m)
{
	struct patterns *p = m->state;

	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		if (p->rules[i].re)
			p->engine->release(p->rules[i].re);
	map_file_close(&p->file);
	arena_release(&p->arena);
	free(p);
}

bool pattern_changed(const struct map *m)
{
	const struct patterns *p = m->state;
	return map_file_changed(&p->file);
}
