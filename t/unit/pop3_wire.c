/* Claim: POP3 command lines are read as RFC 1939, 2449 and 5034 write them, and messages go out with CRLF
 * line ends and stuffed dots (RFC 1939 section 3), whatever their line ends are in the mailbox. */
#include "../../pop3d/command.c" /* files of a daemon: not in the archive */
#include "../../pop3d/multiline.c"
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct pop3_command ok(struct span line)
{
	struct pop3_command c;
	const char *why;

	assert_int_equal(pop3_command_parse(line, &c, &why), RC_OK);
	return c;
}

static void commands(void **state)
{
	struct pop3_command c;

	(void)state;
	assert_int_equal(ok(SPAN("stat")).verb, POP3_STAT);
	assert_int_equal(ok(SPAN("NOOP ")).verb, POP3_NOOP);
	c = ok(SPAN("PASS  two  words "));
	assert_true(span_is(c.text, " two  words ")); /* RFC 1939 section 7: spaces belong to it */
	c = ok(SPAN("RETR 17"));
	assert_true(c.has_msg && c.msg == 17);
	c = ok(SPAN("LIST"));
	assert_false(c.has_msg);
	c = ok(SPAN("Top 4294967295 0"));
	assert_true(c.msg == UINT32_MAX && c.lines == 0);
	c = ok(SPAN("AUTH"));
	assert_int_equal(c.text.n, 0);
	c = ok(SPAN("AUTH plain ="));
	assert_true(span_is(c.text, "plain") && c.has_initial && span_is(c.initial, "="));
	assert_int_equal(ok(SPAN("APOP kim c4c9334bac560ecc979e58001b3e22fb")).verb, POP3_APOP);
}

static void refused(void **state)
{
	static const struct span bad[] = {
		SPAN(""),
		SPAN(" "),
		SPAN("XYZZY"),
		SPAN("RETR"),
		SPAN("RETR 0"),
		SPAN("RETR -1"),
		SPAN("RETR 1x"),
		SPAN("RETR 1 2"),
		SPAN("TOP 1"),
		SPAN("TOP 1 x"),
		SPAN("TOP 1 2 3"),
		SPAN("TOP 1 -1"),
		SPAN("DELE"),
		SPAN("STAT 1"),
		SPAN("USER"),
		SPAN("PASS"),
		SPAN("QUIT now"),
		SPAN("LIST a"),
		SPAN("STAT\0"),
		SPAN("RETR\t1"),
		SPAN("AUTH a b c"),
		SPAN("CAPA x"),
		SPAN("RETR 4294967296"),
		SPAN("UIDL 1 1"),
	};
	struct pop3_command c;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(pop3_command_parse(bad[i], &c, &why), RC_SYNTAX);
		assert_non_null(why);
	}
}

static void collect(void *arg, struct span bytes)
{
	(void)buf_append(arg, bytes);
}

static void sends(struct span content, uint64_t lines, const char *want)
{
	struct buf b;

	buf_init(&b, 100000);
	assert_int_equal(multiline_send(content, lines, collect, &b), strlen(want));
	assert_string_equal(buf_cstr(&b), want);
	buf_release(&b);
}

static void messages(void **state)
{
	(void)state;
	sends(SPAN(""), MULTILINE_ALL, ".\r\n");
	sends(SPAN("A: b\n\nx\n"), MULTILINE_ALL, "A: b\r\n\r\nx\r\n.\r\n");
	sends(SPAN("A: b\r\n\r\nx\r\n"), MULTILINE_ALL, "A: b\r\n\r\nx\r\n.\r\n");
	sends(SPAN("A: b\n\n.\n..\n.x\nend"), MULTILINE_ALL, "A: b\r\n\r\n..\r\n...\r\n..x\r\nend\r\n.\r\n");
	sends(SPAN("A: b\n\nr\rest\n"), MULTILINE_ALL, "A: b\r\n\r\nr\rest\r\n.\r\n");
}

static void top(void **state)
{
	const struct span m = SPAN("A: b\nC: d\n\n1\n\n3\n4");

	(void)state;
	sends(m, 0, "A: b\r\nC: d\r\n\r\n.\r\n");
	sends(m, 2, "A: b\r\nC: d\r\n\r\n1\r\n\r\n.\r\n");
	sends(m, 99, "A: b\r\nC: d\r\n\r\n1\r\n\r\n3\r\n4\r\n.\r\n");
	sends(SPAN("no body at all\n"), 5, "no body at all\r\n.\r\n");
	assert_int_equal(multiline_needs(m, 0), 11);
	assert_int_equal(multiline_needs(m, 2), 14);
	assert_int_equal(multiline_needs(m, 4), m.n + 1); /* the last line may go on */
	assert_int_equal(multiline_needs(SPAN(""), 0), 1);
}

static void long_lines(void **state)
{
	size_t n = 50000;
	char *text = xmalloc(n);
	struct buf b;

	(void)state;
	memset(text, '.', n);
	buf_init(&b, 100000);
	assert_int_equal(multiline_send(span_make(text, n), MULTILINE_ALL, collect, &b), n + 1 + 2 + 3);
	assert_int_equal(b.n, n + 6);
	buf_release(&b);
	free(text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands), cmocka_unit_test(refused),	  cmocka_unit_test(messages),
		cmocka_unit_test(top),	    cmocka_unit_test(long_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
