/* map/lines.c - the text of a table: logical lines (postmap(1), regexp_table(5), cidr_table(5)) and key-value
 * pairs. */
#include "base/codec.h"
#include "log/log.h"
#include "map/driver.h"

void map_lines_init(struct map_lines *l, struct span text, const char *name)
{
	l->name = name;
	l->rest = text;
	l->line = 0;
	buf_init(&l->joined, MAP_SOURCE_MAX);
}

void map_lines_release(struct map_lines *l)
{
	buf_release(&l->joined);
}

static bool continues(struct span rest)
{
	return rest.n && (*rest.p == '#' || ascii_isspace(*rest.p));
}

/* True for lines without a meaning of their own: empty, white space only, comments. */
static bool is_void(struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		if (!ascii_isspace(line.p[i]))
			return line.p[i] == '#';
	return true;
}

static struct span take_line(struct map_lines *l)
{
	ptrdiff_t nl = span_chr(l->rest, '\n');
	struct span line = nl < 0 ? l->rest : span_head(l->rest, (size_t)nl);

	l->rest = span_skip(l->rest, nl < 0 ? l->rest.n : (size_t)nl + 1);
	l->line++;
	return line;
}

static bool take_logical(struct map_lines *l, struct span *text, unsigned *line)
{
	struct span first = SPAN_NONE, more;

	buf_reset(&l->joined);
	while (l->rest.n && !first.n) {
		more = take_line(l);
		if (!is_void(more)) {
			first = more;
			*line = l->line;
		}
	}
	if (!first.n)
		return false;
	while (continues(l->rest)) { /* most lines are alone: those are not copied */
		more = take_line(l);
		if (is_void(more))
			continue;
		if (!l->joined.n)
			buf_append(&l->joined, first);
		buf_append(&l->joined, more);
	}
	*text = l->joined.n ? buf_span(&l->joined) : first;
	return true;
}

bool map_lines_next(struct map_lines *l, struct span *text, unsigned *line)
{
	while (take_logical(l, text, line)) {
		if (!ascii_isspace(*text->p))
			return true;
		log_warning("%s: logical line must not start with whitespace: \"" SPAN_FMT "\"", l->name,
			    SPAN_ARG(span_head(*text, 30)));
	}
	return false;
}

/* The key ends at the first white space outside of quotes. RC_SYNTAX: a quote is left open. */
static enum rc key_end(struct span line, size_t *end)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < line.n; i++) {
		char c = line.p[i];
		if (c == '\\') {
			if (++i == line.n)
				break;
		} else if (c == '"') {
			quoted = !quoted;
		} else if (ascii_isspace(c) && !quoted) {
			break;
		}
	}
	*end = i < line.n ? i : line.n;
	return quoted ? RC_SYNTAX : RC_OK;
}

enum rc map_source_pair(struct span line, bool utf8, struct span *key, struct span *value, bool *alias_like,
			struct err *e)
{
	size_t end;

	if (memchr(line.p, 0, line.n))
		return err_set(e, RC_SYNTAX, "null byte in input -- ignoring this line");
	if (utf8 && !span_is_ascii(line) && !utf8_valid(line))
		return err_set(e, RC_SYNTAX, "non-UTF-8 input \"" SPAN_FMT "\" -- ignoring this line",
			       SPAN_ARG(line));
	if (key_end(line, &end) != RC_OK)
		return err_set(e, RC_SYNTAX, "unbalanced '\"' in '" SPAN_FMT "' -- ignoring this line",
			       SPAN_ARG(line));
	*key = span_head(line, end);
	*value = span_trim(span_skip(line, end));
	if (!key->n || !value->n)
		return err_set(e, RC_SYNTAX, "expected format: key whitespace value");
	*alias_like = key->p[key->n - 1] == ':';
	return RC_OK;
}
