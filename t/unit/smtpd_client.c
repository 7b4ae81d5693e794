/* Claim: arguments of XCLIENT and XFORWARD count all or not at all, addresses come out in their usual form, and what a client said behind a filter
 * makes no second word in a log or header (XCLIENT_README's and XFORWARD_README's subject). */
#include "../../smtpd/client.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena a;

static void xclient(void **state)
{
	struct client c = { .addr = SPAN("192.0.2.1"), .port = 5 };

	(void)state;
	assert_null(xclient_take(
	    SPAN("ADDR=ipv6:2001:DB8:0::1 DESTADDR=IPv6:::1 PORT=7 HELO=a+3Eb NAME=[TEMPUNAVAIL]"), false, &a,
	    &c));
	assert_true(span_is(c.addr, "2001:db8::1") && span_is(c.local_addr, "::1") && span_is(c.helo, "a?b"));
	assert_int_equal(c.port, 7);
	assert_int_equal(c.name_code, 4);
	assert_string_equal(xclient_take(SPAN("PORT=8 ADDR=2001:db8::2"), false, &a, &c),
			    "501 5.5.4 Bad ADDR syntax: 2001:db8::2");
	assert_int_equal(c.port, 7);
	assert_string_equal(xclient_take(SPAN("DESTADDR=[192.0.2.1]"), false, &a, &c),
			    "501 5.5.4 Bad DESTADDR syntax: [192.0.2.1]");
	assert_null(xclient_take(SPAN("ADDR=[UNAVAILABLE]"), false, &a, &c));
	assert_true(span_is(c.addr, "unknown") && c.ip.family == AF_UNSPEC);
}

static void xforward(void **state)
{
	struct forward f = { .local = true };

	(void)state;
	assert_null(xforward_take(
	    SPAN("ADDR=IPv6:2001:db8::1 HELO=+3Cx+3E+20y IDENT=a+40b PROTO=ESMTP SOURCE=REMOTE"), false, &a,
	    &f));
	assert_true(span_is(f.addr, "2001:db8::1") && span_is(f.helo, "?x??y") && span_is(f.ident, "a?b"));
	assert_true(!f.local && f.sourced);
	assert_null(xforward_take(SPAN("NAME=[UNAVAILABLE]"), false, &a, &f));
	assert_true(span_is(f.name, "unknown"));
	assert_string_equal(xforward_take(SPAN("HELO=z WHAT=1"), false, &a, &f),
			    "501 5.5.4 Bad XFORWARD attribute name: WHAT");
	assert_true(span_is(f.helo, "?x??y"));
}

static int begin(void **state)
{
	(void)state;
	arena_init(&a);
	return 0;
}

static int end(void **state)
{
	(void)state;
	arena_release(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(xclient), cmocka_unit_test(xforward) };
	return cmocka_run_group_tests(tests, begin, end);
}
