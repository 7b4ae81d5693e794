/* mime/address_loose.c - addresses as people and tables write them, brought into one form. */
#include "mime/address.h"

struct reader {
	struct span text;
	size_t i, n;	     /* taken of text; written to out */
	char *out;	     /* the address without quotes and backslashes */
	bool gap;	     /* white space was passed since the last byte */
	bool word;	     /* the last byte belongs to a word: a gap before the next one counts */
	ptrdiff_t at;	     /* of the last '@' that is an operator; -1 none */
	ptrdiff_t bang, pct; /* likewise the first '!' and the last '%' */
	bool doubtful;
};

/* In a domain there is no '@', quoted or not: the last one parts, as for all who split addresses. */
static void put(struct reader *r, char c)
{
	if (c == '@' && r->at >= 0)
		r->at = (ptrdiff_t)r->n;
	r->out[r->n++] = c;
}

/* Before the next byte of a word. White space between two words of a local part stays, as one space. */
static void close_gap(struct reader *r)
{
	if (r->gap && r->word && r->at < 0)
		put(r, ' ');
	r->doubtful |= r->gap && r->word;
	r->gap = false;
	r->word = true;
}

static char escaped(struct reader *r)
{
	char c = r->text.p[r->i];

	if (c == '\\' && r->i + 1 < r->text.n)
		c = r->text.p[++r->i];
	return c == '\r' || c == '\n' ? ' ' : c;
}

/* "..." to its end, or to the end of all. A word that follows at once is another word. */
static void take_quoted(struct reader *r)
{
	for (r->i++; r->i < r->text.n && r->text.p[r->i] != '"'; r->i++)
		put(r, escaped(r));
	r->gap = true;
}

/* "[...]"; one that does not end is ended here. */
static void take_literal(struct reader *r)
{
	put(r, '[');
	for (r->i++; r->i < r->text.n && r->text.p[r->i] != ']'; r->i++)
		put(r, escaped(r));
	put(r, ']');
}

static void take_operator(struct reader *r, char c)
{
	r->gap = false; /* no white space beside it */
	r->word = false;
	if (c == '@')
		r->at = (ptrdiff_t)r->n;
	else if (c == '%')
		r->pct = (ptrdiff_t)r->n;
	else if (c == '!' && r->bang < 0)
		r->bang = (ptrdiff_t)r->n;
	put(r, c);
}

static void take(struct reader *r)
{
	char c = r->text.p[r->i];

	if (ascii_isspace(c)) {
		r->gap = true;
		return;
	}
	if (c == '@' || c == '%' || c == '!' || c == '.') {
		take_operator(r, c);
		return;
	}
	r->gap |= c == '"';
	close_gap(r);
	r->doubtful |= strchr(",;<>()", c) != NULL;
	if (c == '"')
		take_quoted(r);
	else if (c == '[' && r->at >= 0)
		take_literal(r);
	else if (c != '\\' || r->i + 1 < r->text.n) /* a backslash at the end stands before nothing */
		put(r, escaped(r));
}

void address_read(struct span text, struct arena *a, struct address_loose *out)
{
	struct reader r = { .text = text, .at = -1, .bang = -1, .pct = -1 };
	size_t local;

	r.out = arena_alloc(a, 2 * text.n + 2);
	for (; r.i < text.n; r.i++)
		take(&r);
	local = r.at < 0 ? r.n : (size_t)r.at;
	*out = (struct address_loose){ .local = span_make(r.out, local), .bang = r.bang, .percent = r.pct };
	if (r.at >= 0)
		out->domain = span_make(r.out + local + 1, r.n - local - 1);
	out->has_at = r.at >= 0;
	out->doubtful = r.doubtful;
}

struct span address_join(struct arena *a, struct span local, struct span domain)
{
	return span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(address_quote_local(a, local)),
			   SPAN_ARG(domain));
}
