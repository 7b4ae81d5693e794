/* Claim: spans compare, search, split and convert by length alone, accept any byte, and never read past the
 * end. */
#include "base/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void span_compares_by_bytes_and_length(void **state)
{
	(void)state;
	assert_true(span_eq(SPAN("a\0b"), span_make("a\0b", 3)));
	assert_false(span_eq(SPAN("a\0b"), SPAN("a\0c")));
	assert_false(span_eq(SPAN("ab"), SPAN("abc")));
	assert_true(span_eq(SPAN_NONE, SPAN("")));
	assert_true(span_eq(span_str(NULL), SPAN_NONE));
	assert_true(span_is(SPAN("abc"), "abc"));
	assert_false(span_is(SPAN("abc"), "ABC"));
	assert_true(span_cmp(SPAN("ab"), SPAN("abc")) < 0);
	assert_true(span_cmp(SPAN("b"), SPAN("abc")) > 0);
	assert_true(span_cmp(SPAN("\xff"), SPAN("a")) > 0); /* as memcmp(): unsigned */
	assert_int_equal(span_cmp(SPAN_NONE, SPAN("")), 0);
}

static void span_folds_ascii_only(void **state)
{
	(void)state;
	assert_true(span_eq_ci(SPAN("MAIL From"), SPAN("mail fROM")));
	assert_true(span_is_ci(SPAN("EHLO"), "ehlo"));
	assert_false(span_eq_ci(SPAN("\xc4"), SPAN("\xe4"))); /* Latin-1 A and a with diaeresis */
	assert_false(span_eq_ci(SPAN("["), SPAN("{")));	      /* differ by 0x20 but are no letters */
	assert_true(span_cmp_ci(SPAN("ABC"), SPAN("abd")) < 0);
	assert_int_equal(span_cmp_ci(SPAN("ABC"), SPAN("abc")), 0);
}

static void span_tests_both_ends(void **state)
{
	(void)state;
	assert_true(span_starts(SPAN("abc"), SPAN("ab")));
	assert_true(span_starts(SPAN("abc"), SPAN("")));
	assert_false(span_starts(SPAN("a"), SPAN("ab")));
	assert_true(span_starts_ci(SPAN("From: x"), SPAN("FROM:")));
	assert_true(span_ends(SPAN("host.example"), SPAN(".example")));
	assert_false(span_ends(SPAN("ple"), SPAN(".example")));
	assert_true(span_ends_ci(SPAN("host.EXAMPLE"), SPAN(".example")));
}

static void span_searches(void **state)
{
	(void)state;
	assert_int_equal(span_chr(SPAN("a@b@c"), '@'), 1);
	assert_int_equal(span_rchr(SPAN("a@b@c"), '@'), 3);
	assert_int_equal(span_chr(SPAN("abc"), '@'), -1);
	assert_int_equal(span_chr(SPAN_NONE, '@'), -1);
	assert_int_equal(span_rchr(SPAN_NONE, '@'), -1);
	assert_int_equal(span_find(SPAN("xxabab"), SPAN("bab")), 3);
	assert_int_equal(span_find(SPAN("ab"), SPAN("abc")), -1);
	assert_int_equal(span_find(SPAN("ab"), SPAN("")), 0);
	assert_int_equal(span_find(SPAN_NONE, SPAN("a")), -1);
	assert_int_equal(span_find_ci(SPAN("xxAbAB"), SPAN("bAb")), 3);
	assert_int_equal(span_find_ci(SPAN("xxAbA"), SPAN("bab")), -1);
}

static void span_cuts_stay_inside(void **state)
{
	(void)state;
	assert_true(span_is(span_skip(SPAN("abc"), 1), "bc"));
	assert_int_equal(span_skip(SPAN("abc"), 9).n, 0);
	assert_true(span_is(span_head(SPAN("abc"), 2), "ab"));
	assert_int_equal(span_head(SPAN("abc"), 9).n, 3);
	assert_true(span_is(span_trim(SPAN(" \t a b\r\n")), "a b"));
	assert_int_equal(span_trim(SPAN(" \r\n\t")).n, 0);
	assert_int_equal(span_trim(SPAN_NONE).n, 0);
}

