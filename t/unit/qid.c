/* t/unit/qid.c - an id of ours tells when it was made, in both forms, also after the seconds of the short form have gone round; others tell nothing. */
#include "queue/qid.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static int64_t made(const char *id, int64_t now_s)
{
	struct qid q;

	assert_true(qid_parse(span_str(id), &q));
	return qid_made_us(&q, now_s * 1000000);
}

static void of_now(void **state)
{
	int64_t before = wall_now().us;

	(void)state;
	for (int form = 0; form < 2; form++) {
		struct qid id;
		int64_t us;

		qid_set_long(form == 1);
		id = qid_new(7);
		us = qid_made_us(&id, wall_now().us + 86400);
		assert_true(us >= before && us <= wall_now().us + 2);
	}
}

static void known(void **state)
{
	const int64_t second = 0x6B0B7CA8, turn = INT64_C(1) << 28;

	(void)state;
	assert_int_equal(made("54352B0B7CA804", second), second * 1000000 + 0x54352);
	assert_int_equal(made("54352B0B7CA804", second + 86400), second * 1000000 + 0x54352);
	assert_int_equal(made("54352B0B7CA804", 0x70000005), second * 1000000 + 0x54352); /* round once */
	assert_int_equal(made("54352B0B7CA804", second - 1), (second - turn) * 1000000 + 0x54352);
	assert_int_equal(made("BECAAACC9A0", second), 0);    /* Postfix's */
	assert_int_equal(made("FFFFFB0B7CA804", second), 0); /* more than a second of microseconds */
	assert_int_equal(made("54352x0B7CA804", second), 0);
	assert_int_equal(made("zzzzzz", second), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(of_now), cmocka_unit_test(known) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
