/* Claim: the arguments of MAIL and RCPT are taken as RFC 5321 section 4.1.2, RFC 1870, RFC 3461 sections 4.1
 * to 4.4 and RFC 6531 say, with their limits, and what breaks the grammar gets the reply that names it. */
#include "smtp/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ALL (EXT_SIZE | EXT_8BITMIME | EXT_DSN | EXT_AUTH | EXT_SMTPUTF8)

static struct arena a;

static void paths(void **state)
{
	static const struct {
		const char *in, *path, *rest; /* path NULL: refused */
		bool strict;
	} t[] = {
		{ "FROM:<a@b>", "a@b", "", true },
		{ "from:<>", "", "", true },
		{ "FROM:<a@b> SIZE=1", "a@b", " SIZE=1", true },
		{ "FROM: <a@b>", "a@b", "", false },
		{ "FROM: <a@b>", "a@b", "", true },
		{ "FROM:a@b X=1", "a@b", " X=1", false },
		{ "FROM:a@b", NULL, NULL, true },
		{ "FROM:<\"a>b\"@c> X", "\"a>b\"@c", " X", true },
		{ "FROM:<\"a\\\">b\"@c>", "\"a\\\">b\"@c", "", true },
		{ "FROM:<<a@b>> X=1", "a@b", " X=1", true },
		{ "FROM:<a@b>>", "a@b", "", true },
		{ "FROM:<<>>", "", "", true },
		{ "FROM:<<a@b>", "<a@b", "", true },
		{ "FROM:<a@b", NULL, NULL, false },
		{ "FROM:<a@b>X", NULL, NULL, false },
		{ "FROM:<\"a@b>", NULL, NULL, false },
		{ "FROM:", NULL, NULL, false },
		{ "FROM: ", NULL, NULL, false },
		{ "", NULL, NULL, false },
		{ "TO:<a@b>", NULL, NULL, false },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct span path, rest;
		const char *bad = params_path(span_str(t[i].in), "FROM:", t[i].strict, &path, &rest);

		assert_int_equal(bad == NULL, t[i].path != NULL);
		if (bad != NULL) {
			bool form = strcmp(bad, "501 5.1.7 Bad sender address syntax") == 0;

			assert_true(form || strcmp(bad, "501 5.5.4 Syntax: MAIL FROM:<address>") == 0);
			continue;
		}
		assert_true(span_is(path, t[i].path));
		assert_true(span_is(span_trim(rest), t[i].rest + (t[i].rest[0] == ' ')));
	}
}

static void mail_parameters(void **state)
{
	struct mail_params p;
	(void)state;

	assert_null(
	    params_mail(SPAN(" SIZE=1000 BODY=8bitmime RET=HDRS ENVID=a+2Bb SMTPUTF8 AUTH=<>"), ALL, &a, &p));
	assert_int_equal(p.size, 1000);
	assert_int_equal(p.body, BODY_8BITMIME);
	assert_int_equal(p.ret, RET_HDRS);
	assert_true(span_is(p.envid, "a+b"));
	assert_true(p.smtputf8);
	assert_true(span_is(p.auth, "<>"));
	assert_null(params_mail(SPAN("SIZE=9223372036854775807"), ALL, &a, &p));
	assert_true(p.size == INT64_MAX);
}

static void mail_refusals(void **state)
{
	static const char *const t[][2] = {
		{ "SIZE=", "501 5.5.4 Bad message size syntax" },
		{ "SIZE=-1", "501 5.5.4 Bad message size syntax" },
		{ "SIZE=99999999999999999999", /* RFC 1870: 20 digits are legal */
		  "552 5.3.4 Message size exceeds file system imposed limit" },
		{ "SIZE=999999999999999999999", "501 5.5.4 Bad message size syntax" },
		{ "RET=FULL RET=FULL", "501 5.5.4 Bad RET parameter syntax" },
		{ "RET=X", "501 5.5.4 Bad RET parameter syntax" },
		{ "ENVID=a+0Ab", "501 5.5.4 Bad ENVID parameter syntax" },
		{ "ENVID=a+2", "501 5.5.4 Bad ENVID parameter syntax" },
		{ "ENVID=a ENVID=b", "501 5.5.4 Bad ENVID parameter syntax" },
		{ "BODY=BINARYMIME", "555 5.5.4 Unsupported option: BODY=BINARYMIME" },
		{ "SMTPUTF8=1", "555 5.5.4 Unsupported option: SMTPUTF8=1" },
		{ "NOTIFY=NEVER", "555 5.5.4 Unsupported option: NOTIFY=NEVER" },
	};
	struct mail_params p;
	char longest[ENVID_TEXT_MAX + 10] = "ENVID=";
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_string_equal(params_mail(span_str(t[i][0]), ALL, &a, &p), t[i][1]);
	memset(longest + 6, 'x', ENVID_TEXT_MAX + 1);
	assert_non_null(params_mail(span_make(longest, 6 + ENVID_TEXT_MAX + 1), ALL, &a, &p));
	assert_null(params_mail(span_make(longest, 6 + ENVID_TEXT_MAX), ALL, &a, &p));
	assert_non_null(params_mail(SPAN("SIZE=1"), ALL & ~EXT_SIZE, &a, &p));
	assert_non_null(params_mail(SPAN("RET=FULL"), ALL & ~EXT_DSN, &a, &p));
}

