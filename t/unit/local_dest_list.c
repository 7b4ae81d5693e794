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
		{ "two words", "@two\n@words" },
		{ "a@x.test\t b@y.test  c, d", "@a@x.test\n@b@y.test\n@c\n@d" },
		{ "\\kim \"a b\" \"c d\"@x.test", "\\@kim\n@\"a b\"\n@\"c d\"@x.test" },
		{ "a @ x.test b@y . test c", "@a@x.test\n@b@y.test\n@c" },
		{ "<a@x.test> <b@y.test>", "@a@x.test\n@b@y.test" },
		{ "a@x.test (one) b@y.test (two, three)", "@a@x.test\n@b@y.test" },
		{ "<a@x.test>Kim Doe<b@y.test>", "@a@x.test\n@b@y.test" },
		{ "a@x.test Kim Doe <b@y.test> c", "@a@x.test\n@b@y.test\n@c" },
		{ "a@x.test; b@y.test;c", "@a@x.test\n@b@y.test\n@c" },
		{ "friends: a@x.test b@y.test;", "@a@x.test\n@b@y.test" },
		{ "/var/mail/a ~/b \"/c d\" kim", "//var/mail/a\n/~/b\n//c d\n@kim" },
		{ "|\"cmd a\" kim \"|cmd b\" lee", "|cmd a\n@kim\n|cmd b\n@lee" },
		{ "kim x) lee, @", "@kim\n@lee\nbad=2" },
		{ "kim, (), <>, ;", "@kim" },
		{ "kim, @, lee", "@kim\n@lee\nbad=1" },
		{ "\"unclosed, kim", "bad=1" },
		{ "|", "bad=1" },
		{ "\fkim, lee", "@lee\nbad=1" },
		{ "kim\n\\lee\f\f sam", "@kim\n@sam\nbad=1" },
		{ ":include:", "bad=1" },
		{ "friends: a@x.test, b@y.test;", "@a@x.test\n@b@y.test" },
		{ "friends:;", "" },
		{ "@hop.test:a@x.test", "@a@x.test" },
		{ "a@x.test |", "@a@x.test\nbad=1" },
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

/* Many addresses without a comma, and many blanks where none part: every byte is looked at a few times only. */
static void long_elements(void **state)
{
	struct dest_list l = { .n = 0 };
	const size_t n = 256 * 1024;
	char *p = arena_alloc(&a, n);

	(void)state;
	for (size_t i = 0; i < n; i++)
		p[i] = i % 2 ? ' ' : 'k';
	assert_int_equal(dest_list_parse(span_make(p, n), &a, n, &l), RC_OK);
	assert_int_equal(l.n, n / 2);
	assert_int_equal(l.bad, 0);
	l = (struct dest_list){ .n = 0 };
	memset(p + 1, ' ', n - 1);
	p[1] = '@';
	p[n - 1] = 'x';
	assert_int_equal(dest_list_parse(span_make(p, n), &a, n, &l), RC_OK);
	assert_int_equal(l.bad, 1);
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
					    cmocka_unit_test(limit), cmocka_unit_test(long_elements) };

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
