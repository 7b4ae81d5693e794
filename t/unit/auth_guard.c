/* Claim: failed log-ins make the next answer to the same address later, up to a limit and until it was quiet
 * for five minutes; of IPv6 the /64 counts, on this host the user. */
#include "../../auth/guard.c" /* a daemon's file: not in the archive */

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct auth_conf auth_conf = { .penalty_max_s = 15 };

/* Time is the loop's clock, which tick() moves. */
static void waits(const char *rip, const char *user, int64_t seconds)
{
	mono_t before = loop_now();

	guard_wait(rip, user);
	assert_in_range(mono_diff_ms(loop_now(), before), 1000 * seconds, 1000 * seconds + 900);
}

static void run(void *arg)
{
	(void)arg;
	waits("192.0.2.1", "kim", 0);
	guard_count("192.0.2.1", "kim", true);
	waits("192.0.2.2", "kim", 0);
	waits("192.0.2.1", "lee", 1);
	for (int i = 0; i < 3; i++)
		guard_count("192.0.2.1", "kim", true);
	waits("192.0.2.1", "kim", 8);
	for (int i = 0; i < 100; i++)
		guard_count("192.0.2.1", "kim", true);
	waits("192.0.2.1", "kim", 15);
	guard_count("192.0.2.1", "kim", false);
	waits("192.0.2.1", "kim", 0);

	guard_count("2001:db8::1", "kim", true);
	waits("2001:db8::ffff", "kim", 1);
	waits("2001:db8:0:1::1", "kim", 0);

	guard_count("127.0.0.1", "kim", true);
	waits("127.0.0.1", "lee", 0);
	waits("127.0.0.1", "kim", 1);
	loop_clock_advance(301 * 1000);
	waits("127.0.0.1", "kim", 0);
	loop_stop(0);
}

/* Moves the clock whenever everybody sleeps. */
static void tick(void *arg)
{
	(void)arg;
	for (;;) {
		task_yield();
		loop_clock_advance(100);
	}
}

static void delays(void **state)
{
	(void)state;
	loop_init();
	task_spawn(run, NULL);
	task_spawn(tick, NULL);
	assert_int_equal(loop_run(), 0);
}

static void flood_is_bounded(void **state)
{
	char rip[32];

	(void)state;
	for (unsigned i = 0; i < ENTRIES_MAX + 100; i++) {
		snprintf(rip, sizeof(rip), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
		guard_count(rip, "kim", true);
	}
	assert_true(table_count(entries) <= ENTRIES_MAX);
	table_free(&entries, free);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(delays),
						   cmocka_unit_test(flood_is_bounded) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
