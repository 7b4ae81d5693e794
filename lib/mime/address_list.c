/* mime/address_list.c - the address lists of To:, From:, Cc: and the like: RFC 5322 section 3.4 with the
 * obsolete forms of 4.4. */
#include "mime/address.h"
#include "base/buf.h"

#define COMMENT_DEPTH_MAX 32
#define AT_MAX		  16 /* in one address; its local part is copied for each */

struct cursor {
	struct span s;
	size_t i;
	struct arena *a;
	size_t word_end;     /* behind the last word taken */
	struct span comment; /* the last one of the mailbox at hand, as written, without its parentheses */
	struct buf words;    /* display name, then local part, of the mailbox at hand; internal form */
	bool in_group;
	bool bad;  /* something was not well formed */
	bool lost; /* and so that the end of the mailbox at hand is a guess */
};

static bool at_end(const struct cursor *c)
{
	return c->i >= c->s.n;
}

static char peek(const struct cursor *c)
{
	return at_end(c) ? '\0' : c->s.p[c->i];
}

/* Steps over a comment, nested ones included; false when it does not end. */
static bool skip_comment(struct cursor *c)
{
	unsigned depth = 0;
	size_t start = c->i + 1;

	for (; c->i < c->s.n; c->i++) {
		char ch = c->s.p[c->i];

		if (ch == '\\') {
			c->i++;
		} else if (ch == '(') {
			if (++depth > COMMENT_DEPTH_MAX)
				return false;
		} else if (ch == ')' && --depth == 0) {
			c->comment = span_make(c->s.p + start, c->i - start);
			c->i++;
			return true;
		}
	}
	c->i = c->s.n;
	return false;
}

static void skip_cfws(struct cursor *c)
{
	while (!at_end(c)) {
		char ch = peek(c);

		if (ascii_isspace(ch))
			c->i++;
		else if (ch == '(')
			c->bad |= !skip_comment(c);
		else
			return;
	}
}

static bool is_word_char(char ch) /* atext, dots, and 8-bit bytes as they occur */
{
	return (unsigned char)ch > 0x20 && ch != 0x7f && !strchr("()<>[]:;@\\,\"", ch);
}

/* A backslash before something: it belongs into quotes, but takes the special's meaning away here, too. */
static bool at_pair(const struct cursor *c)
{
	return peek(c) == '\\' && c->i + 1 < c->s.n && !ascii_isspace(c->s.p[c->i + 1]);
}

static void take_atom(struct cursor *c)
{
	for (; !at_end(c) && (is_word_char(peek(c)) || at_pair(c)); c->i++) {
		if (at_pair(c)) {
			c->bad = true;
			c->i++;
		}
		(void)buf_putc(&c->words, peek(c));
	}
}

/* A quoted string into `words` without its quotes. */
static void take_quoted(struct cursor *c)
{
	for (c->i++; !at_end(c); c->i++) {
		char ch = peek(c);

		if (ch == '"') {
			c->i++;
			return;
		}
		if (ch == '\\' && c->i + 1 < c->s.n)
			ch = c->s.p[++c->i];
		if (ch != '\r' && ch != '\n')
			(void)buf_putc(&c->words, ch);
	}
	c->bad = c->lost = true; /* it never ended */
}

/* How take_words() treats white space and comments between two words that no dot joins. */
enum between {
	BTW_SPACE, /* a phrase: they stand for one space */
	BTW_KEEP,  /* a local part: no address has them; the space stays, so that nothing else comes out */
	BTW_STOP
}; /* a domain: it ends there */

/* Words up to a special, into `words`. "a . b" (obsolete syntax, 4.4) is "a.b" unless it is a phrase. */
static void take_words(struct cursor *c, enum between how)
{
	bool quoted = false;

	buf_reset(&c->words);
	for (bool any = false;; any = true) {
		size_t before = c->i;
		char ch;

		skip_cfws(c);
		ch = peek(c);
		if (at_end(c) || (ch != '"' && !is_word_char(ch) && !at_pair(c)))
			return;
		if (how == BTW_SPACE) {
			if (any && c->i > before)
				(void)buf_putc(&c->words, ' ');
		} else if (any && ch != '.' && c->words.n && (quoted || c->words.p[c->words.n - 1] != '.')) {
			c->bad = true;
			if (how == BTW_STOP && c->i > before) {
				c->i = before;
				return;
			}
			if (c->i > before)
				(void)buf_putc(&c->words, ' ');
		}
		quoted = ch == '"';
		c->bad |= quoted && how == BTW_STOP;
		if (quoted)
			take_quoted(c);
		else
			take_atom(c);
		c->word_end = c->i;
	}
}

/* Domain after '@': dot-atom or literal, comments inside dropped. */
static struct span take_domain(struct cursor *c)
{
	buf_reset(&c->words);
	skip_cfws(c);
	if (peek(c) == '[') {
		while (!at_end(c) && peek(c) != ']')
			(void)buf_putc(&c->words, c->s.p[c->i++]);
		if (at_end(c))
			c->bad = c->lost = true;
		else
			(void)buf_putc(&c->words, c->s.p[c->i++]);
		c->word_end = c->i;
	} else {
		take_words(c, BTW_STOP);
	}
	skip_cfws(c);
	return span_dup(c->a, buf_span(&c->words));
}

