/* t/unit/asuser_pipe_macro.c - macros of pipe(8) arguments: values stay one argument and are not expanded
 * again; recipients are repeated; folding and quoting as the flags h, u, q say. */
#include "../../lib/asuser/pipe_macro.c"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena a;

static const char *expanded(const char *arg)
{
	const struct pipe_value common[] = { { "sender", SPAN("$recipient `id`") }, { "nexthop", SPAN("") } };
	struct pipe_value rcpt[PIPE_RCPT_VALUES];
	struct span out = SPAN_NONE;
	struct err e;

	pipe_rcpt_values(SPAN("Kim+Ext@Far.TEST"), SPAN_NONE, PIPE_FOLD_DOMAIN | PIPE_FOLD_LOCAL | PIPE_QUOTE,
			 (struct address_extensions){ "+", true }, &a, rcpt);
	enum rc rc =
	    pipe_expand(span_str(arg), common, ARRAY_LEN(common), rcpt, PIPE_RCPT_VALUES, &a, &out, &e);
	return rc == RC_OK ? arena_cstr(&a, out) : rc_name(rc);
}

static void names(void **state)
{
	static const struct {
		const char *arg, *want;
	} cases[] = {
		{ "plain", "plain" },
		{ "$user", "kim" },
		{ "-d${recipient}", "-dkim+ext@far.test" },
		{ "$(mailbox)/$extension@$domain", "kim+ext/ext@far.test" },
		{ "($recipient)", "(kim+ext@far.test)" },
		{ "$nexthop!rmail", "!rmail" },
		{ "-a$sender", "-a$recipient `id`" },
		{ "$$user", "$user" },
		{ "${nexthop?x}${nexthop:none}${user?yes}", "noneyes" },
		{ "", "" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(expanded(cases[i].arg), cases[i].want);
	assert_string_equal(expanded("$unknown"), rc_name(RC_NOTFOUND));
	assert_string_equal(expanded("${user"), rc_name(RC_SYNTAX));
	assert_string_equal(expanded("${user-x}"), rc_name(RC_SYNTAX));
	assert_string_equal(expanded("x$"), rc_name(RC_SYNTAX));
}

static void repeated(void **state)
{
	(void)state;
	assert_true(pipe_is_per_rcpt(SPAN("-d$recipient")));
	assert_true(pipe_is_per_rcpt(SPAN("$sender${user}")));
	assert_false(pipe_is_per_rcpt(SPAN("$sender $nexthop")));
	assert_false(pipe_is_per_rcpt(SPAN("$$user")));
	assert_false(pipe_is_per_rcpt(SPAN("recipient$")));
}

static void quoting(void **state)
{
	(void)state;
	assert_true(span_is(pipe_address(SPAN("\"a b\"@X.test"), 0, &a), "a b@X.test"));
	assert_true(span_is(pipe_address(SPAN("\"a b\"@X.test"), PIPE_QUOTE, &a), "\"a b\"@X.test"));
	assert_true(span_is(pipe_address(SPAN("A@X.test"), PIPE_FOLD_DOMAIN, &a), "A@x.test"));
	assert_true(span_is(pipe_address(SPAN("A@X.test"), PIPE_FOLD_LOCAL, &a), "a@X.test"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(repeated),
					    cmocka_unit_test(quoting) };

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
