/* t/fuzz/pop3_command.c - any bytes as lines of a POP3 client, and as a message on its way out: what is
 * accepted fits its table, and what goes out undone again is the message (RFC 1939 section 3). */
#include "../../pop3d/command.c" /* files of a daemon: not in the archive */
#include "../../pop3d/multiline.c"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_line(struct span line)
{
	struct pop3_command c;
	const char *why = NULL;

	if (pop3_command_parse(line, &c, &why) != RC_OK) {
		INVARIANT(why && *why);
		return;
	}
	INVARIANT(c.verb != POP3_UNKNOWN);
	INVARIANT(!c.has_msg || c.msg > 0);
	INVARIANT(c.text.n <= line.n && span_chr(c.text, '\0') < 0);
	INVARIANT(!c.has_initial || c.initial.n > 0);
	if (c.verb == POP3_RETR || c.verb == POP3_DELE || c.verb == POP3_TOP)
		INVARIANT(c.has_msg);
}

static void collect(void *arg, struct span bytes)
{
	INVARIANT(bytes.n > 0);
	INVARIANT(buf_append(arg, bytes) == RC_OK);
}

/* Reads a multi-line response as a client does. */
static void undo(struct span wire, struct buf *out)
{
	struct span line;

	INVARIANT(span_ends(wire, SPAN(".\r\n")));
	while (span_next(&wire, '\n', &line)) {
		INVARIANT(line.n && line.p[line.n - 1] == '\r');
		if (span_is(line, ".\r")) {
			INVARIANT(wire.n == 0); /* nothing in the message looks like its end */
			return;
		}
		if (line.p[0] == '.')
			line = span_skip(line, 1);
		(void)buf_append(out, span_head(line, line.n - 1));
		(void)buf_putc(out, '\n');
	}
	INVARIANT(false); /* no end */
}

static void message(struct span content)
{
	struct buf wire, back, want;
	struct span rest = content, line;

	buf_init(&wire, SIZE_MAX / 2);
	buf_init(&back, SIZE_MAX / 2);
	buf_init(&want, SIZE_MAX / 2);
	INVARIANT(multiline_send(content, MULTILINE_ALL, collect, &wire) == wire.n);
	undo(buf_span(&wire), &back);
	while (next_line(&rest, &line)) {
		(void)buf_append(&want, line);
		(void)buf_putc(&want, '\n');
	}
	INVARIANT(span_eq(buf_span(&back), buf_span(&want)));
	for (uint64_t lines = 0; lines < 3; lines++) {
		size_t n = multiline_needs(content, lines);
		struct buf part, whole;

		buf_init(&part, SIZE_MAX / 2);
		buf_init(&whole, SIZE_MAX / 2);
		INVARIANT(n <= content.n + 1);
		multiline_send(content, lines, collect, &whole);
		multiline_send(span_head(content, n), lines, collect, &part);
		INVARIANT(span_eq(buf_span(&part), buf_span(&whole)));
		buf_release(&part);
		buf_release(&whole);
	}
	buf_release(&wire);
	buf_release(&back);
	buf_release(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_make((const char *)data, size), rest = in, line;

	while (span_next(&rest, '\n', &line))
		one_line(line);
	message(in);
	return 0;
}
