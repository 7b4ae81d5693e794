/* Claim: a PROXY header (proxy-protocol.txt of haproxy, versions 1 and 2) names addresses in their plain form, an IPv4 address within an IPv6 one
 * is an IPv4 address in both versions, and what breaks the form is refused. */
#include "../../smtpd/proxy.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void version_1(void **state)
{
	static const struct {
		const char *line, *src; /* src NULL: refused; "" none told */
	} rows[] = {
		{ "PROXY TCP4 192.0.2.1 198.51.100.7 51000 25", "192.0.2.1" },
		{ "PROXY TCP6 2001:db8::1 ::1 51000 25", "2001:db8::1" },
		{ "PROXY TCP6 ::ffff:192.0.2.1 ::1 51000 25", "192.0.2.1" },
		{ "PROXY UNKNOWN", "" },
		{ "PROXY TCP4 2001:db8::1 ::1 51000 25", NULL },
		{ "PROXY TCP6 192.0.2.1 ::1 51000 25", NULL },
		{ "PROXY TCP6 [2001:db8::1] ::1 51000 25", NULL },
		{ "PROXY TCP6 IPv6:2001:db8::1 ::1 51000 25", NULL },
		{ "PROXY TCP6 fe80::1%3 ::1 51000 25", NULL },
		{ "PROXY TCP4 192.0.2.1 198.51.100.7 051000 25", NULL },
		{ "PROXY TCP4 192.0.2.1 198.51.100.7 65536 25", NULL },
		{ "PROXY TCP4 192.0.2.1 198.51.100.7", NULL },
		{ " PROXY UNKNOWN", NULL },
		{ "PROXYUNKNOWN", NULL },
		{ "EHLO me", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct proxy_header h;
		char text[INET_TEXT_MAX];
		enum rc rc = proxy_v1(span_str(rows[i].line), &h);

		assert_int_equal(rc, rows[i].src != NULL ? RC_OK : RC_SYNTAX);
		if (rc != RC_OK)
			continue;
		assert_int_equal(h.local, rows[i].src[0] == '\0');
		if (h.local)
			continue;
		inet_addr_text(&h.src, text);
		assert_string_equal(text, rows[i].src);
		assert_int_equal(h.src_port, 51000);
	}
}

static void version_2(void **state)
{
	static const char head[] = "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24";
	static const char body[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1"
				   "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\xc7\x38\0\x19";
	struct proxy_header h;
	char text[INET_TEXT_MAX];
	size_t n;

	(void)state;
	assert_int_equal(proxy_v2_length(span_make(head, PROXY_V2_HEAD), &n), RC_OK);
	assert_int_equal(n, sizeof(body) - 1);
	assert_int_equal(proxy_v2(span_make(head, PROXY_V2_HEAD), span_make(body, n), &h), RC_OK);
	inet_addr_text(&h.src, text);
	assert_string_equal(text, "192.0.2.1");
	assert_int_equal(h.src.family, AF_INET);
	inet_addr_text(&h.dst, text);
	assert_string_equal(text, "2001:db8::1");
	assert_int_equal(h.dst_port, 25);
	assert_int_equal(proxy_v2(span_make(head, PROXY_V2_HEAD), span_make(body, n - 1), &h), RC_SYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(version_1), cmocka_unit_test(version_2) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
