/* mime/header.c - taking header fields off a message, RFC 5322 section 2.2. */
#include "mime/header.h"
#include "base/buf.h"

/* Length of the first line of s including its LF. */
static size_t line_length(struct span s)
{
	const char *lf = s.n ? memchr(s.p, '\n', s.n) : NULL;

	return lf ? (size_t)(lf - s.p) + 1 : s.n;
}

static size_t line_end_length(struct span line) /* bytes of its LF or CRLF */
{
	if (line.n == 0 || line.p[line.n - 1] != '\n')
		return 0;
	return line.n > 1 && line.p[line.n - 2] == '\r' ? 2 : 1;
}

/* Position of the colon when the line starts a field (white space before the colon is obsolete syntax), else
 * -1. */
static ptrdiff_t field_colon(struct span line, size_t *name_len)
{
	size_t n = 0;

	while (n < line.n && line.p[n] > 0x20 && line.p[n] < 0x7f && line.p[n] != ':')
		n++;
	*name_len = n;
	if (n == 0)
		return -1;
	while (n < line.n && (line.p[n] == ' ' || line.p[n] == '\t'))
		n++;
	return n < line.n && line.p[n] == ':' ? (ptrdiff_t)n : -1;
}

enum rc header_next(struct span *rest, struct header_field *f)
{
	struct span line = span_head(*rest, line_length(*rest));
	size_t name_len, end, total;
	ptrdiff_t colon;

	if (line.n == 0)
		return RC_EOF;
	if (line.n == line_end_length(line)) {
		*rest = span_skip(*rest, line.n);
		return RC_EOF;
	}
	colon = field_colon(line, &name_len);
	if (colon < 0)
		return RC_SYNTAX;
	for (total = line.n; total < rest->n && (rest->p[total] == ' ' || rest->p[total] == '\t');)
		total += line_length(span_skip(*rest, total));
	f->all = span_head(*rest, total);
	f->name = span_head(line, name_len);
	end = line_end_length(f->all);
	f->body = span_make(f->all.p + colon + 1, total - end - (size_t)colon - 1);
	*rest = span_skip(*rest, total);
	return RC_OK;
}

struct span header_text(const struct header_field *f, struct arena *a)
{
	struct span rest = span_skip(f->all, f->name.n);
	ptrdiff_t colon = span_chr(rest, ':');

	return colon > 0 ? span_printf(a, SPAN_FMT SPAN_FMT, SPAN_ARG(f->name),
				       SPAN_ARG(span_skip(rest, (size_t)colon)))
			 : f->all;
}

bool header_is_field(struct span text)
{
	struct header_field f;

	return header_next(&text, &f) == RC_OK && text.n == 0;
}

size_t header_length(struct span message)
{
	struct span rest = message;
	struct header_field f;

	while (header_next(&rest, &f) == RC_OK)
		;
	return message.n - rest.n;
}

size_t header_mbox_line(struct span message)
{
	if (!span_starts(message, SPAN("From ")) && !span_starts(message, SPAN(">From ")))
		return 0;
	return line_length(message);
}

size_t header_length_stored(struct span message)
{
	size_t n = header_mbox_line(message);

	return n + header_length(span_skip(message, n));
}

enum rc header_find(struct span header, const char *name, struct header_field *f)
{
	while (header_next(&header, f) == RC_OK)
		if (span_is_ci(f->name, name))
			return RC_OK;
	return RC_NOTFOUND;
}

struct span header_unfold(struct arena *a, struct span body)
{
	char *p;
	size_t n = 0;

	if (span_chr(body, '\n') < 0)
		return span_trim(body);
	p = arena_alloc(a, body.n);
	for (size_t i = 0; i < body.n; i++) {
		if (body.p[i] == '\n')
			continue;
		if (body.p[i] == '\r' && i + 1 < body.n && body.p[i + 1] == '\n')
			continue;
		p[n++] = body.p[i];
	}
	return span_trim(span_make(p, n));
}

#define LINE_TARGET 69 /* RFC 5322 2.1.1 wants 78 at most */

/* The next element of an address list: to the comma behind it, outside of quotes, comments and routes. */
static size_t element_length(struct span s)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '\\')
			i++;
		else if (c == '"' && depth == 0)
			quoted = !quoted;
		else if (!quoted && c == '(')
			depth++;
		else if (!quoted && c == ')' && depth > 0)
			depth--;
		else if (!quoted && depth == 0 && c == ',')
			return i + 1;
	}
	return s.n;
}

struct span header_fold_list(struct arena *a, struct span text)
{
	size_t line = 0;
	struct span out, end, whole = text;
	struct buf b;

	text = span_trim(text);
	end = span_skip(whole, (size_t)(text.p + text.n - whole.p));
	buf_init(&b, 3 * text.n + 16);
	while (text.n > 0) {
		struct span el = span_trim(span_head(text, element_length(text)));

		text = span_trim(span_skip(text, element_length(text)));
		if (line > 0 && line + 1 + el.n > LINE_TARGET) {
			(void)buf_puts(&b, "\n\t");
			line = 0;
		} else if (line > 0) {
			(void)buf_putc(&b, ' ');
			line++;
		}
		(void)buf_append(&b, el);
		line += el.n - (size_t)(span_rchr(el, '\n') + 1);
	}
	(void)buf_append(&b, end);
	out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return out;
}
