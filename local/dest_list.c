/* local/dest_list.c - the parser of alias values and forwarding files. One pass; quotes and comments are
 * never nested deeper than counted. */
#include "dest_list.h"
#include "mime/address.h"

#define ELEMENT_MAX    8192
#define COMMENT_DEPTH  32
#define NAME_MAX_BYTES 256 /* looked through for a '<' from every blank */

/* What a byte of a list stands in. */
struct inside {
	bool quoted, angle;
	unsigned depth; /* of comments */
};

/* Takes the byte at `i` and steps over an escaped one; true when it stands outside of everything. */
static bool step(struct inside *in, struct span s, size_t *i)
{
	char c = s.p[*i];

	if (c == '\\' && (in->quoted || in->depth > 0))
		++*i;
	else if (c == '"' && in->depth == 0)
		in->quoted = !in->quoted;
	else if (in->quoted)
		return false;
	else if (c == '(' && in->depth < COMMENT_DEPTH)
		in->depth++;
	else if (c == ')' && in->depth > 0)
		in->depth--;
	else if (in->depth == 0 && (c == '<' || c == '>'))
		in->angle = c == '<';
	else
		return in->depth == 0 && !in->angle;
	return false;
}

/* Length of the element up to its comma. Quotes, <...> and (...) keep commas in; a command that is not quoted
 * goes to the comma. */
static size_t element_length(struct span s)
{
	struct inside in = { .depth = 0 };

	for (size_t i = 0; i < s.n; i++)
		if (step(&in, s, &i) && s.p[i] == ',')
			return i;
	return s.n;
}

/* Blanks beside an '@' or a dot part nothing ("kim @ example.test"), nor do those behind the '|' of a command. */
static bool joined(char before, char after)
{
	return strchr("@.|", before) != NULL || after == '@' || after == '.';
}

/* Whether a name goes on here: "Kim Doe <kim@example.test>". */
static bool name_continues(struct span rest)
{
	for (size_t i = 0; i < rest.n && i < NAME_MAX_BYTES; i++)
		if (strchr("<@;|/:", rest.p[i]) != NULL)
			return rest.p[i] == '<';
	return false;
}

/* What span_trim() takes off: a piece never begins with one, so that each has a length. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Length of the first of several things in an element that only blanks, the '>' of the one or a semicolon part.
 */
static size_t piece_length(struct span s)
{
	struct inside in = { .depth = 0 };
	bool has_at = false;

	for (size_t i = 0, next; i < s.n; i++) {
		bool outside = step(&in, s, &i);

		if ((outside && s.p[i] == ';') || (i < s.n && s.p[i] == '>' && !in.quoted && in.depth == 0))
			return i + 1;
		has_at |= outside && s.p[i] == '@';
		if (!outside || !is_blank(s.p[i]))
			continue;
		for (next = i; next < s.n && is_blank(s.p[next]); next++)
			;
		if (next == s.n || i == 0 ||
		    (!joined(s.p[i - 1], s.p[next]) && (has_at || !name_continues(span_skip(s, next)))))
			return i;
		i = next - 1;
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
	struct span inner;
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
	if (span_chr(s, '@') < 0 && s.n > 2 && whole_quoted(s, a, &inner)) {
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

/* A comment, an empty <>, the name or the end of a group: nothing is missing when it is left out. */
static bool says_nothing(struct span s, struct arena *a)
{
	struct mailbox *v;
	size_t n = 0;

	if (s.n > ELEMENT_MAX || s.p[0] == ':' || control_inside(s))
		return false;
	(void)address_list_parse(s, a, 4, &v, &n);
	for (size_t i = 0; i < n; i++)
		if (!v[i].group_start && !v[i].group_end && (v[i].raw.n > 0 || v[i].malformed))
			return false;
	return n > 0 || s.p[0] == '(';
}

static enum rc take(struct span s, struct arena *a, size_t max, struct dest_list *out)
{
	struct dest d;

	if (!one(s, a, &d)) {
		if (says_nothing(s, a))
			return RC_OK;
		if (out->bad++ == 0)
			out->first_bad = s;
		return RC_OK;
	}
	if (out->n >= max)
		return RC_LIMIT;
	if (out->n == out->cap)
		out->v = arena_grow(a, out->v, out->n, &out->cap, sizeof *out->v);
	out->v[out->n++] = d;
	return RC_OK;
}

/* Whether it is to be taken as a whole, blanks and all. */
static bool is_whole(struct span s, struct arena *a)
{
	struct dest d;

	if (s.p[0] == '|')
		return !span_starts(span_trim(span_skip(s, 1)), SPAN("\""));
	if (s.n > ELEMENT_MAX || s.p[0] == '/' || span_starts(s, SPAN("~/")))
		return false;
	return one(s, a, &d);
}

static enum rc take_element(struct span s, struct arena *a, size_t max, struct dest_list *out)
{
	enum rc rc = RC_OK;

	if (piece_length(s) == s.n || is_whole(s, a))
		return take(s, a, max, out);
	while (rc == RC_OK && s.n > 0) {
		size_t n = piece_length(s);
		INVARIANT(n > 0);
		rc = take(span_head(s, n), a, max, out);
		s = span_trim(span_skip(s, n));
	}
	return rc;
}

enum rc dest_list_parse(struct span text, struct arena *a, size_t max, struct dest_list *out)
{
	while (text.n > 0) {
		size_t n = element_length(text);
		struct span s = span_trim(span_head(text, n));

		text = span_skip(text, n + 1);
		if (s.n > 0 && take_element(s, a, max, out) != RC_OK)
			return RC_LIMIT;
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
