/* opening.c - the first lines of a message, where the Received: field was put in front of what may be no
 * field. */
#include "smtpd.h"

#define LINE_ENOUGH                                                                                          \
	1000 /* bytes of a line that tell what it is; a longer one ends the search, wherever its end is */
#define FROM_LINES 16

static void insert(struct buf *b, size_t at, struct span text)
{
	char *end = buf_reserve(b, text.n);

	if (end == NULL)
		return;
	memmove(b->p + at + text.n, b->p + at, b->n - at);
	memcpy(b->p + at, text.p, text.n);
	b->n += text.n;
}

static bool is_from_line(struct span line)
{
	while (span_starts(line, SPAN(">")))
		line = span_skip(line, 1);
	return span_starts(line, SPAN("From "));
}

/* A line of mbox files becomes a field, else it would end the header before it has begun. A line that
 * begins with white space is body, else it would continue our Received: (RFC 5322 section 2.2.3). */
void opening_settle(struct opening *o, struct buf *b, bool end)
{
	static const struct span field = { "X-Mailbox-Line: ", 16 };

	while (!o->done) {
		struct span rest = span_skip(buf_span(b), o->at), line = span_head(rest, LINE_ENOUGH);
		ptrdiff_t lf = span_chr(line, '\n');

		if (lf < 0 && !end && rest.n < LINE_ENOUGH)
			return;
		o->done = true;
		if (is_from_line(line)) {
			insert(b, o->at, field);
			o->at += field.n + (size_t)(lf + 1);
			o->done = lf < 0 || ++o->from_lines == FROM_LINES;
		} else if (span_starts(line, SPAN(" ")) || span_starts(line, SPAN("\t"))) {
			insert(b, o->at, SPAN("\n"));
		}
	}
}
