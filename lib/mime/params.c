/* mime/params.c - parameters of MIME header fields. Malformed ones are left out; what went before stays. */
#include "mime/params.h"
#include "base/buf.h"

#define COMMENT_DEPTH_MAX 20
#define SECTIONS_MAX	  100 /* RFC 2231 continuations of one parameter */

struct scan {
	struct span s;
	size_t i;
};

static char at(const struct scan *c)
{
	return c->i < c->s.n ? c->s.p[c->i] : '\0';
}

static void skip_blank(struct scan *c)
{
	unsigned depth = 0;

	for (; c->i < c->s.n; c->i++) {
		char ch = c->s.p[c->i];

		if (ch == '\\' && depth)
			c->i++;
		else if (ch == '(' && depth < COMMENT_DEPTH_MAX)
			depth++;
		else if (ch == ')' && depth)
			depth--;
		else if (!depth && !ascii_isspace(ch))
			return;
	}
}

static bool is_token_char(char ch) /* RFC 2045 5.1; 8-bit bytes as they occur */
{
	return (unsigned char)ch > 0x20 && ch != 0x7f && !strchr("()<>@,;:\\\"/[]?=", ch);
}

static struct span take_token(struct scan *c)
{
	size_t from;

	skip_blank(c);
	from = c->i;
	while (c->i < c->s.n && is_token_char(c->s.p[c->i]))
		c->i++;
	return span_make(c->s.p + from, c->i - from);
}

/* token, or quoted string; unquoted values with odd characters ("a/b", "x@y") run to the next ';' or blank,
 * as writers do. */
static struct span take_value(struct scan *c, struct arena *a)
{
	struct span out;
	size_t from;
	char *p;

	skip_blank(c);
	if (at(c) != '"') {
		from = c->i;
		while (c->i < c->s.n && c->s.p[c->i] != ';' && !ascii_isspace(c->s.p[c->i]) &&
		       c->s.p[c->i] != '"' && c->s.p[c->i] != '(')
			c->i++;
		return span_dup(a, span_make(c->s.p + from, c->i - from));
	}
	p = arena_alloc(a, c->s.n - c->i < PARAM_VALUE_MAX ? c->s.n - c->i : PARAM_VALUE_MAX);
	out = span_make(p, 0);
	for (c->i++; c->i < c->s.n && c->s.p[c->i] != '"'; c->i++) {
		if (c->s.p[c->i] == '\\' && c->i + 1 < c->s.n)
			c->i++;
		if (out.n < PARAM_VALUE_MAX)
			p[out.n++] = c->s.p[c->i];
	}
	c->i++;
	return out;
}

/* One raw parameter: name as written ("filename*0*"). False at the end. */
static bool take_param(struct scan *c, struct arena *a, struct span *name, struct span *value)
{
	for (;;) {
		while (c->i < c->s.n && c->s.p[c->i] != ';')
			c->i++;
		if (c->i >= c->s.n)
			return false;
		c->i++;
		*name = take_token(c);
		skip_blank(c);
		if (name->n && at(c) == '=') {
			c->i++;
			*value = take_value(c, a);
			return true;
		}
	}
}

static int hex_digit(char c)
{
	return ascii_isdigit(c)	      ? c - '0'
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

static void put_percent(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%' && i + 2 < s.n && hex_digit(s.p[i + 1]) >= 0 &&
		    hex_digit(s.p[i + 2]) >= 0) {
			(void)buf_putc(out, (char)(hex_digit(s.p[i + 1]) * 16 + hex_digit(s.p[i + 2])));
			i += 2;
		} else {
			(void)buf_putc(out, s.p[i]);
		}
	}
}

/* "charset'language'text" -> text, and its character set. */
static struct span without_charset(struct span v, struct span *charset)
{
	ptrdiff_t q = span_chr(v, '\''), r;
	struct span rest;

	if (q < 0)
		return v;
	rest = span_skip(v, (size_t)q + 1);
	r = span_chr(rest, '\'');
	if (r < 0)
		return v;
	*charset = span_head(v, (size_t)q);
	return span_skip(rest, (size_t)r + 1);
}

struct raw {
	struct span name, value; /* name without '*' parts */
	int section;		 /* -1: not continued */
	bool coded, used;
};

static void split_name(struct span name, struct raw *r)
{
	ptrdiff_t star = span_chr(name, '*');
	uint64_t section;
	struct span rest;

	r->section = -1;
	r->coded = false;
	r->name = name;
	if (star <= 0)
		return;
	r->name = span_head(name, (size_t)star);
	rest = span_skip(name, (size_t)star + 1);
	r->coded = rest.n == 0 || rest.p[rest.n - 1] == '*';
	if (rest.n && rest.p[rest.n - 1] == '*')
		rest.n--;
	if (rest.n && span_to_u64(rest, SECTIONS_MAX, &section) == RC_OK)
		r->section = (int)section;
}

