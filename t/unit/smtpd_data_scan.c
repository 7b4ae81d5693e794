/* Claim: only CRLF.CRLF ends a message (RFC 5321 sections 2.3.8, 4.1.1.4), however the bytes are cut on the
 * way; what is stored has LF line ends and no stuffed dots (section 4.5.2); no form of mail smuggling ends
 * one early. */
#include "../../smtpd/data_scan.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct result {
	char out[512];
	size_t n, used;
	bool done, bare;
};

/* Feeds `in` in two pieces cut at `at`, the second byte by byte when `slow`. */
static struct result run(struct span in, size_t at, bool slow, bool lenient, bool chunked)
{
	struct data_scan s = { .lenient = lenient, .chunked = chunked };
	struct result r = { .n = 0 };
	size_t pos = 0, end = at;

	while (pos < in.n && !s.done) {
		size_t made, used = data_scan(&s, span_make(in.p + pos, end - pos), r.out + r.n, &made);

		assert_true(made <= end - pos + DATA_SCAN_EXTRA);
		assert_true(s.done || used == end - pos);
		r.n += made;
		pos += used;
		end = slow && pos < in.n ? pos + 1 : in.n;
	}
	if (!s.done)
		r.n += data_scan_finish(&s, r.out + r.n);
	r.used = pos;
	r.done = s.done;
	r.bare = s.bare_lf;
	return r;
}

static const struct sample {
	const char *in, *out; /* NULL out: not looked at */
	size_t used;	      /* 0: the end mark is not in it */
	bool bare;
} strict[] = {
	{ ".\r\n", "", 3, false },
	{ "a\r\n.\r\nQUIT\r\n", "a\n", 6, false },
	{ "a\r\n..\r\n.\r\n", "a\n.\n", 10, false },
	{ "a\r\n.b\r\n..c\r\n.\r\n", "a\nb\n.c\n", 15, false },
	{ "a\rb\r\r\n.\r\n", "a\rb\r\n", 9, false },
	/* the smuggling forms: none ends */
	{ "a\n.\nMAIL\r\n", "a\n.\nMAIL\n", 0, true },
	{ "a\n.\r\nMAIL\r\n", "a\n.\nMAIL\n", 0, true },
	{ "a\r\n.\nMAIL\r\n", "a\n.\nMAIL\n", 0, true },
	{ "a\r.\rMAIL\r\n", "a\r.\rMAIL\n", 0, false },
	{ "a\r\n.\rMAIL\r\n", "a\n\rMAIL\n", 0, false },
	{ "a\r.\r\nMAIL\r\n", "a\r.\nMAIL\n", 0, false },
	{ "a\n.\rMAIL\r\n", "a\n\rMAIL\n", 0, true },
	{ "a\r\n.\r\r\nMAIL\r\n", "a\n\r\nMAIL\n", 0, false },
	{ "a\r\n. \r\nMAIL\r\n", "a\n \nMAIL\n", 0, false },
	{ "a\r\n.\t\r\nMAIL\r\n", "a\n\t\nMAIL\n", 0, false },
	{ "a\r\r.\r\r\nMAIL\r\n", "a\r\r.\r\nMAIL\n", 0, false },
	{ "a\n\r\n.\r\n", "a\n\n", 7, true },
	{ "a\r\n\n.\r\nMAIL\r\n.\r\n", "a\n\n.\nMAIL\n", 16, true },
	{ "a\n.\r\n.\r\n", "a\n.\n", 8, true },
};

static void check(const struct sample *t, struct span in, bool lenient)
{
	for (size_t at = 0; at <= in.n; at++)
		for (int slow = 0; slow < 2; slow++) {
			struct result r = run(in, at > 0 ? at : 1, slow, lenient, false);

			assert_int_equal(r.done, t->used != 0);
			assert_int_equal(r.used, t->used != 0 ? t->used : in.n);
			assert_int_equal(r.n, strlen(t->out));
			assert_memory_equal(r.out, t->out, r.n);
			assert_int_equal(r.bare, t->bare);
		}
}

static void only_crlf_dot_crlf_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(strict); i++)
		check(&strict[i], span_str(strict[i].in), false);
}

static void nul_is_a_byte_like_others(void **state)
{
	struct result r;
	(void)state;

	r = run(SPAN("a\r\n\0.\r\nb\r\n.\0\r\nc\r\n.\r\n"), 3, true, false, false);
	assert_true(r.done);
	assert_int_equal(r.used, 20);
	assert_int_equal(r.n, 11);
	assert_memory_equal(r.out, "a\n\0.\nb\n\0\nc\n", 11);
}

static void excepted_clients_may_use_lf(void **state)
{
	static const struct sample lenient[] = {
		{ "a\n.\nMAIL", "a\n", 4, true },
		{ "a\r\n.\nMAIL", "a\n", 5, true },
		{ "a\n.\r\nMAIL", "a\n", 5, true },
		{ "a\n..\n.\n", "a\n.\n", 7, true },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(lenient); i++)
		check(&lenient[i], span_str(lenient[i].in), true);
}

/* RFC 3030: a chunk is counted, so dots mean nothing. */
static void chunks_have_no_end_mark(void **state)
{
	struct span in = SPAN("a\r\n.\r\n..b\r\nlast");
	(void)state;

	for (size_t at = 1; at <= in.n; at++) {
		struct result r = run(in, at, true, false, true);

		assert_false(r.done);
		assert_int_equal(r.n, 13);
		assert_memory_equal(r.out, "a\n.\n..b\nlast\n", 13);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_crlf_dot_crlf_ends),
		cmocka_unit_test(nul_is_a_byte_like_others),
		cmocka_unit_test(excepted_clients_may_use_lf),
		cmocka_unit_test(chunks_have_no_end_mark),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
