/* Body sections: parsing their names, finding their bytes, and writing them with CRLF. */
#include "sections.h"
#include "mime/mime.h"

#define FIELDS_MAX 500

static bool parse_fields(struct parse *p, struct section *s)
{
	size_t cap = 0;
	if (!parse_sp(p) || !parse_char(p, '('))
		return false;
	do {
		struct span name;
		if (s->fields == FIELDS_MAX)
			return parse_fail(p, "Too many header fields");
		if (!parse_astring(p, &name))
			return false;
		if (s->fields == cap)
			s->field = arena_grow(p->a, s->field, s->fields, &cap, sizeof(*s->field));
		s->field[s->fields++] = name;
	} while (parse_is(p, ' '));
	return parse_char(p, ')');
}

static bool parse_text(struct parse *p, struct section *s)
{
	if (parse_word_ci(p, "HEADER.FIELDS.NOT"))
		s->what = SEC_HEADER_FIELDS_NOT;
	else if (parse_word_ci(p, "HEADER.FIELDS"))
		s->what = SEC_HEADER_FIELDS;
	else if (parse_word_ci(p, "HEADER"))
		s->what = SEC_HEADER;
	else if (parse_word_ci(p, "TEXT"))
		s->what = SEC_TEXT;
	else if (s->depth && parse_word_ci(p, "MIME"))
		s->what = SEC_MIME;
	else
		return parse_fail(p, "Invalid BODY[..] section");
	return (s->what != SEC_HEADER_FIELDS && s->what != SEC_HEADER_FIELDS_NOT) || parse_fields(p, s);
}

bool section_parse(struct parse *p, struct section *s)
{
	uint64_t n;
	if (!parse_char(p, '['))
		return false;
	while (ascii_isdigit(parse_peek(p))) {
		if (s->depth == ARRAY_LEN(s->part))
			return parse_fail(p, "Body section too deep");
		if (!parse_number(p, UINT32_MAX, &n) || !n)
			return parse_fail(p, "Invalid part number");
		s->part[s->depth++] = (uint32_t)n;
		if (!parse_is(p, '.'))
			break;
		if (!ascii_isdigit(parse_peek(p)) && !ascii_isalpha(parse_peek(p)))
			return parse_fail(p, "Invalid BODY[..] section");
	}
	if (parse_peek(p) != ']' && !parse_text(p, s))
		return false;
	if (!parse_char(p, ']'))
		return false;
	if (!parse_is(p, '<'))
		return true;
	s->partial = true;
	return parse_number(p, UINT32_MAX, &s->from) && parse_char(p, '.') &&
	       parse_number(p, UINT32_MAX, &s->count) &&
	       (s->count || parse_fail(p, "Invalid partial range")) && parse_char(p, '>');
}

bool section_is_root_header(const struct section *s)
{
	return !s->depth &&
	       (s->what == SEC_HEADER || s->what == SEC_HEADER_FIELDS || s->what == SEC_HEADER_FIELDS_NOT);
}

static bool plain_astring(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && !strchr("-_.!#$&'+/=?^`|~", s.p[i]))
			return false;
	return s.n > 0;
}

void section_put_name(struct buf *b, const struct section *s)
{
	static const char *const names[] = { "",     "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT",
					     "TEXT", "MIME" };
	if (s->legacy) {
		buf_puts(b, s->legacy);
		return;
	}
	buf_puts(b, "BODY[");
	for (size_t i = 0; i < s->depth; i++)
		buf_printf(b, "%s%u", i ? "." : "", s->part[i]);
	if (s->what != SEC_ALL)
		buf_printf(b, "%s%s", s->depth ? "." : "", names[s->what]);
	if (s->fields) {
		for (size_t i = 0; i < s->fields; i++) {
			buf_puts(b, i ? " " : " (");
			if (plain_astring(s->field[i]))
				buf_append(b, s->field[i]);
			else
				put_string(b, s->field[i]);
		}
		buf_putc(b, ')');
	}
	buf_putc(b, ']');
	if (s->partial)
		buf_printf(b, "<%llu>", (unsigned long long)s->from);
}

/* ---- finding ---- */
static const struct mime_part *nth(const struct mime_part *first, uint32_t n)
{
	while (first && --n)
		first = first->next;
	return first;
}

/* Part numbers: of a multipart its parts; of anything else 1 is itself; below a message/rfc822 those of the
 * message inside. */
static const struct mime_part *find_part(const struct mime_part *root, const struct section *s)
{
	const struct mime_part *p = root;
	for (size_t i = 0; i < s->depth && p; i++) {
		bool multipart = span_is_ci(p->type, "multipart");
		if (i && !multipart) { /* what is below a part that is not multipart: only a message has
					  something */
			p = p->child;
			multipart = p && span_is_ci(p->type, "multipart");
		}
		if (multipart)
			p = nth(p->child, s->part[i]);
		else if (s->part[i] != 1)
			return NULL;
	}
	return p;
}

