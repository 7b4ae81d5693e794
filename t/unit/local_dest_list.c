/* t/unit/local_dest_list.c - values of aliases(5) and lines of .forward are read as Postfix reads them:
 * addresses, quoted and bare commands, files, :include:, comments (RFC 5322 3.2.2, 3.4); what is not
 * understood is counted and skipped, never guessed. */
#include "../../local/dest_list.c"
#include "base/buf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena a;

static const char *kinds = "@|/:";

/* "@kim |cmd": kind and text of each. */
static const char *parsed(const char *text, bool file)
{
	struct dest_list l = { .n = 0 };
	struct buf b;
	struct span s = span_str(text);

	buf_init(&b, 100000);
	assert_int_equal(file ? dest_file_parse(s, &a, 100, &l) : dest_list_parse(s, &a, 100, &l), RC_OK);
	for (size_t i = 0; i < l.n; i++)
		(void)buf_printf(&b, "%s%s%c" SPAN_FMT, i > 0 ? "\n" : "", l.v[i].plain ? "\\" : "",
				 kinds[l.v[i].kind], SPAN_ARG(l.v[i].text));
	if (l.bad > 0)
		(void)buf_printf(&b, "%sbad=%u", l.n > 0 ? "\n" : "", l.bad);
	const char *out = arena_strdup(&a, buf_cstr(&b));
	buf_release(&b);
	return out;
}

static void lists(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "kim", "@kim" },
		{ " kim , lee@example.test,", "@kim\n@lee@example.test" },
		{ "\\kim", "\\@kim" },
		{ "\"|/usr/bin/x -a 'b, c' \\\"d\\\"\"", "|/usr/bin/x -a 'b, c' \"d\"" },
		{ "|/usr/bin/procmail", "|/usr/bin/procmail" },
		{ "| /usr/bin/procmail -t", "|/usr/bin/procmail -t" },
		{ "|\"/usr/bin/vacation -a 'b, c' kim\", lee", "|/usr/bin/vacation -a 'b, c' kim\n@lee" },
		{ "| \"echo \\\"a  b\\\"\"", "|echo \"a  b\"" },
		{ "|echo \"a  b\" c", "|echo \"a  b\" c" },
		{ "|\"\"", "bad=1" },
		{ "/var/mail/archive, kim", "//var/mail/archive\n@kim" },
		{ "\"/with space\"", "//with space" },
		{ "~/Mail/x", "/~/Mail/x" },
		{ ":include:/etc/list", ":/etc/list" },
		{ ":INCLUDE: /etc/list", ":/etc/list" },
		{ "\":include:/etc/my list\"", ":/etc/my list" },
		{ "Kim Doe <kim@example.test>", "@kim@example.test" },
		{ "kim@example.test (Kim, or Lee)", "@kim@example.test" },
		{ "\"kim doe\"@example.test", "@\"kim doe\"@example.test" },
		{ "", "" },
		{ ", ,", "" },
		{ "two words", "bad=1" },
		{ "kim, @, lee", "@kim\n@lee\nbad=1" },
		{ "\"unclosed, kim", "bad=1" },
		{ "|", "bad=1" },
		{ ":include:", "bad=1" },
		{ "friends: a@x.test, b@y.test;", "@a@x.test\n@b@y.test" },
		{ "friends:;", "bad=1" },
		{ "@hop.test:a@x.test", "@a@x.test" },
		{ "a@x.test b@y.test", "bad=1" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(parsed(cases[i].text, false), cases[i].want);
}

static void files(void **state)
{
	(void)state;
	assert_string_equal(
	    parsed("# kim, lee\n\n  \n\\kim, lee\r\n\"|vacation kim\"\nlast@example.test", true),
	    "\\@kim\n@lee\n|vacation kim\n@last@example.test");
	assert_string_equal(parsed("a\x01"
				   "b\nkim\n",
				   true),
			    "@kim\nbad=1");
}

static void limit(void **state)
{
	struct dest_list l = { .n = 0 };

	(void)state;
	assert_int_equal(dest_list_parse(SPAN("a,b,c,d"), &a, 3, &l), RC_LIMIT);
	assert_int_equal(l.n, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lists), cmocka_unit_test(files),
					    cmocka_unit_test(limit) };

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
