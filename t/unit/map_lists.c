/* Lists of tables ask the forms of an address in the order of virtual(5), canonical(5), access(5) and
 * transport(5), and lists of names and networks match as mydestination, relay_domains and mynetworks do
 * (postconf(5)). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "map/driver.h"
#include <unistd.h>

static struct arena a;

#define VIRTUAL                                                                                              \
	(MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT | MAPS_FIND_LOCALPART |                  \
	 MAPS_FIND_AT_DOMAIN)
#define ACCESS                                                                                               \
	(MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_DOMAIN | MAPS_FIND_PARENT_DOMAINS |                    \
	 MAPS_FIND_LOCALPART_AT)

static void finds(const char *table, const char *addr, unsigned forms, bool ours, const char *want,
		  const char *want_ext)
{
	struct maps *m;
	struct span value, ext;
	struct err e;
	assert_int_equal(maps_open("virtual_alias_maps", span_str(table), MAP_FOLD_KEY, &m, &e), RC_OK);
	enum rc rc = maps_find_addr(m, span_str(addr), forms, (struct address_extensions){ "+", true }, ours,
				    true, &a, &value, &ext, &e);
	if (rc != (want ? RC_OK : RC_NOTFOUND) ||
	    (want && (!span_is(value, want) || !span_is(ext, want_ext))))
		fail_msg("%s in %s: %s " SPAN_FMT " ext " SPAN_FMT, addr, table, rc_name(rc), SPAN_ARG(value),
			 SPAN_ARG(ext));
	maps_close(&m);
}

static void address_order(void **state)
{
	(void)state;
	finds("inline:{u+e@d=1,u@d=2,u+e=3,u=4,@d=5}", "U+E@D", VIRTUAL, true, "1", "");
	finds("inline:{u@d=2,u+e=3,u=4,@d=5}", "u+e@d", VIRTUAL, true, "2", "+e");
	finds("inline:{u+e=3,u=4,@d=5}", "u+e@d", VIRTUAL, true, "3", "");
	finds("inline:{u=4,@d=5}", "u+e@d", VIRTUAL, true, "4", "+e");
	finds("inline:{u=4,@d=5}", "u+e@d", VIRTUAL, false, "5", "");
	finds("inline:{u=4}", "u@d", VIRTUAL, false, NULL, "");
	finds("inline:{u=4}", "u", VIRTUAL, true, "4", "");
	finds("inline:{x=1} inline:{u@d=2}, inline:{u@d=3}", "u@d", VIRTUAL, false, "2", "");
	finds("", "u@d", VIRTUAL, false, NULL, "");
	finds("inline:{a.d.e=1,.d.e=2,u@=3}", "u@a.d.e", ACCESS, false, "1", "");
	finds("inline:{.d.e=2,u@=3}", "u@a.d.e", ACCESS, false, "2", "");
	finds("inline:{.e=2,u@=3}", "u@a.d.e", ACCESS, false, "2", "");
	finds("inline:{d.e=2,u@=3}", "u+x@a.d.e", ACCESS, false, "3", "+x");
	finds("inline:{{\"a b\"@d = q}}", "a b@d", VIRTUAL, false, "q", "");
	finds("inline:{{a b@d = q}}", "\"a b\"@d", VIRTUAL, false, "q", "");
}

static void patterns_see_whole_addresses_only(void **state)
{
	(void)state;
	finds("pcre:{{/^u@d$/ bad},{/^@d$/ bad},{/^u$/ bad}}", "u+e@d", VIRTUAL, true, NULL, "");
	finds("pcre:{{/^u\\+e@d$/ good}}", "u+e@d", VIRTUAL, true, "good", "");
}

static void a_failing_table_is_not_a_miss(void **state)
{
	(void)state;
	struct maps *m;
	struct span value;
	struct err e;
	assert_int_equal(maps_open("x", SPAN("texthash:/nonexistent inline:{a=b}"), MAP_FOLD_KEY, &m, &e),
			 RC_OK);
	assert_int_equal(maps_lookup(m, SPAN("a"), &a, &value, &e), RC_AGAIN);
	maps_close(&m);
	assert_int_equal(maps_open("x", SPAN("inline:{a={}}"), MAP_FOLD_KEY, &m, &e), RC_OK);
	maps_close(&m);
}

/* In its place: what stands before it is used. */
static void no_mistake_in_a_list_keeps_it_from_being_opened(void **state)
{
	static const char *const wrong[] = { "no-type", "hash:", "{inline:{a=b}}", "{inline:{b=c}",
					     "inline:{b=c" };
	char list[200];
	struct maps *m;
	struct span value;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		snprintf(list, sizeof list, "inline:{a=b}, %s inline:{b=c}", wrong[i]);
		assert_int_equal(maps_open("x", span_str(list), MAP_FOLD_KEY, &m, &e), RC_OK);
		assert_int_equal(maps_lookup(m, SPAN("a"), &a, &value, &e), RC_OK);
		assert_int_equal(maps_lookup(m, SPAN("b"), &a, &value, &e), RC_AGAIN);
		maps_close(&m);
		assert_int_equal(maps_check(span_str(list), &e), RC_SYNTAX);
	}
}