/* "local@domain" at the cursor; an address without '@' has domain "". Of several '@' the last one counts. */
static void take_addr_spec(struct cursor *c, struct mailbox *m)
{
	size_t start;

	skip_cfws(c);
	start = c->word_end = c->i;
	take_words(c, BTW_KEEP);
	m->local = span_dup(c->a, buf_span(&c->words));
	for (unsigned n = 0; peek(c) == '@' && n < AT_MAX; n++) {
		if (n > 0)
			m->local =
			    span_printf(c->a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(m->local), SPAN_ARG(m->domain));
		c->word_end = ++c->i;
		m->domain = take_domain(c);
		c->bad |= m->domain.n == 0 || n > 0;
	}
	m->raw = span_make(c->s.p + start, c->word_end - start);
	c->bad |= m->local.n == 0;
}

/* "@a,@b:" up to and with its colon, the length of the obsolete route at the cursor; 0 none. */
static size_t route_length(const struct cursor *c)
{
	for (size_t i = c->i; i < c->s.n && peek(c) == '@'; i++) {
		char ch = c->s.p[i];

		if (ch == ':')
			return i + 1 - c->i;
		if (strchr(">;\"( \t\r\n", ch) || (ch == ',' && (i + 1 == c->s.n || c->s.p[i + 1] != '@')))
			return 0;
	}
	return 0;
}

static void take_route(struct cursor *c, struct mailbox *m)
{
	size_t n = route_length(c);

	if (n == 0)
		return;
	m->route = span_make(c->s.p + c->i, n - 1);
	c->i += n;
}

/* "<@a,@b:local@domain>" with the cursor at '<'. */
static void take_angle(struct cursor *c, struct mailbox *m)
{
	c->i++;
	skip_cfws(c);
	take_route(c, m);
	if (peek(c) != '>')
		take_addr_spec(c, m);
	if (peek(c) != '>') {
		c->bad = c->lost = true;
		while (!at_end(c) && peek(c) != '>' && peek(c) != ',')
			c->i++;
	}
	if (peek(c) == '>')
		c->i++;
}

struct list_out {
	struct mailbox *v;
	size_t n, cap, max;
};

static struct mailbox *list_add(struct cursor *c, struct list_out *o)
{
	if (o->n == o->max) {
		c->bad = true;
		return NULL;
	}
	if (o->n == o->cap)
		o->v = arena_grow(c->a, o->v, o->n, &o->cap, sizeof(*o->v));
	o->v[o->n] = (struct mailbox){ .display = SPAN_NONE };
	return &o->v[o->n++];
}

/* "kim@example.org (Kim)": how names were written before there were display names (RFC 5322 A.6.3). */
static struct span comment_text(struct cursor *c)
{
	struct span s = span_trim(c->comment);

	buf_reset(&c->words);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		if (s.p[i] != '\r' && s.p[i] != '\n')
			(void)buf_putc(&c->words, s.p[i]);
	}
	return span_dup(c->a, buf_span(&c->words));
}

/* One element up to a comma: mailbox, group start or end. */
static void take_element(struct cursor *c, struct list_out *o)
{
	size_t start;
	struct mailbox *m;
	struct span phrase;

	skip_cfws(c);
	start = c->i;
	c->comment = SPAN_NONE;
	c->lost = false;
	take_words(c, BTW_SPACE);
	phrase = span_dup(c->a, buf_span(&c->words));
	if (!(m = list_add(c, o))) {
		c->i = c->s.n;
		return;
	}
	switch (peek(c)) {
	case '<':
		m->display = phrase;
		take_angle(c, m);
		m->malformed = c->lost;
		return;
	case ':':
		c->i++;
		m->display = phrase;
		m->group_start = true;
		c->bad |= c->in_group || phrase.n == 0; /* groups do not nest */
		c->in_group = true;
		return;
	default:
		c->i = start;
		take_route(c, m); /* only in angle brackets by the grammar */
		c->bad |= m->route.n > 0;
		take_addr_spec(c, m);
		m->malformed = c->lost;
		m->comment = comment_text(c);
	}
}

static void end_group(struct cursor *c, struct list_out *o)
{
	struct mailbox *m = list_add(c, o);

	if (m)
		m->group_end = true;
	c->bad |= !c->in_group;
	c->in_group = false;
}

enum rc address_list_parse(struct span text, struct arena *a, size_t max, struct mailbox **out, size_t *n)
{
	struct cursor c = { .s = text, .a = a };
	struct list_out o = { .max = max };
	bool apart = true; /* nothing, a comma, a group's colon or its end stands before */

	buf_init(&c.words, text.n + 1);
	for (;;) {
		size_t before;

		skip_cfws(&c);
		while (peek(&c) == ',') { /* empty elements are obsolete syntax, 4.4 */
			c.i++;
			apart = true;
			skip_cfws(&c);
		}
		if (at_end(&c))
			break;
		before = c.i;
		if (peek(&c) == ';') {
			end_group(&c, &o);
			c.i++;
			apart = true;
			continue;
		}
		c.bad |= !apart;
		take_element(&c, &o);
		apart = o.n > 0 && o.v[o.n - 1].group_start;
		if (c.i == before) { /* a special that fits nowhere */
			c.bad = true;
			c.i++;
			if (o.n)
				o.n--;
		}
	}
	if (c.in_group) {
		c.bad = true;
		end_group(&c, &o);
	}
	buf_release(&c.words);
	*out = o.v;
	*n = o.n;
	return c.bad ? RC_SYNTAX : RC_OK;
}

struct span mailbox_address(struct arena *a, const struct mailbox *m)
{
	for (size_t i = 0; i < m->raw.n; i++)
		if (ascii_isspace(m->raw.p[i]) || m->raw.p[i] == '(')
			return m->domain.n ? address_join(a, m->local, m->domain)
					   : address_quote_local(a, m->local);
	return m->raw;
}
