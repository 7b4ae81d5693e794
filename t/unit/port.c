/* t/unit/port.c - conf/port.h: known_tcp_ports (postconf(5)) before services(5). */
#include "conf/port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static unsigned port(const char *text)
{
	uint16_t n;

	return port_parse(span_str(text), &n) == RC_OK ? n : 0;
}

static void names_and_numbers(void **state)
{
	(void)state;
	port_set_known(SPAN("lmtp=24, smtps=submissions=465, http=8080"));
	assert_int_equal(port("lmtp"), 24);
	assert_int_equal(port("smtps"), 465);
	assert_int_equal(port("submissions"), 465);
	assert_int_equal(port("http"), 8080); /* the parameter wins */
	assert_int_equal(port("2525"), 2525);
	assert_int_equal(port("0"), 0);
	assert_int_equal(port("65536"), 0);
	assert_int_equal(port(""), 0);
	assert_int_equal(port("no-such-name"), 0);
	assert_int_equal(port("25x"), 0);
}

static void a_new_list_replaces_the_old(void **state)
{
	(void)state;
	port_set_known(SPAN("one=1 bad =7 two=x three=3"));
	assert_int_equal(port("one"), 1);
	assert_int_equal(port("three"), 3);
	assert_int_equal(port("two"), 0);
	port_set_known(SPAN("four=4"));
	assert_int_equal(port("one"), 0);
	assert_int_equal(port("four"), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers),
		cmocka_unit_test(a_new_list_replaces_the_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
