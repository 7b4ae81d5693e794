/* Pattern tables follow regexp_table(5), pcre_table(5) and cidr_table(5): order, negation, if/endif, flags,
 * $number; unusable rules are left out and the rest stays; a pattern that explodes is given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "map/driver.h"

static struct arena a;

struct expect {
	const char *table, *key, *value;
};

static void all_hold(const struct expect *x, size_t n, unsigned flags)
{
	for (size_t i = 0; i < n; i++) {
		struct map *m;
		struct span value;
		struct err e;
		assert_int_equal(map_open(span_str(x[i].table), flags, &m, &e), RC_OK);
		assert_true(map_is_pattern(m));
		enum rc rc = map_lookup(m, span_str(x[i].key), &a, &value, &e);
		if (rc != (x[i].value ? RC_OK : RC_NOTFOUND) || (x[i].value && !span_is(value, x[i].value)))
			fail_msg("%s of %s: %s " SPAN_FMT, x[i].key, x[i].table, rc_name(rc),
				 SPAN_ARG(value));
		map_close(&m);
	}
}

#define BOTH(rules, key, value)                                                                              \
	{ "regexp:" rules, key, value },                                                                     \
	{                                                                                                    \
		"pcre:" rules, key, value                                                                    \
	}

static void both_engines(void **state)
{
	(void)state;
	static const struct expect x[] = {
		BOTH("{{/^(a+)(b)?x$/ got $1-${2}-$(1) $$}}", "aax", "got aa--aa $"),
		BOTH("{{/^(a+)(b)?x$/ got $1-${2}}}", "abx", "got a-b"),
		BOTH("{{/A/ x}}", "a", "x"),   /* case does not count ... */
		BOTH("{{/A/i x}}", "a", NULL), /* ... but with this flag */
		BOTH("{{!/[0-9]/ none},{/./ some}}", "a", "none"),
		BOTH("{{!/[0-9]/ none},{/./ some}}", "1", "some"),
		BOTH("{{if /1/},{/2/ x},{endif},{/3/ y}}", "12", "x"),
		BOTH("{{if /1/},{/2/ x},{endif},{/2/ y}}", "2", "y"),
		BOTH("{{if !/1/},{/2/ x},{endif},{/2/ y}}", "12", "y"),
		BOTH("{{if /1/},{if /2/},{/3/ x},{endif},{/4/ z},{endif},{/./ y}}", "14", "z"),
		BOTH("{{IF /1/},{/3/ x}}", "3", NULL), /* no ENDIF */
		BOTH("{{endif},{/1/ x}}", "1", "x"),
		BOTH("{{/(/ bad},{/1},{/1/q bad},{huh},{/1/ $2},{/1/ ${},{/1/ $x},{!/(2)/ $1},{/1/ good}}",
		     "1", NULL),
		BOTH("{{/(/ bad},{/1},{/1/q bad},{huh},{/1/ $2},{/1/ $},{/1/ $x},{!/(2)/ $1},{/1/ good}}",
		     "1", "good"),
		BOTH("{{,a, /x/ y}}", "a", "/x/ y"),
		BOTH("{{/a\\/b/ slash}}", "a/b", "slash"),
		BOTH("{{/a/ $1$1$1}}", "a", NULL),
	};
	/* rules with unbalanced braces cannot be told apart in a name: the whole is refused */
	struct map *m;
	assert_int_not_equal(map_open(span_str(x[24].table), 0, &m, NULL), RC_OK);
	map_close(&m);
	all_hold(x, 24, MAP_FOLD_KEY);
	all_hold(x + 26, ARRAY_LEN(x) - 26, MAP_FOLD_KEY);
}

static void each_engine(void **state)
{
	(void)state;
	static const struct expect x[] = {
		{ "regexp:{{/a+b/x x}}", "a+b", "x" }, /* basic syntax */
		{ "regexp:{{/^b/m x}}", "a\nb", "x" },	     { "regexp:{{/^b/ x}}", "a\nb", NULL },
		{ "pcre:{{/^b/m x}}", "a\nb", "x" },	     { "pcre:{{/a.b/ x}}", "a\nb", "x" },
		{ "pcre:{{/a.b/s x}}", "a\nb", NULL },	     { "pcre:{{/a b/x x}}", "ab", "x" },
		{ "pcre:{{/(a+)/U $1}}", "aaa", "a" },	     { "pcre:{{/b/A x}}", "ab", NULL },
		{ "pcre:{{/(?!x)(a)\\Kb/ $1}}", "ab", "a" },
	};
	all_hold(x, ARRAY_LEN(x), 0);
}

static void substitution_can_be_forbidden(void **state)
{
	(void)state;
	static const struct expect x[] = {
		BOTH("{{/(.)/ $1},{/./ plain}}", "a", "plain"),
	};
	all_hold(x, ARRAY_LEN(x), MAP_NO_REGSUB);
	/* also when only the question forbids it (proxymap) */
	struct map *m;
	struct span value;
	assert_int_equal(map_open(SPAN("pcre:{{/(.)/ $1},{/./ plain}}"), 0, &m, NULL), RC_OK);
	assert_int_equal(map_ask(m, MAP_NO_REGSUB, SPAN("a"), &a, &value, NULL), RC_OK);
	assert_true(span_is(value, "plain"));
	map_close(&m);
}

static void explosion_is_given_up(void **state)
{
	(void)state;
	static const struct expect x[] = {
		{ "pcre:{{/^(a+)+$/ bad},{/./ next}}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
		  "next" },
	};
	all_hold(x, 1, 0);
}

static void cidr_rules(void **state)
{
	(void)state;
#define RULES                                                                                                \
	"cidr:{{10.0.0.0/8 ten},{!192.168.0.0/16 notlan},{if 192.168.1.0/24},{192.168.1.7 "                  \
	"seven},{endif},{192.168.0.1/16 bad},"                                                               \
	"{[2001:db8::]/32 six},{2001:db9::1 one},{1.2.3/24 z},{192.168.0.0/16},{x y},{192.168.2.0/24 two}}"
	static const struct expect x[] = {
		{ RULES, "10.1.1.1", "ten" },	     { RULES, "192.168.1.7", "seven" },
		{ RULES, "192.168.1.8", NULL },	     { RULES, "2001:db8::5", "six" },
		{ RULES, "2001:DB9:0:0::1", "one" }, { RULES, "8.8.8.8", "notlan" },
		{ RULES, "example.com", NULL },	     { RULES, "[10.1.1.1]", NULL },
		{ RULES, "192.168.2.2", "two" },
	};
	all_hold(x, ARRAY_LEN(x), 0);
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
		cmocka_unit_test(both_engines),
		cmocka_unit_test(each_engine),
		cmocka_unit_test(substitution_can_be_forbidden),
		cmocka_unit_test(explosion_is_given_up),
		cmocka_unit_test(cidr_rules),
	};
	return cmocka_run_group_tests(tests, start, end);
}
