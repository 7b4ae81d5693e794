/* Claim: bounce(5) templates are read as written, what is malformed is refused with its line, and times are given in
 * the unit that is asked for. */
#include "conf/bounce_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct bounce_template t[BT_COUNT];
static struct arena a;

static enum rc parse(const char *text, struct err *e)
{
	memcpy(t, bounce_templates, sizeof(t));
	return bounce_template_parse(span_str(text), &a, t, e);
}

static void takes_what_is_there(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(parse("\n# x\nsuccess_template = <<E F\nSubject: S\nFrom: me\nCharset: "
			       "utf-8\n\nbody\n\nmore\nE F\n",
			       &e),
			 RC_OK);
	assert_true(span_is(t[BT_SUCCESS].subject, "S") && span_is(t[BT_SUCCESS].charset, "utf-8"));
	assert_true(span_is(t[BT_SUCCESS].body, "body\n\nmore\n"));
	assert_true(span_eq(t[BT_FAILURE].subject, bounce_templates[BT_FAILURE].subject));
	assert_int_equal(parse("delay_template = <<E\nSubject: a\nno header\n\nE\n", &e), RC_OK);
	assert_true(span_is(t[BT_DELAY].subject, "a") && span_is(t[BT_DELAY].body, "no header\n\n"));
	assert_true(span_eq(t[BT_DELAY].from, bounce_templates[BT_DELAY].from));
	assert_true(span_eq(t[BT_DELAY].postmaster_subject, bounce_templates[BT_DELAY].postmaster_subject));
}

static void refuses_what_is_malformed(void **state)
{
	static const struct {
		const char *text, *line;
	} bad[] = {
		{ "x\n", "line 1" },
		{ "\nno_template = <<E\nSubject: a\nFrom: b\n\nE\n", "line 2" },
		{ "delay_template = <<E\nSubject: a\nFrom: b\n\nbody\n", "missing E" },
		{ "delay_template = <<E\nFrom: b\nE\n", "missing message text" },
		{ "delay_template = <<E\nFrom: b\n\nE\n", "missing message text" },
		{ "delay_template = <<E\nFrom:\n\nx\nE\n", "line 2: From: has no value" },
		{ "delay_template = <<E\nReply-To: b\n\nbody\nE\n", "line 2" },
		{ "delay_template = <<E\nSubject: \xc3\xa9\nFrom: b\n\nbody\nE\n", "ASCII" },
		{ "delay_template = x\n", "line 1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = { 0 };

		assert_int_equal(parse(bad[i].text, &e), RC_SYNTAX);
		assert_non_null(strstr(e.text, bad[i].line));
	}
}

static void times_in_units(void **state)
{
	struct conf *c = NULL;
	struct err e = { 0 };
	struct span out;

	(void)state;
	assert_int_equal(
	    conf_parse(SPAN("delay_warning_time = 90m\nmyhostname = h.test\n"), "t", "/", &c, &e), RC_OK);
	assert_int_equal(
	    parse("failure_template = <<E\nSubject: a\nFrom: b\n\n$myhostname ${delay_warning_time_hours} "
		  "$delay_warning_time_minutes $delay_warning_time_days\nE\n",
		  &e),
	    RC_OK);
	assert_int_equal(bounce_template_body(c, &t[BT_FAILURE], &a, &out, &e), RC_OK);
	assert_true(span_is(out, "h.test 2 90 1\n"));
	conf_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_is_there),
		cmocka_unit_test(refuses_what_is_malformed),
		cmocka_unit_test(times_in_units),
	};
	int rc;

	arena_init(&a);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	arena_release(&a);
	return rc;
}