static void mistakes_are_found_before_anything_is_opened(void **state)
{
	static const struct {
		const char *list, *story;
	} wrong[] = {
		{ "hash:/a, nosuch:/b", "unknown table type \"nosuch\"" },
		{ "proxy:nosuch:/b", "unknown table type \"nosuch\"" },
		{ "debug:", "expecting \"type:name\" form instead of \"debug:\"" },
		{ "unionmap:{static:x, {pipemap:{hash:/a, nosuch:b}}}", "unknown table type \"nosuch\"" },
		{ "unionmap:{}", "no tables in { }" },
		{ "pipemap:static:x", "bad syntax: \"pipemap:static:x\"" },
		{ "inline:{x}", "missing '=' after attribute name: \"x\"" },
		{ "static:{x", "missing '}'" },
		{ "randmap:{}", "no answers to choose from" },
	};
	static const char *const nets[] = { "127.0.0.0/33", "10.0.0.1/8", "[::1",    "127.0.0.300",
					    "a, !",	    "1.2.3",	  "nosuch:x" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_int_equal(maps_check(span_str(wrong[i].list), &e), RC_SYNTAX);
		if (strstr(e.text, wrong[i].story) == NULL)
			fail_msg("%s: %s", wrong[i].list, e.text);
		assert_int_equal(match_list_check(span_str(wrong[i].list), false, &e), RC_SYNTAX);
	}
	for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
		if (match_list_check(span_str(nets[i]), true, &e) == RC_OK)
			fail_msg("%s passes", nets[i]);
	assert_int_equal(
	    maps_check(
		SPAN("hash:/no/such, proxy:mysql:/no/such.cf nis:x unionmap:{static:a,{inline:{a=b}}}"), &e),
	    RC_OK);
	assert_int_equal(
	    match_list_check(SPAN("127.0.0.0/8 [::1]/128 ![fe80::]/64 a.b .c /no/such hash:/x 192.0.2.1"),
			     true, &e),
	    RC_OK);
}

static void domain(const char *list, unsigned flags, const char *name, enum rc want)
{
	struct match_list *l;
	struct err e;
	assert_int_equal(match_list_open("mydestination", span_str(list), flags, &l, &e), RC_OK);
	enum rc rc = match_domain(l, span_str(name), &e);
	if (rc != want)
		fail_msg("%s in %s: %s", name, list, rc_name(rc));
	match_list_close(&l);
}

static void domains(void **state)
{
	(void)state;
	domain("a.b, C.d", MATCH_EXACT, "c.D", RC_OK);
	domain("a.b", MATCH_EXACT, "x.a.b", RC_NOTFOUND);
	domain("a.b", MATCH_PARENT, "x.a.b", RC_OK);
	domain("a.b", MATCH_PARENT, "xa.b", RC_NOTFOUND);
	domain("a.b", 0, "x.a.b", RC_NOTFOUND);
	domain(".a.b", 0, "x.a.b", RC_OK);
	domain(".a.b", 0, "a.b", RC_NOTFOUND);
	domain("!x.a.b .a.b", 0, "x.a.b", RC_NOTFOUND);
	domain("!x.a.b .a.b", 0, "y.a.b", RC_OK);
	domain("!!a.b", 0, "a.b", RC_OK);
	domain("inline:{a.b=1}", MATCH_PARENT, "x.a.b", RC_OK);
	domain("inline:{.a.b=1}", 0, "x.a.b", RC_OK);
	domain("inline:{a.b=1}", MATCH_EXACT, "x.a.b", RC_NOTFOUND);
	domain("!inline:{x=1} x y", 0, "x", RC_NOTFOUND);
	domain("pcre:{{/^x\\./ y}}", MATCH_EXACT, "x.y", RC_OK);
	domain("texthash:/nonexistent x", 0, "x", RC_AGAIN);
	domain("x texthash:/nonexistent", 0, "x", RC_OK);
	domain("", 0, "x", RC_NOTFOUND);
	domain("static:x", MATCH_EXACT, "", RC_NOTFOUND);
	domain("static:x", MATCH_EXACT | MATCH_EMPTY, "", RC_OK);
	domain("!pcre:{{/^$/ y}} static:x", MATCH_EXACT | MATCH_EMPTY, "", RC_NOTFOUND);
	domain("inline:{x=1} x", MATCH_EXACT | MATCH_EMPTY, "", RC_NOTFOUND);
}

