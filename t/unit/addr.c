/* t/unit/addr.c - net/addr.h: addresses and networks as text and as socket addresses (RFC 4291 section 2.2,
 * RFC 5321 section 4.1.3), and names for reverse look-ups (RFC 1035 section 3.5, RFC 3596 section 2.5). */
#include "net/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void parses_and_prints(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
	} rows[] = {
		{ "192.0.2.1", "192.0.2.1" },
		{ "[192.0.2.1]", "192.0.2.1" },
		{ "2001:DB8::1", "2001:db8::1" },
		{ "[IPv6:2001:db8::1]", "2001:db8::1" },
		{ "ipv6:::1", "::1" },
		{ "::ffff:192.0.2.1", "192.0.2.1" },
		{ "fe80::1%3", "fe80::1%3" },
		{ "", NULL },
		{ "192.0.2", NULL },
		{ "192.0.2.256", NULL },
		{ "192.0.2.1 ", NULL },
		{ "0x7f.1", NULL },
		{ "::1::", NULL },
		{ "[::1", NULL },
		{ "fe80::1%eth0", NULL },
		{ "IPv6:192.0.2.1", NULL },
		{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff:0000", NULL },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct inet_addr a;
		char text[INET_TEXT_MAX];
		enum rc rc = inet_addr_parse(span_str(rows[i].in), &a);
		assert_int_equal(rc, rows[i].out != NULL ? RC_OK : RC_SYNTAX);
		if (rc != RC_OK)
			continue;
		inet_addr_text(&a, text);
		assert_string_equal(text, rows[i].out);
	}
	struct inet_addr a;
	assert_int_equal(inet_addr_parse(span_make("1.2.3.4\0x", 9), &a), RC_SYNTAX);
}

static void survives_a_socket_address(void **state)
{
	static const char *const rows[] = { "192.0.2.1", "2001:db8::1", "fe80::1%7" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct inet_addr a, b;
		struct sockaddr_storage ss;
		uint16_t port;
		assert_int_equal(inet_addr_parse(span_str(rows[i]), &a), RC_OK);
		(void)inet_addr_to_sockaddr(&a, 2525, &ss);
		inet_addr_from_sockaddr(&ss, &b, &port);
		assert_true(inet_addr_eq(&a, &b));
		assert_int_equal(port, 2525);
	}
}

static void networks(void **state)
{
	static const struct {
		const char *net, *addr;
		bool has;
	} rows[] = {
		{ "192.0.2.0/24", "192.0.2.255", true },
		{ "192.0.2.0/24", "192.0.3.0", false },
		{ "192.0.2.128/25", "192.0.2.127", false },
		{ "0.0.0.0/0", "203.0.113.9", true },
		{ "192.0.2.7", "192.0.2.7", true },
		{ "[2001:db8::]/33", "2001:db8:7fff::1", true },
		{ "[2001:db8::]/33", "2001:db8:8000::1", false },
		{ "[2001:db8::/33]", "2001:db8:7fff::1", true },
		{ "192.0.2.0/24", "::1", false },
		{ "127.0.0.0/8", "::ffff:127.0.0.1", true },
		{ "[::ffff:127.0.0.0]/104", "127.0.0.1", true },
		{ "[::ffff:127.0.0.0]/104", "128.0.0.1", false },
		{ "[::ffff:127.0.0.0]/104", "::1", false },
		{ "::ffff:0.0.0.0/96", "192.0.2.1", true },
		{ "::ffff:192.0.2.1", "192.0.2.1", true },
	};
	struct err e;
	struct inet_net n;
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct inet_addr a;
		assert_int_equal(inet_net_parse(span_str(rows[i].net), &n, &e), RC_OK);
		assert_int_equal(inet_addr_parse(span_str(rows[i].addr), &a), RC_OK);
		assert_int_equal(inet_net_has(&n, &a), rows[i].has);
	}
	assert_int_equal(inet_net_parse(SPAN("192.0.2.1/24"), &n, &e), RC_SYNTAX);
	assert_string_equal(e.text, "non-null host address bits in \"192.0.2.1/24\", perhaps you should use "
				    "\"192.0.2.0/24\" instead");
	static const struct {
		const char *net, *why;
	} wrong[] = {
		{ "192.0.2.0/33", "bad mask length in \"192.0.2.0/33\"" },
		{ "192.0.2.0/", "bad mask value in \"192.0.2.0/\"" },
		{ "192.0.2.0/8/8", "bad mask value in \"192.0.2.0/8/8\"" },
		{ "/24", "bad network value in \"/24\"" },
		{ "[]", "bad address pattern: \"\"" },
		{ "10", "bad address pattern: \"10\"" },
		{ "[10.0.0.1", "missing ']' character after \"[10.0.0.1\"" },
		{ "[10.0.0.1]x", "garbage after \"[10.0.0.1]\"" },
		{ "[10.0.0.1]/x", "bad mask value in \"10.0.0.1/x\"" },
	};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(inet_net_parse(span_str(wrong[i].net), &n, &e), RC_SYNTAX);
		assert_string_equal(e.text, wrong[i].why);
	}
}

static void reverse_names(void **state)
{
	struct inet_addr a;
	char name[80];
	(void)state;
	assert_int_equal(inet_addr_parse(SPAN("192.0.2.1"), &a), RC_OK);
	inet_addr_reverse_name(&a, name);
	assert_string_equal(name, "1.2.0.192.in-addr.arpa");
	assert_int_equal(inet_addr_parse(SPAN("2001:db8::567:89ab"), &a), RC_OK);
	inet_addr_reverse_name(&a, name);
	assert_string_equal(name, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_and_prints),
		cmocka_unit_test(survives_a_socket_address),
		cmocka_unit_test(networks),
		cmocka_unit_test(reverse_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
