/* Any bytes, cut anywhere, as the first lines of a message that comes behind our Received: fields - lines of mbox files become fields, white space
 * becomes body - and the same comes out however they were cut. The first byte says how. */
#include "../../smtpd/opening.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void settle(struct span in, size_t step, struct buf *out)
{
	struct opening o = { .at = 0 };

	for (; in.n > 0; in = span_skip(in, step)) {
		buf_append(out, span_head(in, step));
		opening_settle(&o, out, false);
	}
	opening_settle(&o, out, true);
	INVARIANT(o.done && o.from_lines <= FROM_LINES && o.at <= out->n && buf_ok(out));
}

/* What was put in is all that changed, and nothing is left that ends the header or continues the field before it. */
static void check(struct span in, struct span out)
{
	static const struct span field = { "X-Mailbox-Line: ", 16 };
	size_t fields = 0, most = FROM_LINES;

	while (!span_starts(in, field) && span_starts(out, field) &&
	       is_from_line(span_head(span_skip(out, field.n), LINE_ENOUGH)) && most-- > 0) {
		ptrdiff_t lf = span_chr(span_head(span_skip(out, field.n), LINE_ENOUGH), '\n');
		size_t n = lf < 0 ? out.n - field.n : (size_t)lf + 1;

		INVARIANT(span_starts(in, span_head(span_skip(out, field.n), n)));
		in = span_skip(in, n);
		out = span_skip(out, field.n + n);
		fields++;
	}
	if (out.n == in.n + 1) {
		INVARIANT(out.p[0] == '\n' && (out.p[1] == ' ' || out.p[1] == '\t'));
		out = span_skip(out, 1);
	} else {
		INVARIANT(fields == FROM_LINES || in.n == 0 || (in.p[0] != ' ' && in.p[0] != '\t'));
		INVARIANT(fields == FROM_LINES || !is_from_line(span_head(in, LINE_ENOUGH)));
	}
	INVARIANT(span_eq(out, in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_skip(span_make((const char *)data, size), 1);
	struct buf whole, cut;

	if (size < 2 || size > 65536)
		return 0;
	buf_init(&whole, 1 << 20);
	buf_init(&cut, 1 << 20);
	settle(in, in.n, &whole);
	settle(in, (size_t)*data * 5 + 1, &cut);
	INVARIANT(span_eq(buf_span(&whole), buf_span(&cut)));
	check(in, buf_span(&whole));
	buf_release(&whole);
	buf_release(&cut);
	return 0;
}