static void host(const char *list, const char *name, const char *addr, enum rc want)
{
	struct match_list *l;
	struct err e;
	assert_int_equal(match_list_open("mynetworks", span_str(list), MATCH_PARENT, &l, &e), RC_OK);
	enum rc rc = match_host(l, span_str(name), span_str(addr), &e);
	if (rc != want)
		fail_msg("%s %s in %s: %s", name, addr, list, rc_name(rc));
	match_list_close(&l);
}

static void hosts(void **state)
{
	(void)state;
	host("127.0.0.0/8 [::1]/128", "localhost", "127.0.0.1", RC_OK);
	host("127.0.0.0/8 [::1]/128", "localhost", "::1", RC_OK);
	host("127.0.0.0/8 [::1]", "x", "::2", RC_NOTFOUND);
	host("!10.0.0.1 10.0.0.0/8", "x", "10.0.0.1", RC_NOTFOUND);
	host("!10.0.0.1 10.0.0.0/8", "x", "10.0.0.2", RC_OK);
	host("10.0.0.1", "x", "10.0.0.1", RC_OK);
	host("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", "x", "192.0.2.1", RC_NOTFOUND); /* Debian's */
	host("example.com", "mail.example.com", "192.0.2.1", RC_OK);
	host("cidr:{{192.0.2.0/24 x}}", "unknown", "192.0.2.1", RC_OK);
	host("inline:{192.0.2.1=x}", "unknown", "192.0.2.1", RC_OK);
	host("10.0.0.1/8", "x", "10.0.0.1",
	     RC_AGAIN); /* host bits: says nothing rather than something wrong */
	host("10.0.0.1/8", "x", "192.0.2.1", RC_AGAIN);
	/* no name of a table, as an IPv6 address without brackets is none: it says nothing, and the process goes on */
	host("10.0.0.1 ::1", "x.a.b", "10.0.0.1", RC_OK);
	host("10.0.0.1 ::1", "x.a.b", "::1", RC_AGAIN);
	host("hash: x.a.b", "x.a.b", "::1", RC_AGAIN);
	host("!:x", "x.a.b", "::1", RC_AGAIN);
	domain("static: x", MATCH_EXACT, "x", RC_AGAIN);
}

static void files_hold_words(void **state)
{
	char path[] = "/tmp/map_lists.XXXXXX", list[100];
	int fd = mkstemp(path);
	(void)state;
	assert_true(fd >= 0);
	dprintf(fd, "# ours\na.b c.d\n  !e.f\n\n.g.h\n");
	close(fd);
	domain(path, 0, "c.d", RC_OK);
	domain(path, 0, "x.g.h", RC_OK);
	domain(path, 0, "nine", RC_NOTFOUND);
	snprintf(list, sizeof list, "!%s c.d nine", path);
	domain(list, 0, "c.d", RC_NOTFOUND);
	domain(list, 0, "e.f", RC_OK); /* excluded from an exclusion */
	domain(list, 0, "nine", RC_OK);
	unlink(path);
	struct match_list *l;
	struct err e;
	/* What a file that is gone would have said is not known; what stands before it is. */
	domain(list, 0, "nine", RC_AGAIN);
	snprintf(list, sizeof list, "nine %s", path);
	domain(list, 0, "nine", RC_OK);
	domain("nine !", 0, "ten", RC_AGAIN);
	domain("nine {ten", 0, "nine", RC_OK);
	domain("nine {ten", 0, "ten", RC_AGAIN);
	assert_int_equal(match_list_open("mynetworks", span_str(path), 0, &l, &e), RC_OK);
	assert_int_equal(match_host(l, SPAN("h"), SPAN("192.0.2.1"), &e), RC_AGAIN);
	match_list_close(&l);
}

static int start(void **state)
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_order),
		cmocka_unit_test(patterns_see_whole_addresses_only),
		cmocka_unit_test(a_failing_table_is_not_a_miss),
		cmocka_unit_test(no_mistake_in_a_list_keeps_it_from_being_opened),
		cmocka_unit_test(mistakes_are_found_before_anything_is_opened),
		cmocka_unit_test(domains),
		cmocka_unit_test(hosts),
		cmocka_unit_test(files_hold_words),
	};
	return cmocka_run_group_tests(tests, start, end);
}
