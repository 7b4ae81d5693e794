/* map/alias.c - lines of aliases(5): "name: value, value". Names and values are made of RFC 822 tokens
 * (section 3.3): atoms, quoted strings, comments, domain literals and specials. White space between them does
 * not count, but for telling tokens apart. */
#include "map/alias.h"
#include "base/buf.h"
#include "base/codec.h"

enum token_kind { TOKEN_END, TOKEN_ATOM, TOKEN_QUOTED, TOKEN_COMMENT, TOKEN_LITERAL, TOKEN_SPECIAL };

struct token {
	enum token_kind kind;
	bool glued; /* no white space before it */
	char special;
	struct span text; /* without quotes; escapes are still there */
};

#define SPECIALS "()<>[]:;@\\,.|\"" /* with that of commands */

static bool is_special(char c)
{
	return c && strchr(SPECIALS, c);
}

static size_t skip_escape(struct span s, size_t i)
{
	return s.p[i] == '\\' && i + 1 < s.n ? i + 2 : i + 1;
}

/* Length up to and with the closing byte; unclosed ones end with the line. */
static size_t enclosed(struct span s, char open, char close, bool *closed)
{
	size_t depth = 0, i = 0;

	*closed = false;
	while (i < s.n && !*closed) {
		char c = s.p[i];
		i = skip_escape(s, i);
		if (c == close && depth > 0 && --depth == 0)
			*closed = true;
		else if (c == open)
			depth++;
	}
	return i;
}

static size_t atom_bytes(struct span s)
{
	size_t i = 0;

	while (i < s.n && !ascii_isspace(s.p[i]) && (s.p[i] == '\\' || !is_special(s.p[i])))
		i = skip_escape(s, i);
	return i;
}

static struct token next_token(struct span *rest)
{
	struct token t = { .kind = TOKEN_END };
	size_t n;
	bool closed;

	t.glued = rest->n && !ascii_isspace(*rest->p);
	while (rest->n && ascii_isspace(*rest->p))
		*rest = span_skip(*rest, 1);
	if (!rest->n)
		return t;
	switch (*rest->p) {
	case '"':
		t.kind = TOKEN_QUOTED;
		n = enclosed(*rest, '"', '"', &closed);
		t.text = span_make(rest->p + 1, n - 1 - closed);
		break;
	case '(':
		t.kind = TOKEN_COMMENT;
		n = enclosed(*rest, '(', ')', &closed);
		t.text = span_head(*rest, n);
		break;
	case '[':
		t.kind = TOKEN_LITERAL;
		n = enclosed(*rest, '[', ']', &closed);
		t.text = span_head(*rest, n);
		break;
	default:
		n = atom_bytes(*rest);
		t.kind = n ? TOKEN_ATOM : TOKEN_SPECIAL;
		t.special = n ? 0 : *rest->p;
		n = n ? n : 1;
		t.text = span_head(*rest, n);
	}
	*rest = span_skip(*rest, n);
	return t;
}

static bool wordlike(const struct token *t)
{
	return t->kind != TOKEN_SPECIAL && t->kind != TOKEN_END;
}

static bool space_between(const struct token *before, const struct token *t)
{
	if (before->kind == TOKEN_SPECIAL && before->special == ',')
		return true;
	if (t->glued && t->kind == TOKEN_QUOTED && before->kind == TOKEN_ATOM && span_is(before->text, "|"))
		return false; /* |"command" */
	return wordlike(before) && (wordlike(t) || t->special == '<');
}

static void put_unescaped(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && ++i == s.n)
			break;
		buf_putc(out, ascii_isspace(s.p[i]) ? ' ' : s.p[i]);
	}
}

static void put_quoted(struct buf *out, struct span s, bool escaped)
{
	buf_putc(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (!escaped && (s.p[i] == '"' || s.p[i] == '\\'))
			buf_putc(out, '\\');
		buf_putc(out, ascii_isspace(s.p[i]) ? ' ' : s.p[i]);
	}
	buf_putc(out, '"');
}

/* An escape in an atom stands for the byte; what needs quotes then gets them. */
static void put_atom(struct buf *out, struct span s)
{
	struct buf plain;
	bool quotes = false;

	if (span_chr(s, '\\') < 0) {
		buf_append(out, s);
		return;
	}
	buf_init(&plain, s.n + 1);
	put_unescaped(&plain, s);
	for (size_t i = 0; i < plain.n; i++)
		quotes |= ascii_isspace(plain.p[i]) || is_special(plain.p[i]);
	if (quotes)
		put_quoted(out, buf_span(&plain), false);
	else
		buf_append(out, buf_span(&plain));
	buf_release(&plain);
}

static void put_external(struct buf *out, const struct token *t)
{
	switch (t->kind) {
	case TOKEN_QUOTED:
		put_quoted(out, t->text, true);
		break;
	case TOKEN_ATOM:
		put_atom(out, t->text);
		break;
	case TOKEN_COMMENT:
	case TOKEN_LITERAL:
	case TOKEN_SPECIAL:
		for (size_t i = 0; i < t->text.n; i++)
			buf_putc(out, ascii_isspace(t->text.p[i]) ? ' ' : t->text.p[i]);
		break;
	case TOKEN_END:
		break;
	}
}

static enum rc parse_name(struct span *rest, struct buf *name, struct err *e)
{
	struct token before = { .kind = TOKEN_END }, t;
	bool local = true;

	while ((t = next_token(rest)).kind != TOKEN_END && t.special != ':') {
		if (t.special == ',')
			break;
		if (t.special == '@' || (t.kind == TOKEN_ATOM && span_chr(t.text, '%') >= 0))
			local = false;
		if (space_between(&before, &t))
			buf_putc(name, ' ');
		if (t.kind == TOKEN_ATOM || t.kind == TOKEN_QUOTED)
			put_unescaped(name, t.text);
		else
			put_external(name, &t);
		before = t;
	}
	if (t.special != ':' || !name->n)
		return err_set(e, RC_SYNTAX, "need name:value pair");
	return local ? RC_OK : err_set(e, RC_SYNTAX, "name must be local");
}

static enum rc parse_value(struct span rest, struct buf *value, struct err *e)
{
	struct token before = { .kind = TOKEN_END }, t;

	while ((t = next_token(&rest)).kind != TOKEN_END) {
		if (space_between(&before, &t))
			buf_putc(value, ' ');
		put_external(value, &t);
		before = t;
	}
	if (before.special == ',')
		buf_putc(value, ' ');
	return value->n ? RC_OK : err_set(e, RC_SYNTAX, "need name:value pair");
}

enum rc alias_parse(struct span line, bool utf8, struct arena *a, struct span *name, struct span *value,
		    struct err *e)
{
	struct buf n, v;
	enum rc rc;

	if (memchr(line.p, 0, line.n))
		return err_set(e, RC_SYNTAX, "null byte in input -- ignoring this line");
	if (utf8 && !span_is_ascii(line) && !utf8_valid(line))
		return err_set(e, RC_SYNTAX, "non-UTF-8 input \"" SPAN_FMT "\" -- ignoring this line",
			       SPAN_ARG(line));
	buf_init(&n, 2 * line.n + 16);
	buf_init(&v, 3 * line.n + 16);
	if ((rc = parse_name(&line, &n, e)) == RC_OK && (rc = parse_value(line, &v, e)) == RC_OK) {
		if (!buf_ok(&n) || !buf_ok(&v))
			rc = err_set(e, RC_LIMIT, "line too long");
		*name = span_dup(a, buf_span(&n));
		*value = span_dup(a, buf_span(&v));
	}
	buf_release(&n);
	buf_release(&v);
	return rc;
}
