/* mime/address_loose.c - addresses as people and tables write them, brought into one form. */
#include "mime/address.h"

struct reader {
	struct span text;
	size_t i, n;	/* taken of text; written to out */
	char *out;	/* the address without quotes and backslashes */
	bool gap;	/* white space was passed since the last byte */
	bool word;	/* the last byte belongs to a word: a gap before the next one counts */
	ptrdiff_t at;	/* of the '@' that parts: the last operator, or what put() found behind it; -1 none */
	ptrdiff_t sign; /* of the last '@' that is an operator; -1 none */
	ptrdiff_t bang, pct; /* likewise the first '!' and the last '%' */
	struct address_places dots, literals;
	bool doubtful;
	bool route; /* what was read so far may be a source route: it began with '@' */
};

static struct reader reader_of(struct span text, char *out)
{
	return (struct reader){ .text = text,
				.out = out,
				.at = -1,
				.sign = -1,
				.bang = -1,
				.pct = -1,
				.dots = { -1, -1 },
				.literals = { -1, -1 } };
}

static void note(struct address_places *p, size_t where)
{
	p->last = (ptrdiff_t)where;
	if (p->first < 0)
		p->first = p->last;
}

/* In a domain there is no '@', quoted or not: the last one parts, as for all who split addresses. */
static void put(struct reader *r, char c)
{
	if (c == '@' && r->at >= 0)
		r->at = (ptrdiff_t)r->n;
	r->out[r->n++] = c;
}

/* Before the next byte of a word. Between two words stands one space, whatever was there. */
static void close_gap(struct reader *r)
{
	if (r->gap && r->word)
		put(r, ' ');
	r->doubtful |= r->gap && r->word;
	r->gap = false;
	r->word = true;
}

static char flat(char c)
{
	return c == '\r' || c == '\n' || c == '\t' ? ' ' : c;
}

static char escaped(struct reader *r)
{
	char c = r->text.p[r->i];

	if (c == '\\' && r->i + 1 < r->text.n)
		c = r->text.p[++r->i];
	return flat(c);
}

/* Up to `close`, or to the end of all; a backslash there stands before nothing. */
static void take_up_to(struct reader *r, char close)
{
	for (r->i++; r->i < r->text.n && r->text.p[r->i] != close; r->i++)
		if (r->text.p[r->i] != '\\' || r->i + 1 < r->text.n)
			put(r, escaped(r));
}

/* "[...]"; one that does not end is ended here. */
static void take_literal(struct reader *r)
{
	note(&r->literals, r->n);
	put(r, '[');
	take_up_to(r, ']');
	put(r, ']');
}

/* "(...)" with what is nested in it, as it stands; one that does not end holds all the rest. */
static void take_comment(struct reader *r)
{
	size_t depth = 0;

	for (; r->i < r->text.n; r->i++) {
		char c = r->text.p[r->i];

		put(r, flat(c));
		if (c == '\\' && r->i + 1 < r->text.n)
			put(r, flat(r->text.p[++r->i]));
		depth += c == '(';
		if (c == ')' && --depth == 0)
			return;
	}
}

/* A word of its own, also when it stands right beside others. */
static void take_delimited(struct reader *r, char c)
{
	r->gap = true;
	close_gap(r);
	if (c == '"')
		take_up_to(r, '"');
	else if (c == '[')
		take_literal(r);
	else
		take_comment(r);
	r->gap = true;
}

static void take_operator(struct reader *r, char c)
{
	bool behind = r->n > 0 || r->word; /* also behind a word of no bytes */
	bool spaced =
	    r->n > 0 && r->out[r->n - 1] == ' ' && !r->word; /* a blank of a word is none between words */

	r->gap = false; /* no white space beside it, but after a comma and before what is in brackets */
	r->word = false;
	if (c == '@')
		r->at = r->sign = (ptrdiff_t)r->n;
	else if (c == '%')
		r->pct = (ptrdiff_t)r->n;
	else if (c == '!' && r->bang < 0)
		r->bang = (ptrdiff_t)r->n;
	else if (c == '.')
		note(&r->dots, r->n);
	if (c == '<' && behind && !spaced)
		put(r, ' ');
	put(r, c);
	if (c == ',')
		put(r, ' ');
}

/* "@a,@b:user@c" is user@c (RFC 5321 appendix C). */
static void drop_route(struct reader *r)
{
	struct reader fresh = reader_of(r->text, r->out);

	fresh.i = r->i;
	fresh.doubtful = true;
	*r = fresh;
}

static void take(struct reader *r)
{
	char c = r->text.p[r->i];

	if (ascii_isspace(c)) {
		r->gap = true;
		return;
	}
	r->doubtful |= strchr(",;<>()", c) != NULL;
	r->route |= c == '@' && r->n == 0 && !r->word;
	if (c == ':' && r->route)
		drop_route(r);
	else if (strchr("@%!.,:;<>|)]", c) != NULL)
		take_operator(r, c);
	else if (c == '"' || c == '[' || c == '(')
		take_delimited(r, c);
	else if (c != '\\' || r->i + 1 < r->text.n) { /* a backslash at the end stands before nothing */
		close_gap(r);
		put(r, escaped(r));
	}
}

void address_read(struct span text, struct arena *a, struct address_loose *out)
{
	struct reader r = reader_of(text, arena_alloc(a, 3 * text.n + 2));
	size_t local;

	for (; r.i < text.n; r.i++)
		take(&r);
	if (r.at >= 0 && r.n > (size_t)r.at + 2 && r.out[r.n - 2] == ',' &&
	    r.out[r.n - 1] == ' ') /* nothing came behind it */
		r.n--;
	local = r.at < 0 ? r.n : (size_t)r.at;
	*out = (struct address_loose){ .local = span_make(r.out, local), .bang = r.bang, .percent = r.pct };
	if (r.at >= 0)
		out->domain = span_make(r.out + local + 1, r.n - local - 1);
	out->has_at = r.at >= 0;
	out->at = r.sign;
	out->doubtful = r.doubtful;
	out->dots = r.dots;
	out->literals = r.literals;
}

struct span address_join(struct arena *a, struct span local, struct span domain)
{
	return span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(address_quote_local(a, local)),
			   SPAN_ARG(domain));
}