/* As it may stand in an extended value (RFC 2231 section 7: attribute-char); a coded one is there already, but for
 * bytes that no header should hold. */
static void put_extended(struct buf *out, struct span v, bool coded)
{
	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];

		if (ascii_isalnum(c) || (c && strchr("!#$&+-.^_`{}~|", c)) ||
		    (coded && (unsigned char)c > 0x20 && (unsigned char)c < 0x7f))
			(void)buf_putc(out, c);
		else
			(void)buf_printf(out, "%%%02X", (unsigned char)c);
	}
}

/* Sections 0, 1, 2... of one parameter, in order, wherever they stand. The character set is undone over the
 * whole: a section may end inside a character. */
static void join(struct raw *v, size_t n, size_t first, struct arena *a, struct mime_param *p)
{
	struct buf bytes, out, extended;
	struct span charset = SPAN_NONE;
	bool is_extended = false;

	buf_init(&bytes, PARAM_VALUE_MAX);
	buf_init(&out, PARAM_VALUE_MAX);
	buf_init(&extended, 4 * PARAM_VALUE_MAX);
	for (int want = v[first].section < 0 ? -1 : 0; want <= SECTIONS_MAX; want++) {
		size_t i = first;

		while (i < n && (v[i].used || v[i].section != want || !span_eq_ci(v[i].name, v[first].name)))
			i++;
		if (i == n)
			break;
		is_extended = want <= 0 ? v[i].coded : is_extended;
		if (is_extended)
			put_extended(&extended, v[i].value, v[i].coded);
		if (v[i].coded)
			put_percent(&bytes, want <= 0 ? without_charset(v[i].value, &charset) : v[i].value);
		else
			(void)buf_append(&bytes, v[i].value);
		if (want < 0)
			break;
		if (i != first)
			v[i].used = true;
	}
	v[first].used = true;
	if (charset.n && charset_to_utf8(&out, charset, buf_span(&bytes)))
		p->value = span_dup(a, buf_span(&out));
	else
		p->value = span_dup(a, buf_span(&bytes));
	p->extended = is_extended ? span_dup(a, buf_span(&extended)) : SPAN_NONE;
	buf_release(&bytes);
	buf_release(&out);
	buf_release(&extended);
}

static void take_params(struct scan *c, struct arena *a, bool repeated, struct mime_param **out, size_t *n)
{
	struct raw v[PARAMS_MAX]; /* not from the arena: a header may hold very many fields */
	struct span name, value;
	size_t raws = 0;

	while (raws < PARAMS_MAX && take_param(c, a, &name, &value)) {
		v[raws].used = false;
		split_name(name, &v[raws]);
		v[raws++].value = value;
	}
	*n = 0;
	*out = arena_array(a, raws + 1, sizeof(**out));
	for (size_t i = 0; i < raws; i++) {
		if (v[i].used)
			continue;
		(*out)[*n].name = span_dup(a, v[i].name);
		join(v, raws, i, a, &(*out)[(*n)++]);
		for (size_t k = i + 1; !repeated && k < raws;
		     k++) /* further sections, and repetitions: the first counts */
			v[k].used |= span_eq_ci(v[k].name, v[i].name);
	}
}

struct span params_token(struct span body)
{
	struct scan c = { body, 0 };

	return take_token(&c);
}

bool params_parse_type(struct span body, struct arena *a, struct span *type, struct span *subtype,
		       struct mime_param **v, size_t *n)
{
	struct scan c = { body, 0 };
	struct span t = take_token(&c), s;

	skip_blank(&c);
	if (t.n == 0 || at(&c) != '/')
		return false;
	c.i++;
	s = take_token(&c);
	if (s.n == 0)
		return false;
	*type = span_dup(a, t);
	*subtype = span_dup(a, s);
	take_params(&c, a, false, v, n);
	return true;
}

void params_parse_value(struct span body, struct arena *a, struct span *value, struct mime_param **v,
			size_t *n)
{
	struct scan c = { body, 0 };

	*value = span_dup(a, take_token(&c));
	take_params(&c, a, false, v, n);
}

void params_all(struct span body, struct arena *a, struct mime_param **v, size_t *n)
{
	struct scan c = { body, 0 };

	(void)take_token(&c);
	skip_blank(&c); /* a ';' in a comment begins no parameter */
	if (at(&c) == '/') {
		c.i++;
		(void)take_token(&c);
		skip_blank(&c);
	}
	take_params(&c, a, true, v, n);
}

struct span params_find(const struct mime_param *v, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (span_is_ci(v[i].name, name))
			return v[i].value;
	return SPAN_NONE;
}
