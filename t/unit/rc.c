/* Claim: an error's story is one bounded line that tells code, cause and context, and dates are those of RFC
 * 5322. */
#include "base/clock.h"
#include "base/rc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static void err_tells_the_story(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(err_set(&e, RC_LIMIT, "at most %d", 5), RC_LIMIT);
	assert_int_equal(e.rc, RC_LIMIT);
	assert_string_equal(e.text, "at most 5");
	assert_int_equal(err_prefix(&e, "line %d", 3), RC_LIMIT);
	assert_string_equal(e.text, "line 3: at most 5");
	errno = ENOENT;
	assert_int_equal(err_sys(&e, "open %s", "x"), RC_SYS);
	assert_int_equal(e.sys, ENOENT);
	assert_string_equal(e.text, "open x: No such file or directory");
}

static void err_may_be_null_and_is_bounded(void **state)
{
	struct err e = { 0 };
	char long_text[2000];

	(void)state;
	assert_int_equal(err_set(NULL, RC_EOF, "nobody listens"), RC_EOF);
	assert_int_equal(err_sys(NULL, "nobody listens"), RC_SYS);
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	err_set(&e, RC_SYNTAX, "%s", long_text);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	err_prefix(&e, "%s", long_text);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_int_equal(e.rc, RC_SYNTAX);
}

/* RFC 5322 section 3.3, with the zone's name as a comment. */
static void dates_follow_rfc_5322(void **state)
{
	char out[DATE_MAX];

	(void)state;
	setenv("TZ", "UTC0", 1);
	tzset();
	wall_rfc5322((wall_t){ 1795251145 * INT64_C(1000000) + 999999 }, out);
	assert_string_equal(out, "Sat, 21 Nov 2026 08:52:25 +0000 (UTC)");
	setenv("TZ", "XYZ3:30", 1);
	tzset();
	wall_rfc5322((wall_t){ 0 }, out);
	assert_string_equal(out, "Wed, 31 Dec 1969 20:30:00 -0330 (XYZ)");
}

static void clocks_move_forward(void **state)
{
	mono_t a = mono_now();

	(void)state;
	assert_true(mono_diff_ms(mono_now(), a) >= 0);
	assert_int_equal(mono_diff_ms(mono_after(a, 1500), a), 1500);
	assert_true(wall_s(wall_now()) > 1700000000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_tells_the_story),
		cmocka_unit_test(err_may_be_null_and_is_bounded),
		cmocka_unit_test(dates_follow_rfc_5322),
		cmocka_unit_test(clocks_move_forward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
