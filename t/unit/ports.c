/* Names of ports come from known_tcp_ports before services(5); a list with a mistake changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "conf/ports.h"

static void port_is(const char *text, int expected)
{
	uint16_t port = 0;
	bool found = port_parse(span_str(text), &port);

	assert_int_equal(found ? port : -1, expected);
}

static void names_and_numbers(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(port_names_set("lmtp=24, smtp=2525 ,a = b=465,\n submission=587", &e), RC_OK);
	port_is("25", 25);
	port_is("0", 0);
	port_is("65535", 65535);
	port_is("65536", -1);
	port_is("smtp", 2525);
	port_is("a", 465);
	port_is("b", 465);
	port_is("submission", 587);
	port_is("no-such-service", -1);
	port_is("", -1);
	port_is("smtp ", -1);
	port_is("pop3", 110); /* of services(5) */
	assert_int_equal(port_names_set("", &e), RC_OK);
	port_is("smtp", 25);
}

static void wrong_lists(void **state)
{
	static const struct {
		const char *list, *story;
	} rows[] = {
		{ "smtp", "known_tcp_ports: name=port expected, not \"smtp\"" },
		{ "smtp=", "known_tcp_ports: name=port expected, not \"smtp=\"" },
		{ "smtp=x", "known_tcp_ports: name=port expected, not \"smtp=x\"" },
		{ "smtp=70000", "known_tcp_ports: name=port expected, not \"smtp=70000\"" },
		{ "smtp=25 lmtp=24", "known_tcp_ports: bad name of a port in \"smtp=25 lmtp=24\"" },
		{ "=25", "known_tcp_ports: bad name of a port in \"=25\"" },
		{ "a==25", "known_tcp_ports: bad name of a port in \"a==25\"" },
		{ "25=25", "known_tcp_ports: bad name of a port in \"25=25\"" },
		{ "a-name-that-is-longer-than-any-service-has=25",
		  "known_tcp_ports: too many or too long names" },
	};
	struct err e;

	(void)state;
	assert_int_equal(port_names_set("kept=1", &e), RC_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_not_equal(port_names_set(rows[i].list, &e), RC_OK);
		assert_string_equal(e.text, rows[i].story);
		port_is("kept", 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names_and_numbers),
					    cmocka_unit_test(wrong_lists) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
