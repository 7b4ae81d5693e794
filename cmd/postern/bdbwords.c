/* cmd/postern/bdbwords.c - finds and replaces the names of Berkeley DB's table types. */
#include "bdbwords.h"
#include "conf/conf.h"
#include "map/driver.h"

bool bdb_is_cache(struct span param)
{
	static const char *const ends[] = { "_cache_map", "_cache_database", "_cache_name",
					    "_cache_db_type" };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (span_ends(param, span_str(ends[i])))
			return true;
	return span_is(param, "address_verify_map");
}

/* ---- expanded values ---- */
static void in_word(struct span word, unsigned depth, void (*each)(void *, struct span, struct span),
		    void *arg);

static void in_list(struct span list, unsigned depth, void (*each)(void *, struct span, struct span),
		    void *arg)
{
	struct span word;

	while (depth < MAP_DEPTH_MAX && map_word_next(&list, &word, NULL) == RC_OK)
		in_word(word, depth, each, arg);
}

static void in_word(struct span word, unsigned depth, void (*each)(void *, struct span, struct span),
		    void *arg)
{
	struct span inside;
	ptrdiff_t colon, eq;

	while (word.n && *word.p == '!')
		word = span_skip(word, 1);
	if (map_braces(word, &inside)) {
		in_list(inside, depth + 1, each, arg);
		return;
	}
	colon = span_chr(word, ':');
	eq = span_chr(word, '=');
	if (eq > 0 && (colon < 0 || eq < colon)) {
		in_word(span_skip(word, (size_t)eq + 1), depth + 1, each, arg);
		return;
	}
	if (colon <= 0)
		return;
	each(arg, span_head(word, (size_t)colon), span_skip(word, (size_t)colon + 1));
	if (depth < MAP_DEPTH_MAX)
		in_word(span_skip(word, (size_t)colon + 1), depth + 1, each, arg);
}

void bdb_tables(struct span value, void (*each)(void *arg, struct span type, struct span name), void *arg)
{
	in_list(value, 0, each, arg);
}

/* ---- text ---- */
static bool is_name(char c)
{
	return ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == '/';
}

/* Bytes of "hash:" or "btree:" at `at`, where a table's name follows; 0: none. */
static size_t type_at(struct span line, size_t at)
{
	static const char *const types[] = { "hash:", "btree:" };

	if (at > 0 && is_name(line.p[at - 1]))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		size_t n = strlen(types[i]);
		struct span rest = span_skip(line, at);
		if (span_starts(rest, span_str(types[i])) && rest.n > n && !ascii_isspace(rest.p[n]) &&
		    rest.p[n] != ',')
			return n;
	}
	return 0;
}

/* The name before the "=" that stands nearest before `at`. */
static struct span name_before(struct span line, size_t at)
{
	size_t end;

	while (at && line.p[at - 1] != '=')
		at--;
	for (end = at ? at - 1 : 0; end && ascii_isspace(line.p[end - 1]); end--)
		;
	for (at = end; at && (ascii_isalnum(line.p[at - 1]) || line.p[at - 1] == '_'); at--)
		;
	return span_make(line.p + at, end - at);
}

/* "name = hash" of a parameter that is used as "$name:/file", and of default_..._type. */
static bool is_bare_type(struct span name, struct span value)
{
	bool known = conf_param_find(name) != NULL;

	return (span_is(value, "hash") || span_is(value, "btree")) &&
	       (!known || span_is(name, "default_database_type") || span_is(name, "default_cache_db_type"));
}

struct rewriting {
	const struct bdb_types *types;
	struct buf *out;
	struct span param; /* whose value it is, also on lines that continue */
	bool changed;
};

static void put_type(struct rewriting *r, struct span param)
{
	buf_puts(r->out, bdb_is_cache(param) ? r->types->cache : r->types->table);
	r->changed = true;
}

static bool is_comment(struct span line)
{
	struct span text = span_trim(line);

	return !text.n || *text.p == '#';
}

static void rewrite_line(struct rewriting *r, struct span line)
{
	ptrdiff_t eq = span_chr(line, '=');
	size_t from = 0, n;

	if (!ascii_isspace(*line.p))
		r->param = eq > 0 ? span_trim(span_head(line, (size_t)eq)) : SPAN_NONE;
	if (eq > 0 && !ascii_isspace(*line.p) &&
	    is_bare_type(r->param, span_trim(span_skip(line, (size_t)eq + 1)))) {
		buf_append(r->out, span_head(line, (size_t)eq + 1));
		buf_putc(r->out, ' ');
		put_type(r, r->param);
		return;
	}
	for (size_t i = 0; i < line.n; i++) {
		if (!(n = type_at(line, i)))
			continue;
		struct span near = name_before(line, i);
		buf_append(r->out, span_make(line.p + from, i - from));
		put_type(r, near.n ? near : r->param);
		from = i + n - 1; /* the colon stays */
	}
	buf_append(r->out, span_skip(line, from));
}

bool bdb_rewrite(struct span text, const struct bdb_types *types, struct buf *out)
{
	struct rewriting r = { .types = types, .out = out };

	while (text.n) {
		ptrdiff_t nl = span_chr(text, '\n');
		struct span line = nl < 0 ? text : span_head(text, (size_t)nl);
		if (is_comment(line))
			buf_append(out, line);
		else
			rewrite_line(&r, line);
		if (nl >= 0)
			buf_putc(out, '\n');
		text = span_skip(text, line.n + (nl >= 0));
	}
	return r.changed;
}
