/* Any bytes, cut anywhere: the end of a message is where a plain search for its first CRLF.CRLF says, and the
 * bytes before it come out the same however they were cut (RFC 5321 section 4.1.1.4). */
#include "../../smtpd/data_scan.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first "." line between CRLFs; the start counts as after CRLF. Returns the bytes up to its end, 0 when
 * there is none. */
static size_t find_end(struct span in)
{
	if (span_starts(in, SPAN(".\r\n")))
		return 3;
	ptrdiff_t at = span_find(in, SPAN("\r\n.\r\n"));
	return at < 0 ? 0 : (size_t)at + 5;
}

static size_t run(struct span in, size_t step, bool chunked, char *out, size_t *made, bool *done)
{
	struct data_scan s = { .chunked = chunked };
	size_t pos = 0;

	*made = 0;
	while (pos < in.n && !s.done) {
		struct span piece = span_head(span_skip(in, pos), step);
		size_t n, used = data_scan(&s, piece, out + *made, &n);

		INVARIANT(used <= piece.n && (used == piece.n || s.done) && n <= piece.n + DATA_SCAN_EXTRA);
		pos += used;
		*made += n;
	}
	*done = s.done;
	if (!s.done)
		*made += data_scan_finish(&s, out + *made);
	return pos;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_make((const char *)data + 1, size - 1);
	size_t step, n1, n2, used1, used2, end;
	char *a, *b;
	bool done1, done2;

	if (size < 2)
		return 0;
	step = (size_t)data[0] % 64 + 1;
	a = xmalloc(2 * size + 8);
	b = xmalloc(2 * size + 8);
	used1 = run(in, size, false, a, &n1, &done1);
	used2 = run(in, step, false, b, &n2, &done2);
	end = find_end(in);
	INVARIANT(done1 == done2 && used1 == used2 && n1 == n2 && memcmp(a, b, n1) == 0);
	INVARIANT(done1 == (end != 0) && (!done1 || used1 == end));
	INVARIANT(n1 == 0 || a[n1 - 1] == '\n');
	(void)run(in, size, true, a, &n1, &done1);
	(void)run(in, step, true, b, &n2, &done2);
	INVARIANT(!done1 && n1 == n2 && memcmp(a, b, n1) == 0);
	free(a);
	free(b);
	return 0;
}
