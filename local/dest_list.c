/* local/dest_list.c - the parser of alias values and forwarding files. One pass; quotes and comments are
 * never nested deeper than counted. */
#include "dest_list.h"
#include "mime/address.h"

#define ELEMENT_MAX   8192
#define COMMENT_DEPTH 32

/* Length of the element up to its comma. Quotes, <...> and (...) keep commas in; a command that is not quoted
 * goes to the comma. */
static size_t element_length(struct span s)
{
	bool quoted = false, angle = false;
	unsigned depth = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '\\' && (quoted || depth > 0))
			i++;
		else if (c == '"' && depth == 0)
			quoted = !quoted;
		else if (quoted)
			continue;
		else if (c == '(' && depth < COMMENT_DEPTH)
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (depth == 0 && (c == '<' || c == '>'))
			angle = c == '<';
		else if (c == ',' && depth == 0 && !angle)
			return i;
	}
	return s.n;
}

/* "text" with its quotes and backslashes removed, when the whole element is one quoted string. */
static bool whole_quoted(struct span s, struct arena *a, struct span *out)
{
	size_t n = 0;

	if (s.n < 2 || s.p[0] != '"' || s.p[s.n - 1] != '"')
		return false;
	char *p = arena_alloc(a, s.n);
	for (size_t i = 1; i < s.n - 1; i++) {
		if (s.p[i] == '"')
			return false;
		if (s.p[i] == '\\' && ++i == s.n - 1)
			return false;
		p[n++] = s.p[i];
	}
	*out = span_make(p, n);
	return true;
}

/* |"command args": the quotes hold the command together and are no part of it. */
static struct span command_of(struct span s, struct arena *a)
{
	struct span inner;

	s = span_trim(s);
	return whole_quoted(s, a, &inner) ? span_trim(inner) : s;
}

static bool special(struct span s, struct arena *a, struct dest *d)
{
	s = span_trim(s);
	if (s.n > 1 && s.p[0] == '|')
		*d = (struct dest){ .kind = DEST_COMMAND, .text = command_of(span_skip(s, 1), a) };
	else if ((s.n > 1 && s.p[0] == '/') || span_starts(s, SPAN("~/")))
		*d = (struct dest){ .kind = DEST_FILE, .text = s };
	else if (span_starts_ci(s, SPAN(":include:")))
		*d = (struct dest){ .kind = DEST_INCLUDE, .text = span_trim(span_skip(s, 9)) };
	else
		return false;
	return true;
}

static bool control_inside(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t')
			return true;
	return false;
}

/* The one mailbox that is there. Groups come in pieces ("friends: a@b", "c@d;"), and a route may lack its brackets. */
static const struct mailbox *only_mailbox(const struct mailbox *v, size_t n, enum rc rc)
{
	const struct mailbox *found = NULL;
	bool excused = false;

	for (size_t i = 0; i < n; i++) {
		if (v[i].group_start || v[i].group_end) {
			excused = true;
			continue;
		}
		if (found != NULL || v[i].malformed || v[i].local.n == 0)
			return NULL;
		found = &v[i];
		excused |= v[i].route.n > 0;
	}
	if (found != NULL && rc != RC_OK && (!excused || span_chr(found->local, ' ') >= 0))
		return NULL;
	return found;
}

/* user, user@domain, or what an address list of one mailbox says. */
static bool address(struct span s, struct arena *a, struct dest *d)
{
	const struct mailbox *m;
	struct mailbox *v;
	size_t n = 0;
	bool bare = true;
	enum rc rc;

	*d = (struct dest){ .kind = DEST_ADDRESS };
	if (s.n > 1 && s.p[0] == '\\') {
		d->plain = true;
		s = span_skip(s, 1);
	}
	for (size_t i = 0; i < s.n; i++)
		bare = bare && (unsigned char)s.p[i] > ' ' && memchr("\"(),:;<>[]\\", s.p[i], 11) == NULL;
	if (s.n == 0 || s.p[0] == '|' || s.p[0] == '/')
		return false;
	if (bare && s.p[0] != '@' && s.p[s.n - 1] != '@') {
		d->text = s;
		return true;
	}
	if (span_chr(s, '@') < 0 && s.n > 2 && s.p[0] == '"' && s.p[s.n - 1] == '"') {
		d->text = s; /* a quoted local part of ours */
		return true;
	}
	rc = address_list_parse(s, a, 4, &v, &n);
	if ((m = only_mailbox(v, n, rc)) == NULL)
		return false;
	d->text = m->domain.n ? address_join(a, m->local, m->domain) : address_quote_local(a, m->local);
	return true;
}

static bool one(struct span s, struct arena *a, struct dest *d)
{
	struct span inner;

	if (s.n > ELEMENT_MAX || control_inside(s))
		return false;
	if (whole_quoted(s, a, &inner) && special(inner, a, d))
		return d->text.n > 0;
	if (special(s, a, d))
		return d->text.n > 0;
	return address(s, a, d) && d->text.n <= 1000;
}

enum rc dest_list_parse(struct span text, struct arena *a, size_t max, struct dest_list *out)
{
	while (text.n > 0) {
		size_t n = element_length(text);
		struct span s = span_trim(span_head(text, n));
		struct dest d;

		text = span_skip(text, n + 1);
		if (s.n == 0)
			continue;
		if (!one(s, a, &d)) {
			out->bad++;
			continue;
		}
		if (out->n >= max)
			return RC_LIMIT;
		if (out->n == out->cap)
			out->v = arena_grow(a, out->v, out->n, &out->cap, sizeof *out->v);
		out->v[out->n++] = d;
	}
	return RC_OK;
}

/* "user@domain # remark", as people write it. Inside of quotes and of commands it is none. */
static struct span without_remark(struct span line)
{
	ptrdiff_t at = span_find(line, SPAN(" #"));

	if (at < 0 || span_chr(line, '"') >= 0 || span_chr(line, '|') >= 0 || span_chr(line, '/') >= 0)
		return line;
	return span_trim(span_head(line, (size_t)at));
}

enum rc dest_file_parse(struct span text, struct arena *a, size_t max, struct dest_list *out)
{
	struct span line;

	while (span_next(&text, '\n', &line)) {
		line = without_remark(span_trim(line));
		if (line.n == 0 || line.p[0] == '#')
			continue;
		enum rc rc = dest_list_parse(line, a, max, out);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}
