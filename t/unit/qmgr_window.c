/* t/unit/qmgr_window.c - concurrency feedback as SCHEDULER_README gives it: the concurrency after every report, at several
 * concurrencies, and the report that makes a destination dead. */
#include "../../qmgr/window.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct window_rules rules(int64_t initial, int64_t limit, int64_t cohorts, const char *up,
				 const char *down)
{
	struct window_rules r = { initial, limit, cohorts, { 1, FEEDBACK_FIXED }, { 1, FEEDBACK_FIXED } };

	assert_true(feedback_parse(span_str(up), &r.positive));
	assert_true(feedback_parse(span_str(down), &r.negative));
	return r;
}

/* Reports: '+' success with everything busy, '0' success of a single delivery, '-' failure. The concurrency after each; 0: dead. */
static const struct {
	int64_t initial, limit, cohorts;
	const char *up, *down, *reports;
	int64_t after[24];
} runs[] = {
	{ 5, 20, 1, "1", "1", "+++++", { 6, 7, 8, 9, 10 } },
	{ 5, 7, 1, "1", "1", "++++", { 6, 7, 7, 7 } },
	{ 2, 0, 1, "1/concurrency", "1", "+++++++++", { 2, 3, 3, 3, 4, 4, 4, 4, 5 } },
	{ 6, 0, 1, "1 / concurrency", "1", "+++++++", { 6, 6, 6, 6, 6, 7, 7 } },
	{ 5, 0, 1, "0.5", "1", "+++", { 5, 6, 6 } },
	{ 5, 0, 1, "0", "0", "++--", { 5, 5, 5, 5 } },
	/* one in flight: no growth beyond what is in use and the initial concurrency */
	{ 5, 20, 1, "1", "1", "000", { 6, 6, 6 } },
	{ 1, 20, 1, "1", "1", "000", { 2, 2, 2 } },
	/* 1/5 + 1/4 + 1/3 + 1/2 reach one cohort */
	{ 5, 20, 1, "1", "1", "----", { 4, 3, 2, 0 } },
	{ 1, 20, 1, "1", "1", "-", { 0 } },
	{ 2, 20, 1, "1", "1", "--", { 1, 0 } },
	{ 1, 20, 3, "1", "1", "---", { 1, 1, 0 } },
	{ 6, 20, 1, "1", "0", "------", { 6, 6, 6, 6, 6, 0 } },
	{ 3, 20, 0, "1", "1", "-----", { 2, 1, 1, 1, 1 } },
	/* the first failure of a series takes one off, and then every 1/f(N)th */
	{ 4, 20, 0, "1", "0.5", "-----", { 3, 2, 2, 1, 1 } },
	{ 10, 20, 9, "1", "1/concurrency", "-----------", { 9, 9, 9, 9, 9, 9, 9, 9, 8, 8, 8 } },
	/* a step in one direction forgets what was gathered in the other */
	{ 2, 20, 9, "0.5", "1", "+-++", { 2, 1, 1, 2 } },
	{ 4, 20, 9, "1", "0.5", "-+-", { 3, 4, 3 } },
	/* a success ends the count of failed cohorts */
	{ 2, 20, 1, "1", "1", "-+-+-", { 1, 2, 1, 2, 1 } },
};

static void test_runs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		struct window_rules r =
		    rules(runs[i].initial, runs[i].limit, runs[i].cohorts, runs[i].up, runs[i].down);
		struct window w;

		window_init(&w, &r);
		for (size_t k = 0; runs[i].reports[k] != '\0'; k++) {
			bool dead = false;
			if (runs[i].reports[k] == '-')
				dead = window_failed(&w, &r);
			else
				window_succeeded(&w, &r,
						 runs[i].reports[k] == '0' ? 1 : (size_t)w.concurrency);
			if ((dead ? 0 : w.concurrency) != runs[i].after[k])
				fail_msg("run %zu, report %zu: %lld", i, k, (long long)w.concurrency);
		}
	}
}

static void test_dead_starts_anew(void **state)
{
	struct window_rules r = rules(3, 20, 1, "1", "1");
	struct window w;

	(void)state;
	window_init(&w, &r);
	while (!window_failed(&w, &r))
		;
	assert_int_equal(w.concurrency, 3);
	assert_true(w.success + w.failure + w.failed_cohorts < ROUNDING);
}

static void test_parse(void **state)
{
	static const char *const wrong[] = { "",
					     "/",
					     "x",
					     "1x",
					     "2",
					     "-1",
					     "1/",
					     "2/1",
					     "1/0",
					     "0/0",
					     "1/-5",
					     "1/window",
					     "nan",
					     "1/concurrency x",
					     "1/2/concurrency",
					     "2/concurrency",
					     "1/sqrt_concurrency" };
	struct feedback f;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (feedback_parse(span_str(wrong[i]), &f))
			fail_msg("\"%s\" is taken", wrong[i]);
		assert_true(f.number >= 1 && f.by == FEEDBACK_FIXED);
	}
	assert_true(feedback_parse(SPAN("1 / 4"), &f) && f.by == FEEDBACK_FIXED && f.number == 0.25);
	assert_true(feedback_parse(SPAN(" 0.5 / concurrency "), &f) && f.by == FEEDBACK_LINEAR);
	assert_true(feedback_value(&f, 2) == 0.25);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_dead_starts_anew),
		cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
