/* t/unit/qmgr_preempt.c - delivery slots: in which order messages are delivered that came one after the other, each with so many
 * deliveries; the sequences are those that SCHEDULER_README gives, and some beside them. */
#include "../../qmgr/preempt.c"
#include "base/span.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#define JOBS 4

static const struct {
	struct preempt_rules rules; /* cost, loan, discount, minimum */
	int64_t deliveries[JOBS];
	const char *order;
} runs[] = {
	{ { 2, 0, 0, 0 }, { 10, 2, 2 }, "11112211113311" },
	{ { 2, 0, 50, 0 }, { 10, 2, 2 }, "11221111331111" },
	{ { 1, 0, 0, 0 }, { 10, 2, 2 }, "11112211113311" }, /* less than 2 is 2 */
	{ { 0, 0, 50, 0 }, { 10, 2, 2 }, "11111111112233" },
	{ { 2, 0, 100, 0 },
	  { 10, 2, 2 },
	  "12211113311111" }, /* all in advance, but paid for before there is more */
	{ { 2, 2, 0, 0 }, { 10, 2, 2 }, "12211113311111" },
	{ { 5, 3, 50, 3 }, { 25, 1, 1, 1 }, "1211111311111411111111111111" }, /* as main.cf has it */
	{ { 5, 3, 50, 3 }, { 15, 1, 1, 1 }, "121111111111111134" }, /* 2 slots are left, of 3 at least */
	{ { 5, 3, 50, 3 }, { 14, 1, 1, 1 }, "11111111111111234" },  /* never makes 3 */
	{ { 5, 0, 0, 0 }, { 5, 2 }, "1111122" },		    /* needs more than will ever be there */
};

/* The job that is the first of those that are left, after another has gone before it where that may be. */
static size_t next(const struct preempt_rules *r, struct preempt *p, size_t *order, size_t n)
{
	int64_t most = preempt_most(r, &p[order[0]]);
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (p[order[i]].left <= most && (best == 0 || p[order[i]].left < p[order[best]].left))
			best = i;
	if (best > 0 && preempt_now(r, &p[order[0]], p[order[best]].left)) {
		size_t job = order[best];

		preempt_pay(r, &p[order[0]], p[job].left);
		for (size_t i = best; i > 0; i--)
			order[i] = order[i - 1];
		order[0] = job;
	}
	return order[0];
}

static void test_runs(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(runs); k++) {
		struct preempt p[JOBS] = { { 0, 0 } };
		size_t order[JOBS], n = 0, made = 0;
		char got[40];

		for (; n < JOBS && runs[k].deliveries[n] > 0; n++) {
			p[n].left = runs[k].deliveries[n];
			order[n] = n;
		}
		while (n > 0 && made + 1 < sizeof got) {
			size_t job = next(&runs[k].rules, p, order, n);

			got[made++] = (char)('1' + job);
			p[job].saved++;
			if (--p[job].left == 0)
				for (size_t i = 0; i + 1 < n; i++)
					order[i] = order[i + 1];
			n -= p[job].left == 0;
		}
		got[made] = '\0';
		assert_string_equal(got, runs[k].order);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