static size_t count_items(const char *text)
{
	struct span rest = span_str(text), item;
	size_t n = 0;

	while (span_next(&rest, ',', &item))
		n++;
	return n;
}

static void span_next_counts_empty_items(void **state)
{
	struct span rest = SPAN("a,,b"), item;

	(void)state;
	assert_true(span_next(&rest, ',', &item) && span_is(item, "a"));
	assert_true(span_next(&rest, ',', &item) && span_is(item, ""));
	assert_true(span_next(&rest, ',', &item) && span_is(item, "b"));
	assert_false(span_next(&rest, ',', &item));
	assert_int_equal(count_items(""), 0);
	assert_int_equal(count_items(","), 1);
	assert_int_equal(count_items("a,"), 1); /* a separator at the end opens no item */
}

static void span_next_word_joins_separators(void **state)
{
	struct span rest = SPAN(" ,a, b ,"), word;

	(void)state;
	assert_true(span_next_word(&rest, ", ", &word) && span_is(word, "a"));
	assert_true(span_next_word(&rest, ", ", &word) && span_is(word, "b"));
	assert_false(span_next_word(&rest, ", ", &word));
}

static void span_to_u64_takes_whole_numbers_only(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_int_equal(span_to_u64(SPAN(""), 9, &v), RC_SYNTAX);
	assert_int_equal(span_to_u64(SPAN("-1"), 9, &v), RC_SYNTAX);
	assert_int_equal(span_to_u64(SPAN("+1"), 9, &v), RC_SYNTAX);
	assert_int_equal(span_to_u64(SPAN(" 1"), 9, &v), RC_SYNTAX);
	assert_int_equal(span_to_u64(SPAN("99x"), 9, &v), RC_SYNTAX);
	assert_int_equal(span_to_u64(SPAN("10"), 9, &v), RC_LIMIT);
	assert_int_equal(span_to_u64(SPAN("18446744073709551616"), UINT64_MAX, &v), RC_LIMIT);
	assert_int_equal(v, 7); /* untouched by all of these */
	assert_int_equal(span_to_u64(SPAN("18446744073709551615"), UINT64_MAX, &v), RC_OK);
	assert_true(v == UINT64_MAX);
	assert_int_equal(span_to_u64(SPAN("0009"), 9, &v), RC_OK);
	assert_int_equal(v, 9);
}

static void span_cstr_refuses_inner_nul(void **state)
{
	char dst[4];

	(void)state;
	assert_int_equal(span_cstr(SPAN("a\0b"), dst, sizeof(dst)), RC_SYNTAX);
	assert_int_equal(span_cstr(SPAN("abcd"), dst, sizeof(dst)), RC_LIMIT);
	assert_int_equal(span_cstr(SPAN("abc"), dst, 0), RC_LIMIT);
	assert_int_equal(span_cstr(SPAN("abc"), dst, sizeof(dst)), RC_OK);
	assert_string_equal(dst, "abc");
	assert_int_equal(span_cstr(SPAN_NONE, dst, sizeof(dst)), RC_OK);
	assert_string_equal(dst, "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(span_compares_by_bytes_and_length),
		cmocka_unit_test(span_folds_ascii_only),
		cmocka_unit_test(span_tests_both_ends),
		cmocka_unit_test(span_searches),
		cmocka_unit_test(span_cuts_stay_inside),
		cmocka_unit_test(span_next_counts_empty_items),
		cmocka_unit_test(span_next_word_joins_separators),
		cmocka_unit_test(span_to_u64_takes_whole_numbers_only),
		cmocka_unit_test(span_cstr_refuses_inner_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
