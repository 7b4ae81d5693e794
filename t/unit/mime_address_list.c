/* Claim: address lists of RFC 5322 section 3.4 with the obsolete forms of 4.4 are read; what is not well
 * formed is said to be so; nothing that stood apart comes out as one address; the work is linear in the
 * field. */
#include "mime/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct arena a;
static struct mailbox *v;
static size_t n;

/* "display|route|local|domain;" of each; groups as "{display" and "}". */
static const char *read_list(const char *text, enum rc want)
{
	struct span s = SPAN("");
	enum rc rc = address_list_parse(span_str(text), &a, 100, &v, &n);

	if (rc != want)
		fail_msg("%s: %s", text, rc_name(rc));
	for (size_t i = 0; i < n; i++) {
		if (v[i].group_start)
			s = span_printf(&a, SPAN_FMT "{" SPAN_FMT ";", SPAN_ARG(s), SPAN_ARG(v[i].display));
		else if (v[i].group_end)
			s = span_printf(&a, SPAN_FMT "};", SPAN_ARG(s));
		else
			s = span_printf(&a, SPAN_FMT SPAN_FMT "|" SPAN_FMT "|" SPAN_FMT "|" SPAN_FMT ";",
					SPAN_ARG(s), SPAN_ARG(v[i].display), SPAN_ARG(v[i].route),
					SPAN_ARG(v[i].local), SPAN_ARG(v[i].domain));
	}
	return arena_cstr(&a, s);
}

static void well_formed_lists(void **state)
{
	(void)state;
	static const char *const t[][2] = {
		{ "a@b", "||a|b;" },
		{ "A B <a@b>, \"C, D\" <c@d>", "A B||a|b;C, D||c|d;" },
		{ "a@b (comment (nested) \\) here), c@d", "||a|b;||c|d;" },
		{ "\"a b\"@c", "||a b|c;" },
		{ "<@x,@y:a@b>", "|@x,@y|a|b;" },
		{ "a . b @ c . d", "||a.b|c.d;" },
		{ "x (c) @ (d) y (e)", "||x|y;" },
		{ "friends: a@b, C <c@d>;, e@f", "{friends;||a|b;C||c|d;};||e|f;" },
		{ "undisclosed-recipients:;", "{undisclosed-recipients;};" },
		{ ",, a@b,,c@d,", "||a|b;||c|d;" },
		{ "a@[192.0.2.1]", "||a|[192.0.2.1];" },
		{ "\r\n a@b,\r\n\tc@d", "||a|b;||c|d;" },
		{ "John Q. Public <j@p>", "John Q. Public||j|p;" },
		{ "=?utf-8?Q?J=C3=B6rg?= <j@p>", "=?utf-8?Q?J=C3=B6rg?=||j|p;" },
		{ "user", "||user|;" },
		{ "", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_string_equal(read_list(t[i][0], RC_OK), t[i][1]);
}

static void malformed_lists_are_told_and_never_join_words(void **state)
{
	(void)state;
	static const char *const t[][2] = {
		{ "a@example.com b", "||a|example.com;||b|;" }, /* never example.comb */
		{ "a b@c", "||a b|c;" },
		{ "a@b <c@d>", "||a|b;||c|d;" },
		{ "a@b c@d", "||a|b;||c|d;" },
		{ "<a@b> <c@d>", "||a|b;||c|d;" },
		{ "g: a@b", "{g;||a|b;};" }, /* a group that never ends gets its end: IMAP needs pairs */
		{ "\"never ends", "||never ends|;" },
		{ "a@", "||a|;" },
		{ "<a@b", "||a|b;" },
		{ "a@b (open", "||a|b;" },
		{ "g: h: a@b;;", "{g;{h;||a|b;};};" },
		{ "\"a\"b@c", "||ab|c;" },
		{ "a@b@c", "||a@b|c;" },
		{ "@x,@y:a@b", "|@x,@y|a|b;" },
		{ "@x (c), Group: @y;", "|||x;{Group;|||y;};" }, /* no route: that would swallow the group */
		{ "a\\@b@c", "||a@b|c;" },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_string_equal(read_list(t[i][0], RC_SYNTAX), t[i][1]);
}

/* Whose end is a guess is not to be replaced in place. */
static void mailboxes_without_end_are_marked(void **state)
{
	static const char *const lost[] = { "\"never ends", "a@[1.2.3.4", "<a:b@c>", "<a@b c@d>", "<a,b@c>" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
		(void)read_list(lost[i], RC_SYNTAX);
		assert_true(v[0].malformed);
	}
	(void)read_list("a@b c@d", RC_SYNTAX);
	assert_false(v[0].malformed);
}

static void raw_is_the_address_alone(void **state)
{
	(void)state;
	(void)read_list("A (x) <a@b (c)>, (d) c@d (e) , \"q r\"@s", RC_OK);
	assert_int_equal(n, 3);
	assert_true(span_is(v[0].raw, "a@b"));
	assert_true(span_is(v[1].raw, "c@d"));
	assert_true(span_is(v[2].raw, "\"q r\"@s"));
}

static void list_stops_at_max(void **state)
{
	(void)state;
	assert_int_equal(address_list_parse(SPAN("a@b,c@d,e@f"), &a, 2, &v, &n), RC_SYNTAX);
	assert_int_equal(n, 2);
	assert_int_equal(address_list_parse(SPAN("g: a@b"), &a, 2, &v, &n), RC_SYNTAX);
	assert_int_equal(n, 2);
}

/* The cursor of hostile input must not go over the same bytes again and again: memory is the witness that
 * needs no clock. */
static size_t cost(const char *unit, size_t times)
{
	struct arena own;
	size_t len = strlen(unit), used;
	char *p = xmalloc(len * times + 1);

	for (size_t i = 0; i < times; i++)
		memcpy(p + i * len, unit, len);
	arena_init(&own);
	(void)address_list_parse(span_make(p, len * times), &own, 1000000, &v, &n);
	used = own.used_bytes;
	arena_release(&own);
	free(p);
	return used;
}

static void hostile_lists_cost_linear_memory(void **state)
{
	static const char *const unit[] = { "(", ")", "<", ">",	 "\"", "\\",   "@", "a ",  "a@b ",
					    ",", ":", ";", "a:", "<@", "(a) ", "[", "(\\", "\"a\" " };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(unit); i++) {
		size_t one = cost(unit[i], 1000), ten = cost(unit[i], 10000);

		if (ten > 20 * one + 100000)
			fail_msg("%s: %zu, ten times as many: %zu", unit[i], one, ten);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(well_formed_lists),
		cmocka_unit_test(malformed_lists_are_told_and_never_join_words),
		cmocka_unit_test(mailboxes_without_end_are_marked),
		cmocka_unit_test(raw_is_the_address_alone),
		cmocka_unit_test(list_stops_at_max),
		cmocka_unit_test(hostile_lists_cost_linear_memory),
	};

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
