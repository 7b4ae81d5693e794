/* sender.c - the sender that the caller names with -f: an address as people write it, "Name <user@host>", "user@host (Name)",
 * a group, or several of which the first counts, as it does in a header. Read as leniently as Postfix does: what stands
 * between comments, names and separators is the address, and is made sense of by trivial-rewrite(8). */
#include "sendmail.h"

struct scan {
	struct span rest;
	struct buf now; /* the address at hand, without comments */
	bool word;	/* its last byte belongs to a word: one that follows after a gap is another address */
	bool gap;	/* white space or a comment was passed since */
	struct span first; /* the address that counts */
	size_t found;
};

/* The bytes of what begins here: "...", [...] or (...) up to its end or the end of all, \c, or one byte. */
static size_t piece(struct span s)
{
	char close = s.p[0] == '"' ? '"' : s.p[0] == '[' ? ']' : s.p[0] == '(' ? ')' : '\0';
	size_t depth = 0, i = 0;

	if (close == '\0')
		return s.p[0] == '\\' && s.n > 1 ? 2 : 1;
	for (; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (i > 0 && s.p[i] == close && depth-- <= 1)
			return i + 1;
		else if (s.p[i] == '(' && close == ')')
			depth++;
	}
	return s.n;
}

/* Where one of `any` stands outside of what piece() takes whole; -1 nowhere. */
static ptrdiff_t find_bare(struct span s, const char *any)
{
	for (size_t i = 0; i < s.n; i += piece(span_skip(s, i)))
		if (strchr(any, s.p[i]) != NULL && s.p[i] != '\0')
			return (ptrdiff_t)i;
	return -1;
}

static void end_address(struct scan *c)
{
	struct span a = buf_span(&c->now);

	if (a.n > 0 && c->found++ == 0)
		c->first = span_is(a, "\"\"") ? SPAN_NONE : span_dup(&memory, a);
	buf_reset(&c->now);
	c->word = c->gap = false;
}

/* Words and what joins them: "a b" is two addresses, "a @ b" is one. */
static void take_words(struct scan *c, struct span s)
{
	for (size_t i = 0, n; i < s.n; i += n) {
		struct span part = span_head(span_skip(s, i), n = piece(span_skip(s, i)));
		bool joins = n == 1 && strchr("@.%!:<>)|]", s.p[i]) != NULL;

		if (s.p[i] == '(' || ascii_isspace(s.p[i])) {
			c->gap = true;
			continue;
		}
		if (s.p[i] == '>')
			continue;
		if (!joins && c->gap && c->word)
			end_address(c);
		(void)buf_append(&c->now, part);
		c->word = !joins;
		c->gap = false;
	}
	end_address(c);
}

/* One element of the list: words, or a name and "<address>", behind which more may stand. */
static void take_element(struct scan *c, struct span s)
{
	ptrdiff_t open, shut;

	while ((open = find_bare(s, "<")) >= 0 && (shut = find_bare(span_skip(s, (size_t)open), ">")) >= 0) {
		struct span in = span_make(s.p + open + 1, (size_t)shut - 1);

		for (size_t i = 0, n; i < in.n; i += n) {
			struct span part = span_head(span_skip(in, i), n = piece(span_skip(in, i)));

			if (in.p[i] != '(' && in.p[i] != '<')
				(void)buf_append(&c->now, part);
		}
		if (span_trim(buf_span(&c->now)).n == 0) /* "<>" names nobody, and that is what counts */
			c->found++;
		end_address(c);
		s = span_skip(s, (size_t)(open + shut) + 1);
	}
	take_words(c, s);
}

/* "Name: a, b;" without its name. A colon behind an '@' ends a source route. */
static struct span without_group(struct span s)
{
	ptrdiff_t colon = find_bare(s, ":@<");

	if (colon < 0 || s.p[colon] != ':' || find_bare(span_skip(s, (size_t)colon), ";") < 0)
		return s;
	return span_skip(s, (size_t)colon + 1);
}

struct span sender_read(struct span text)
{
	struct scan c = { .rest = text, .first = SPAN_NONE };
	ptrdiff_t end;

	buf_init(&c.now, text.n + 1);
	while (c.rest.n > 0) {
		c.rest = without_group(c.rest);
		end = find_bare(c.rest, ",;");
		take_element(&c, span_head(c.rest, end < 0 ? c.rest.n : (size_t)end));
		c.rest = span_skip(c.rest, end < 0 ? c.rest.n : (size_t)end + 1);
	}
	buf_release(&c.now);
	if (c.found > 1)
		warn("-f option specified malformed sender: " SPAN_FMT, SPAN_ARG(text));
	return c.first;
}
