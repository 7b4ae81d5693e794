/* Claim: the sender of a VERP delivery is local part, delimiter, recipient's local part, delimiter, recipient's
 * domain, and the sender's domain; delimiters are two characters of the filter. */
#include "../../lib/queue/verp.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void senders(void **state)
{
	static const struct {
		const char *sender, *delims, *rcpt, *want;
	} t[] = {
		{ "list@origin", "+=", "user@domain", "list+user=domain@origin" },
		{ "owner-list@a.example", "-+", "u+x@b.example", "owner-list-u+x+b.example@a.example" },
		{ "list", "+=", "user@domain", "list+user=domain" },
		{ "list@origin", "+=", "user", "list+user@origin" },
		{ "\"a@b\"@origin", "+=", "\"c@d\"@domain", "\"a@b\"+\"c@d\"=domain@origin" },
		{ "", "+=", "user@domain", "" },
		{ "list@origin", "", "user@domain", "list@origin" },
		{ "list@", "+=", "user@", "list+user" },
	};
	struct arena a;
	(void)state;

	arena_init(&a);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct span got =
		    verp_sender(span_str(t[i].sender), span_str(t[i].delims), span_str(t[i].rcpt), &a);

		assert_int_equal(got.n, strlen(t[i].want));
		assert_memory_equal(got.p, t[i].want, got.n);
	}
	arena_release(&a);
}

static void delimiters(void **state)
{
	(void)state;
	assert_true(verp_delims_ok(SPAN("+="), "-=+"));
	assert_true(verp_delims_ok(SPAN("--"), "-=+"));
	assert_false(verp_delims_ok(SPAN("+"), "-=+"));
	assert_false(verp_delims_ok(SPAN("+=="), "-=+"));
	assert_false(verp_delims_ok(SPAN("+@"), "-=+"));
	assert_false(verp_delims_ok(SPAN("\0+"), "-=+"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(senders), cmocka_unit_test(delimiters) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
