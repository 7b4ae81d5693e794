/* t/unit/dns_parse.c - net/dns.h: answers in wire format, good and hostile (RFC 1035 section 4.1, RFC 7505):
 * aliases are followed within the answer, loops end, records of others are not taken, names with odd bytes
 * are left out. */
#include "base/buf.h"
#include "net/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct buf m;
static struct arena a;
static struct dns_answer out;
static struct err e;

static void put16(unsigned v)
{
	buf_putc(&m, (char)(v >> 8));
	buf_putc(&m, (char)v);
}

static void put_name(const char *name)
{
	struct span rest = span_str(name), label;
	while (span_next(&rest, '.', &label)) {
		buf_putc(&m, (char)label.n);
		buf_append(&m, label);
	}
	buf_putc(&m, 0);
}

/* A header with counts, and the question. */
static void begin(const char *name, unsigned type, unsigned flags, unsigned answers)
{
	buf_reset(&m);
	put16(7);
	put16(flags);
	put16(1);
	put16(answers);
	put16(0);
	put16(0);
	put_name(name);
	put16(type);
	put16(1);
}

static void put_rr(const char *owner, unsigned type, const char *data, size_t n)
{
	put_name(owner);
	put16(type);
	put16(1);
	put16(0);
	put16(300);
	put16((unsigned)n);
	buf_append(&m, span_make(data, n));
}

static void put_rr_name(const char *owner, unsigned type, const char *prefix, size_t n, const char *target)
{
	struct buf keep = m;
	buf_init(&m, 1000);
	buf_append(&m, span_make(prefix, n));
	put_name(target);
	struct buf data = m;
	m = keep;
	put_rr(owner, type, data.p, data.n);
	buf_release(&data);
}

static enum rc parse(enum dns_type type)
{
	return dns_parse(buf_span(&m), type, &a, &out, &e);
}

static void takes_addresses_of_the_name_asked(void **state)
{
	(void)state;
	begin("a.test", DNS_A, 0x8180, 3);
	put_rr("A.test", DNS_A, "\300\0\2\1", 4);
	put_rr("evil.test", DNS_A, "\300\0\2\2", 4);
	put_rr("a.test", DNS_A, "\300\0\2\3", 4);
	assert_int_equal(parse(DNS_A), RC_OK);
	assert_int_equal(out.n, 2);
	assert_int_equal(out.rr[1].addr.b[3], 3);
	assert_int_equal(out.rr[0].ttl, 300);
}

/* net/addr.h: it is an IPv4 address, which loop detection and verified names have to see. */
static void takes_ipv4_out_of_ipv6(void **state)
{
	(void)state;
	begin("a.test", DNS_AAAA, 0x8180, 1);
	put_rr("a.test", DNS_AAAA, "\0\0\0\0\0\0\0\0\0\0\377\377\300\0\2\1", 16);
	assert_int_equal(parse(DNS_AAAA), RC_OK);
	assert_int_equal(out.rr[0].addr.family, AF_INET);
	assert_memory_equal(out.rr[0].addr.b, "\300\0\2\1", 4);
}

static void follows_aliases_and_survives_loops(void **state)
{
	(void)state;
	begin("a.test", DNS_A, 0x8180, 4);
	put_rr_name("b.test", 5, "", 0, "c.test");
	put_rr_name("a.test", 5, "", 0, "b.test");
	put_rr("c.test", DNS_A, "\300\0\2\1", 4);
	put_rr("a.test", DNS_A, "\300\0\2\2", 4);
	assert_int_equal(parse(DNS_A), RC_OK);
	assert_int_equal(out.n, 1);
	assert_int_equal(out.rr[0].addr.b[3], 1);
	begin("a.test", DNS_A, 0x8180, 2);
	put_rr_name("a.test", 5, "", 0, "b.test");
	put_rr_name("b.test", 5, "", 0, "a.test");
	assert_int_equal(parse(DNS_A), RC_NOTFOUND);
	assert_int_equal(e.sys, 1);
}

