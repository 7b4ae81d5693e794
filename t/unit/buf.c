/* Claim: a buf never holds more than its stated maximum, a refused append changes nothing, and failure is
 * remembered until buf_reset(). */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void buf_stops_at_max(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 5);
	assert_int_equal(buf_puts(&b, "abc"), RC_OK);
	assert_int_equal(buf_puts(&b, "def"), RC_LIMIT);
	assert_int_equal(buf_printf(&b, "%d", 1000), RC_LIMIT);
	assert_null(buf_reserve(&b, 3));
	assert_true(span_is(buf_span(&b), "abc"));
	assert_false(buf_ok(&b));
	assert_int_equal(buf_puts(&b, "de"), RC_OK); /* what fits still goes in */
	assert_int_equal(buf_putc(&b, 'x'), RC_LIMIT);
	assert_string_equal(buf_cstr(&b), "abcde"); /* the NUL has room beyond max */
	buf_reset(&b);
	assert_true(buf_ok(&b));
	assert_int_equal(b.n, 0);
	buf_release(&b);
	assert_int_equal(b.max, 5);
	assert_int_equal(buf_puts(&b, "again"), RC_OK);
	buf_release(&b);
}

static void buf_grows_and_prints(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, SIZE_MAX);
	assert_int_equal(buf_printf(&b, "%s", ""), RC_OK);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_printf(&b, "%03d,", i), RC_OK);
	assert_int_equal(b.n, 4000);
	assert_true(span_ends(buf_span(&b), SPAN("998,999,")));
	assert_int_equal(strlen(buf_cstr(&b)), 4000);
	buf_release(&b);
}

static void buf_keeps_any_byte(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(buf_append(&b, SPAN("a\0b")), RC_OK);
	assert_int_equal(buf_append(&b, SPAN_NONE), RC_OK);
	assert_true(span_eq(buf_span(&b), SPAN("a\0b")));
	buf_release(&b);
}

static void buf_consume_drops_the_front(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_int_equal(buf_puts(&b, "abcdefghij"), RC_OK);
	buf_consume(&b, 4);
	assert_true(span_is(buf_span(&b), "efghij"));
	assert_int_equal(buf_puts(&b, "klmn"), RC_OK); /* the room is there again */
	buf_consume(&b, 10);
	assert_int_equal(b.n, 0);
	buf_release(&b);
}

static void buf_reserve_gives_room(void **state)
{
	struct buf b;
	char *p;

	(void)state;
	buf_init(&b, 200);
	p = buf_reserve(&b, 200);
	assert_non_null(p);
	memset(p, 'x', 200);
	b.n += 200;
	assert_non_null(buf_reserve(&b, 0));
	assert_int_equal(strlen(buf_cstr(&b)), 200);
	buf_release(&b);
}

static void buf_trim_keeps_the_content(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	assert_non_null(buf_reserve(&b, 1 << 16));
	assert_int_equal(buf_puts(&b, "kept"), RC_OK);
	buf_trim_memory(&b);
	assert_int_equal(b.cap, 4);
	assert_string_equal(buf_cstr(&b), "kept");
	assert_int_equal(buf_puts(&b, " and more"), RC_OK);
	assert_string_equal(buf_cstr(&b), "kept and more");
	buf_reset(&b);
	buf_trim_memory(&b);
	assert_null(b.p);
	assert_string_equal(buf_cstr(&b), "");
	buf_release(&b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_stops_at_max),	  cmocka_unit_test(buf_grows_and_prints),
		cmocka_unit_test(buf_keeps_any_byte),	  cmocka_unit_test(buf_consume_drops_the_front),
		cmocka_unit_test(buf_reserve_gives_room), cmocka_unit_test(buf_trim_keeps_the_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
