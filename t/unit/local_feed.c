/* t/unit/local_feed.c - what a command gets does not depend on how the content is cut into extents: dots,
 * From_ quoting, line ends (pipe(8), flags). */
#include "../../local/feed.c"
#include <fcntl.h>
#include <sys/mman.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char text[] = "From a\nFro\nFrom\n.\n..x\n\nFFrom b\nend";

/* All bytes, taken `step` at a time; content cut every `cut` bytes (0: in memory). */
static void run(uint16_t flags, const char *eol, size_t cut, size_t step, struct buf *out)
{
	struct extent_item x[sizeof text];
	struct user_run q = {
		.flags = flags, .head = SPAN("From me\nX: y\n"), .eol = span_str(eol), .fd = -1
	};
	struct feed f;
	struct span chunk;
	struct err e;

	if (cut == 0) {
		q.content = span_str(text);
	} else {
		q.fd = memfd_create("feed", 0);
		assert_int_equal(write(q.fd, text, sizeof text - 1), sizeof text - 1);
		for (size_t off = 0; off < sizeof text - 1; off += cut)
			x[q.extents.n++] =
			    (struct extent_item){ off,
						  off + cut < sizeof text ? cut : sizeof text - 1 - off };
		q.extents.v = x;
	}
	buf_init(out, 10000);
	feed_start(&f, &q);
	while (feed_next(&f, &chunk, &e) == RC_OK) {
		chunk = span_head(chunk, step);
		assert_int_equal(buf_append(out, chunk), RC_OK);
		feed_taken(&f, chunk.n);
	}
	feed_end(&f);
	if (q.fd >= 0)
		close(q.fd);
}

static void check(uint16_t flags, const char *eol, const char *want)
{
	for (size_t cut = 0; cut < 9; cut++)
		for (size_t step = 1; step < 200; step = step * 3 + 1) {
			struct buf b;
			run(flags, eol, cut, step, &b);
			assert_string_equal(buf_cstr(&b), want);
			buf_release(&b);
		}
}

static void as_it_is(void **state)
{
	(void)state;
	check(0, "", "From me\nX: y\nFrom a\nFro\nFrom\n.\n..x\n\nFFrom b\nend\n");
}

static void all_flags(void **state)
{
	(void)state;
	check(USER_RUN_DOT | USER_RUN_QUOTE | USER_RUN_BLANK, "\r\n",
	      "From me\r\nX: y\r\n>From a\r\nFro\r\nFrom\r\n..\r\n...x\r\n\r\nFFrom b\r\nend\r\n\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(as_it_is), cmocka_unit_test(all_flags) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