static void mx_null_mx_and_odd_names(void **state)
{
	(void)state;
	begin("a.test", DNS_MX, 0x8180, 3);
	put_rr_name("a.test", DNS_MX, "\0\12", 2, "mx.test");
	put_rr_name("a.test", DNS_MX, "\0\13", 2, "bad name.test");
	put_rr("a.test", DNS_MX, "\0\0\0", 3);
	assert_int_equal(parse(DNS_MX), RC_OK);
	assert_int_equal(out.n, 2);
	assert_true(span_is(out.rr[0].target, "mx.test"));
	assert_int_equal(out.rr[0].pref, 10);
	assert_int_equal(out.rr[1].target.n, 0);
}

static void txt_is_joined_and_bounded(void **state)
{
	(void)state;
	begin("a.test", DNS_TXT, 0x8180, 1);
	put_rr("a.test", DNS_TXT, "\3v=s\2pf", 7);
	assert_int_equal(parse(DNS_TXT), RC_OK);
	assert_true(span_is(out.rr[0].data, "v=spf"));
	begin("a.test", DNS_TXT, 0x8180, 1);
	put_rr("a.test", DNS_TXT, "\3v=s\7pf", 7);
	assert_int_equal(parse(DNS_TXT), RC_SYNTAX);
}

static void tells_no_name_from_no_data_and_failure(void **state)
{
	(void)state;
	begin("a.test", DNS_A, 0x8183, 0);
	assert_int_equal(parse(DNS_A), RC_NOTFOUND);
	assert_int_equal(e.sys, 0);
	begin("a.test", DNS_A, 0x8180, 0);
	assert_int_equal(parse(DNS_A), RC_NOTFOUND);
	assert_int_equal(e.sys, 1);
	begin("a.test", DNS_A, 0x8182, 0);
	assert_int_equal(parse(DNS_A), RC_AGAIN);
}

static void refuses_nonsense(void **state)
{
	(void)state;
	begin("a.test", DNS_A, 0x0180, 0); /* a question */
	assert_int_equal(parse(DNS_A), RC_SYNTAX);
	begin("a.test", DNS_MX, 0x8180, 0); /* to another question */
	assert_int_equal(parse(DNS_A), RC_SYNTAX);
	begin("a.test", DNS_A, 0x8180, 1);
	put_rr("a.test", DNS_A, "\300\0\2", 3); /* an address of three bytes */
	assert_int_equal(parse(DNS_A), RC_SYNTAX);
	begin("a.test", DNS_A, 0x8180, 1);
	put_rr("a.test", DNS_A, "\300\0\2\1", 4);
	for (size_t n = 0; n < m.n; n++) /* cut anywhere */
		assert_int_not_equal(dns_parse(span_head(buf_span(&m), n), DNS_A, &a, &out, &e), RC_OK);
	assert_int_equal(dns_query(SPAN(""), DNS_A, &a, &out, deadline_s(1), &e), RC_SYNTAX);
	assert_int_equal(dns_query(SPAN("x.test"), DNS_A, &a, &out, deadline_s(1), &e), RC_AGAIN);
}

static void takes_no_more_than_the_limit(void **state)
{
	(void)state;
	begin("a.test", DNS_A, 0x8180, 1000);
	for (int i = 0; i < 1000; i++)
		put_rr("a.test", DNS_A, "\300\0\2\1", 4);
	assert_int_equal(parse(DNS_A), RC_OK);
	assert_int_equal(out.n, DNS_RR_MAX);
}

static int setup(void **state)
{
	(void)state;
	buf_init(&m, 65535);
	arena_init(&a);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_release(&m);
	arena_release(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_addresses_of_the_name_asked),
		cmocka_unit_test(takes_ipv4_out_of_ipv6),
		cmocka_unit_test(follows_aliases_and_survives_loops),
		cmocka_unit_test(mx_null_mx_and_odd_names),
		cmocka_unit_test(txt_is_joined_and_bounded),
		cmocka_unit_test(tells_no_name_from_no_data_and_failure),
		cmocka_unit_test(refuses_nonsense),
		cmocka_unit_test(takes_no_more_than_the_limit),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