static void rcpt_parameters(void **state)
{
	struct rcpt_params p;
	(void)state;

	assert_null(params_rcpt(SPAN(" NOTIFY=success,FAILURE,DELAY ORCPT=rfc822;a+2Bb@c"), ALL, &a, &p));
	assert_int_equal(p.notify, NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY);
	assert_true(span_is(p.orcpt, "rfc822;a+b@c"));
	assert_null(params_rcpt(SPAN("ORCPT=rfc822;j+C3+BCrgen@x"), ALL, &a, &p));
	assert_true(span_is(p.orcpt, "rfc822;j\xc3\xbcrgen@x"));
	assert_null(params_rcpt(SPAN("NOTIFY=NEVER"), ALL, &a, &p));
	assert_int_equal(p.notify, NOTIFY_NEVER);
	assert_null(params_rcpt(SPAN("NOTIFY=success,,delay, ORCPT=rfc822;SRS0=x+3Dy=z@c"), ALL, &a, &p));
	assert_int_equal(p.notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
	assert_true(span_is(p.orcpt, "rfc822;SRS0=x=y=z@c"));
}

static void notify_both_ways(void **state)
{
	char words[NOTIFY_TEXT];
	(void)state;

	assert_string_equal(notify_words(0, words), "");
	assert_string_equal(notify_words(NOTIFY_NEVER, words), "NEVER");
	assert_string_equal(notify_words(NOTIFY_DELAY | NOTIFY_SUCCESS, words), "SUCCESS,DELAY");
	assert_string_equal(notify_words(0xffff, words), "NEVER,SUCCESS,FAILURE,DELAY");
	assert_int_equal(notify_bit(SPAN("fAILURE")), NOTIFY_FAILURE);
	assert_int_equal(notify_bit(SPAN("FAIL")), 0);
}

static void rcpt_refusals(void **state)
{
	static const char *const notify[] = { "NOTIFY=NEVER,DELAY", "NOTIFY=X", "NOTIFY=,",
					      "NOTIFY=DELAY NOTIFY=DELAY" };
	static const char *const orcpt_[] = { "ORCPT=x",
					      "ORCPT=;x",
					      "ORCPT=rfc822;",
					      "ORCPT=rf c;x",
					      "ORCPT=rfc822;a+0D+0Ab",
					      "ORCPT=rfc822;a+",
					      "ORCPT=rfc822;j+C3rgen@x",
					      "ORCPT=r\x01;x",
					      "ORCPT=rfc822;a ORCPT=rfc822;a" };
	struct rcpt_params p;
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(notify); i++)
		assert_string_equal(params_rcpt(span_str(notify[i]), ALL, &a, &p),
				    "501 5.5.4 Error: Bad NOTIFY parameter syntax");
	for (size_t i = 0; i < ARRAY_LEN(orcpt_); i++)
		assert_string_equal(params_rcpt(span_str(orcpt_[i]), ALL, &a, &p),
				    "501 5.5.4 Error: Bad ORCPT parameter syntax");
	assert_non_null(params_rcpt(SPAN("NOTIFY=NEVER"), ALL & ~EXT_DSN, &a, &p));
	assert_non_null(params_rcpt(SPAN("FOO"), ALL, &a, &p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),	 cmocka_unit_test(mail_parameters),
		cmocka_unit_test(mail_refusals), cmocka_unit_test(rcpt_parameters),
		cmocka_unit_test(rcpt_refusals), cmocka_unit_test(notify_both_ways),
	};
	int failed;

	arena_init(&a);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_release(&a);
	return failed;
}
