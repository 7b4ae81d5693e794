/* Claim: names in Unicode and in ASCII are turned into each other as IDNA 2008 says, and what is no name is refused. */
#include "net/idna.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct arena a;

static void both_ways(void **state)
{
	static const struct {
		const char *unicode, *ascii;
	} names[] = {
		{ "b\xc3\xbc"
		  "cher.example",
		  "xn--bcher-kva.example" },
		{ "fa\xc3\x9f.de", "xn--fa-hia.de" }, /* not "fass": nontransitional */
		{ "\xe4\xbe\x8b.\xe6\xb5\x8b\xe8\xaf\x95", "xn--fsq.xn--0zwm56d" },
		{ "plain.example", "plain.example" },
		{ "i\xe2\x9d\xa4.test", "xn--i-7iq.test" },
	};
	struct span out;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(idna_to_ascii(span_str(names[i].unicode), &a, &out), RC_OK);
		assert_true(span_is(out, names[i].ascii));
		assert_int_equal(idna_to_unicode(span_str(names[i].ascii), &a, &out), RC_OK);
		assert_true(span_is(out, names[i].unicode));
	}
	assert_int_equal(idna_to_ascii(span_str("B\xc3\x9c"
						"CHER.example"),
				       &a, &out),
			 RC_OK);
	assert_true(span_is(out, "xn--bcher-kva.example"));
	assert_true(idna_other_form(span_str(names[0].unicode), &a, &out) && span_is(out, names[0].ascii));
	assert_false(idna_other_form(span_str("plain.example"), &a, &out));
}

static void refuses(void **state)
{
	static const char *const bad[] = { "a\xff.test", "\xe2\x80\x8b\xe2\x98\x83.\xcc\x81",
					   "fa\xc3\x9f\xe2\x9d\xa4.de" }; /* is not "fass" with a heart */
	struct span out;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(idna_to_ascii(span_str(bad[i]), &a, &out), RC_SYNTAX);
	assert_false(idna_other_form(span_str("xn--a-ecp.ru\xff"), &a, &out));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(both_ways), cmocka_unit_test(refuses) };
	int rc;

	arena_init(&a);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	arena_release(&a);
	return rc;
}