static struct span slice(struct span message, uint64_t off, uint64_t n)
{
	return span_head(span_skip(message, (size_t)off), (size_t)n);
}

static bool wanted(const struct section *sec, struct span name)
{
	bool listed = false;
	for (size_t i = 0; i < sec->fields && !listed; i++)
		listed = span_eq_ci(sec->field[i], name);
	return listed == (sec->what == SEC_HEADER_FIELDS);
}

static struct span pick_fields(const struct section *sec, struct span header, struct arena *a)
{
	char *out = arena_alloc(a, header.n + 2);
	size_t n = 0;
	struct span rest = header;
	struct header_field f;
	while (header_next(&rest, &f) == RC_OK) {
		if (!wanted(sec, f.name))
			continue;
		memcpy(out + n, f.all.p, f.all.n);
		n += f.all.n;
		if (n && out[n - 1] != '\n')
			out[n++] = '\n';
	}
	out[n++] = '\n'; /* the empty line belongs to it */
	return span_make(out, n);
}

static struct span from_header(const struct section *sec, struct span header, struct arena *a)
{
	return sec->what == SEC_HEADER ? header
				       : pick_fields(sec, span_skip(header, header_mbox_line(header)), a);
}

/* The bytes of the section as stored; .p NULL: there is no such part (NIL). */
static struct span find_bytes(const struct section *sec, struct span message, const struct mime_part *root,
			      struct arena *a)
{
	if (!sec->depth) {
		if (sec->what == SEC_ALL)
			return message;
		size_t head = header_length_stored(message);
		return sec->what == SEC_TEXT ? span_skip(message, head)
					     : from_header(sec, span_head(message, head), a);
	}
	const struct mime_part *p = find_part(root, sec);
	if (!p)
		return SPAN_NONE;
	if (sec->what == SEC_ALL)
		return slice(message, p->body_off, p->body_len);
	if (sec->what == SEC_MIME)
		return slice(message, p->header_off, p->header_len);
	if (!p->child || span_is_ci(p->type, "multipart")) /* HEADER and TEXT are of embedded messages */
		return SPAN_NONE;
	p = p->child;
	if (sec->what == SEC_TEXT)
		return slice(message, p->body_off, p->body_len);
	return from_header(sec, slice(message, p->header_off, p->header_len), a);
}

/* ---- writing ---- */
static uint64_t lone_lf(struct span s)
{
	uint64_t n = 0;
	for (const char *p = s.p, *end = s.p + s.n, *lf; p < end && (lf = memchr(p, '\n', (size_t)(end - p)));
	     p = lf + 1)
		n += lf == s.p || lf[-1] != '\r';
	return n;
}

/* Bytes [from, from + count) of `s` with CRLF line ends. */
static void put_crlf(struct buf *b, struct span s, uint64_t from, uint64_t count)
{
	uint64_t at = 0; /* position in the converted text */
	char before = '\0';
	while (s.n && count) {
		const char *lf = memchr(s.p, '\n', s.n);
		size_t plain = lf ? (size_t)(lf - s.p) : s.n;
		if (plain)
			before = s.p[plain - 1];
		struct span run = span_head(s, plain);
		if (at + plain > from) {
			struct span part = at < from ? span_skip(run, (size_t)(from - at)) : run;
			part = span_head(part, count);
			buf_append(b, part);
			count -= part.n;
		}
		at += plain;
		s = span_skip(s, plain);
		if (!lf)
			break;
		s = span_skip(s, 1);
		const char *end = before == '\r' ? "\n" : "\r\n";
		for (; *end && count; end++, at++)
			if (at >= from) {
				buf_putc(b, *end);
				count--;
			}
		before = '\n';
	}
}

/* RFC 3501 9, CHAR8: a literal holds any octet but NUL. 0x80 stands in its place, so that sizes stay true. */
static void hide_nul(char *p, size_t n)
{
	for (char *end = p + n; p && (p = memchr(p, '\0', (size_t)(end - p))); p++)
		*p = (char)0x80;
}

uint64_t section_put_content(struct session *s, const struct section *sec, struct span message,
			     const struct mime_part *root, struct arena *a)
{
	struct span bytes = find_bytes(sec, message, root, a);
	if (!bytes.p && sec->depth) {
		buf_puts(&s->out, "NIL");
		return 0;
	}
	uint64_t lone = lone_lf(bytes), total = bytes.n + lone, from = 0, n = total;
	if (sec->partial) {
		from = sec->from < total ? sec->from : total;
		n = total - from < sec->count ? total - from : sec->count;
	}
	buf_printf(&s->out, "{%llu}\r\n", (unsigned long long)n);
	size_t start = s->out.n;
	if (!lone)
		buf_append(&s->out, span_head(span_skip(bytes, (size_t)from), (size_t)n));
	else
		put_crlf(&s->out, bytes, from, n);
	if (s->out.n > start)
		hide_nul(s->out.p + start, s->out.n - start);
	return n;
}
