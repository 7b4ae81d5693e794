/* The tokens of IMAP commands (RFC 3501 section 9): what is taken, what is refused, and the bounds. */
#include "../../imapd/names.c"
#include "../../imapd/parse.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct arena arena;

static struct parse start(const char *text)
{
	struct parse p;
	parse_start(&p, span_str(text), &arena);
	return p;
}

static void strings(void **state)
{
	struct span s;
	(void)state;
	struct parse p = start("\"a \\\"b\\\\\" {3}\r\nx\r\n atom]");
	assert_true(parse_astring(&p, &s) && span_is(s, "a \"b\\"));
	assert_true(parse_sp(&p) && parse_astring(&p, &s) && span_is(s, "x\r\n"));
	assert_true(parse_sp(&p) && parse_astring(&p, &s) && span_is(s, "atom]") && parse_end(&p));
	static const char *const bad[] = {
		"\"open", "\"a\\", "\"a\\n\"", "{9}\r\nshort", "{99999999999}\r\nx", "{1}x", "", "("
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		p = start(bad[i]);
		assert_false(parse_astring(&p, &s));
		assert_non_null(p.why);
	}
}

static void sets(void **state)
{
	struct numset n;
	(void)state;
	struct parse p = start("5:3,7,*,4:6");
	assert_true(parse_numset(&p, &n) && parse_end(&p));
	numset_resolve(&n, 9);
	assert_int_equal(n.n, 3);
	assert_true(numset_has(&n, 3) && numset_has(&n, 6) && numset_has(&n, 7) && numset_has(&n, 9) &&
		    !numset_has(&n, 8));
	static const char *const bad[] = { "0", "1:", ",1", "1,", "4294967295", "a" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		p = start(bad[i]);
		assert_false(parse_numset(&p, &n) && parse_end(&p));
	}
	char *many = arena_alloc(&arena, 2 * NUMSET_RANGES_MAX + 10);
	for (size_t i = 0; i <= NUMSET_RANGES_MAX; i++)
		memcpy(many + 2 * i, "1,", 2);
	p = start(many);
	assert_false(parse_numset(&p, &n));
}

static void dates(void **state)
{
	int64_t t;
	(void)state;
	struct parse p = start("\" 1-Feb-1994 00:00:10 -0130\"");
	assert_true(parse_date_time(&p, &t) && parse_end(&p));
	assert_int_equal(t, 760060800 + 10 + 5400);
	p = start("29-Feb-2024");
	assert_true(parse_date(&p, &t));
	assert_int_equal(t, 19782);
	p = start("1-Foo-2024");
	assert_false(parse_date(&p, &t));
}

static void flags(void **state)
{
	struct flag_list f;
	(void)state;
	struct parse p = start("(\\Seen \\DELETED $Forwarded foo)");
	assert_true(parse_flags(&p, false, &f) && parse_end(&p));
	assert_int_equal(f.flags, MSG_SEEN | MSG_DELETED | MSG_PASSED);
	assert_int_equal(f.keywords, 1);
	p = start("(\\Recent)");
	assert_false(parse_flags(&p, false, &f));
	p = start("()");
	assert_true(parse_flags(&p, false, &f));
}

static void patterns(void **state)
{
	(void)state;
	assert_true(list_match(SPAN("*"), SPAN("a.b.c"), '.'));
	assert_false(list_match(SPAN("%"), SPAN("a.b"), '.'));
	assert_true(list_match(SPAN("a.%"), SPAN("a.b"), '.'));
	assert_true(list_match(SPAN("*b*"), SPAN("a.b.c"), '.'));
	assert_false(list_match(SPAN("a"), SPAN("ab"), '.'));
	assert_true(list_match(SPAN("inB%"), SPAN("INBOX"), '.'));
	assert_true(list_match(SPAN("*box.Sub"), SPAN("INBOX.Sub"), '.'));
	assert_false(list_match(SPAN("*box.sub"), SPAN("INBOX.Sub"), '.'));
	assert_false(list_match(SPAN("inboxes"), SPAN("INBOXES"), '.'));
	char worst[601], name[200];
	memset(name, 'a', sizeof(name));
	for (size_t i = 0; i < 600; i += 2)
		memcpy(worst + i, "*a", 2);
	assert_false(list_match(span_make(worst, 600), span_make(name, sizeof(name)), '.'));
}

static void literals(void **state)
{
	uint64_t n;
	bool plus;
	(void)state;
	assert_true(literal_announced(SPAN("a LOGIN {12}"), &n, &plus) && n == 12 && !plus);
	assert_true(literal_announced(SPAN("a LOGIN {12+}"), &n, &plus) && n == 12 && plus);
	assert_true(literal_announced(SPAN("a {99999999999999999999}"), &n, &plus) && n == UINT64_MAX);
	assert_false(literal_announced(SPAN("a {x}"), &n, &plus));
	assert_false(literal_announced(SPAN("a {1} "), &n, &plus));
}

static int setup(void **state)
{
	(void)state;
	arena_init(&arena);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(strings),	cmocka_unit_test(sets),
					    cmocka_unit_test(dates),	cmocka_unit_test(flags),
					    cmocka_unit_test(patterns), cmocka_unit_test(literals) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
