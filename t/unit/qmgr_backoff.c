/* t/unit/qmgr_backoff.c - a message that always fails: its attempts on a clock that the test moves, until it expires (minimal_backoff_time,
 * maximal_backoff_time, maximal_queue_lifetime). */
#include "../../qmgr/backoff.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define ARRIVAL (INT64_C(1795914553) * SECOND)

/* Seconds after the arrival of each attempt; -1 ends the list, and the message expires at the attempt before it. */
static const struct {
	int64_t min_s, max_s, lifetime_s, attempts[16];
} runs[] = {
	{ 300, 4000, 20000, { 0, 300, 600, 1200, 2400, 4800, 8800, 12800, 16800, 20800, -1 } },
	{ 2, 5, 14, { 0, 2, 4, 8, 13, 18, -1 } }, /* what Postfix does, whose looks are a second apart */
	{ 10, 5, 12, { 0, 5, 10, 15, -1 } },	  /* the maximum wins */
	{ 1, 1, 3, { 0, 1, 2, 3, -1 } },
	{ 300, 4000, 0, { 0, -1 } }, /* one attempt */
};

static void attempts(void **state)
{
	(void)state;
	for (size_t r = 0; r < sizeof(runs) / sizeof(*runs); r++) {
		int64_t now = ARRIVAL;
		size_t n = 0;

		for (; runs[r].attempts[n] >= 0; n++) {
			assert_int_equal(now - ARRIVAL, runs[r].attempts[n] * SECOND);
			assert_int_equal(backoff_expired(now, ARRIVAL, runs[r].lifetime_s),
					 runs[r].attempts[n + 1] < 0);
			now = backoff_next_us(now, ARRIVAL, runs[r].min_s, runs[r].max_s);
		}
		assert_true(n > 0);
	}
}

static void clock_set_back(void **state)
{
	(void)state;
	assert_int_equal(backoff_next_us(ARRIVAL - 3600 * SECOND, ARRIVAL, 300, 4000),
			 ARRIVAL - 3300 * SECOND);
	assert_false(backoff_expired(ARRIVAL - 3600 * SECOND, ARRIVAL, 300));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(attempts), cmocka_unit_test(clock_set_back) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
