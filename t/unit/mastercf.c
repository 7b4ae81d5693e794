/* master.cf is read as master(5) says: columns, continuation, { } arguments, -o settings; mistakes are named
 * by line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "conf/mastercf.h"

static struct mastercf *parse(const char *text)
{
	struct mastercf *m = NULL;
	struct err e = { 0 };

	if (mastercf_parse(span_str(text), "master.cf", NULL, &m, &e) != RC_OK)
		fail_msg("%s", e.text);
	return m;
}

static void fails(const char *text, const char *story)
{
	struct mastercf *m = NULL;
	struct err e = { 0 };

	assert_int_equal(mastercf_parse(span_str(text), "master.cf", NULL, &m, &e), RC_SYNTAX);
	assert_string_equal(e.text, story);
	assert_null(m);
}

static void argv_is(const struct master_entry *en, size_t n, const char *const *expected)
{
	assert_int_equal(en->argc, n);
	for (size_t i = 0; i < n; i++)
		if (!span_is(en->argv[i], expected[i]))
			fail_msg("argument %zu is \"" SPAN_FMT "\"", i, SPAN_ARG(en->argv[i]));
}

static void test_columns(void **state)
{
	struct mastercf *m = parse("# comment\n"
				   "smtp inet n - y - - smtpd\n"
				   "465  inet n n - - 5 smtpd\n"
				   "pickup fifo n - n 60 1 pickup\n"
				   "[::1]:25 pass - - - 60? 0 smtpd\n"
				   "\n"
				   "postlog unix-dgram n - n - 1 postlogd\n");

	(void)state;
	assert_int_equal(m->n, 5);
	assert_true(span_is(m->entry[0].name, "smtp"));
	assert_int_equal(m->entry[0].type, ST_INET);
	assert_false(m->entry[0].is_private);
	assert_true(m->entry[0].unpriv);
	assert_true(m->entry[0].chroot);
	assert_int_equal(m->entry[0].maxproc, 100);
	assert_int_equal(m->entry[0].line, 2);
	assert_true(span_is(m->entry[1].name, "465"));
	assert_false(m->entry[1].unpriv);
	assert_false(m->entry[1].chroot);
	assert_int_equal(m->entry[1].maxproc, 5);
	assert_int_equal(m->entry[2].type, ST_FIFO);
	assert_int_equal(m->entry[2].wakeup_s, 60);
	assert_false(m->entry[2].wakeup_if_used);
	assert_int_equal(m->entry[3].type, ST_PASS);
	assert_true(m->entry[3].is_private);
	assert_true(m->entry[3].wakeup_if_used);
	assert_int_equal(m->entry[3].maxproc, 0);
	assert_true(span_is(m->entry[3].column[5], "60?"));
	assert_int_equal(m->entry[4].type, ST_UNIX_DGRAM);
	assert_int_equal(m->entry[4].line, 7);
	mastercf_free(&m);
	assert_null(m);
}

static void test_arguments(void **state)
{
	struct mastercf *m =
	    parse("a inet n - n - - smtpd -v\n"
		  "  -o x=y\n"
		  "# between\n"
		  "\t-o { smtpd_banner = a  b }\n"
		  "  -oz=1 -o{q = 2}\n"
		  "b unix - n n - - pipe flags=DRhu user=v:v argv=/bin/x -o {a b} -f $sender ${b?{c}:{d}}\n"
		  "c unix - - n - - smtp -o a=${b?{c}:{d}} -o n={x}\n"
		  "  d unix - - -\n");

	(void)state;
	assert_int_equal(m->n, 3);
	argv_is(&m->entry[0], 10,
		(const char *const[]){ "smtpd", "-v", "-o", "x=y", "-o", "smtpd_banner=a  b", "-o", "z=1",
				       "-o", "q=2" });
	assert_int_equal(m->entry[1].argc, 9);
	mastercf_free(&m);
}

/* After the first word that is no option, -o belongs to the command that pipe(8) runs. */
static void test_foreign_options(void **state)
{
	struct mastercf *m = parse("b unix - n n - - pipe flags=D argv=/bin/x -o file {a b}\n");

	(void)state;
	argv_is(&m->entry[0], 6,
		(const char *const[]){ "pipe", "flags=D", "argv=/bin/x", "-o", "file", "a b" });
	mastercf_free(&m);
}

static void test_mistakes(void **state)
{
	(void)state;
	fails("a inet n - -\n", "master.cf line 1: 5 of 8 columns, the wakeup column is missing");
	fails("a inet n - - - -\n", "master.cf line 1: 7 of 8 columns, the command column is missing");
	fails("\n# x\na foo n - - - - smtpd\n",
	      "master.cf line 3: type column: \"foo\" (inet, unix, unix-dgram, fifo or pass)");
	fails("a inet x - - - - smtpd\n", "master.cf line 1: private column: \"x\" (y, n or -)");
	fails("a inet n - yes - - smtpd\n", "master.cf line 1: chroot column: \"yes\" (y, n or -)");
	fails("a inet n - - 5?? - smtpd\n",
	      "master.cf line 1: wakeup column: \"5??\" (seconds, perhaps with ?, or -)");
	fails("a inet n - - - -1 smtpd\n", "master.cf line 1: maxproc column: \"-1\" (a number or -)");
	fails("a inet n - - - - -o x=y\n", "master.cf line 1: command column: \"-o x=y\" (a program name)");
	fails("a inet n - - - - smtpd -o { x = y\n", "master.cf line 1: missing '}' in \"{ x = y\"");
	fails("a inet n - - - - smtpd -o {x=y}z\n", "master.cf line 1: text after '}' in \"{x=y}z\"");
	fails("a inet n - - - - smtpd -o x\n", "master.cf line 1: name=value expected after -o, not \"x\"");
	fails("a inet n - - - - smtpd -o\n", "master.cf line 1: name=value expected after -o");
	fails("a inet n - - - - smtpd -o =x\n", "master.cf line 1: name=value expected after -o, not \"=x\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_foreign_options),
		cmocka_unit_test(test_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
