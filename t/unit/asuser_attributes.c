/* t/unit/asuser_attributes.c - the attributes of pipe(8) and spawn(8): what is taken, and what is said of the rest. */
#include "asuser/attributes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena a;

static enum rc parse(const char *line, bool spawn, struct attributes *t, struct err *e)
{
	struct span rest = span_str(line), word, *v = arena_array(&a, 20, sizeof(*v));
	size_t n = 0;

	while (span_next_word(&rest, " ", &word))
		v[n++] = word;
	return attributes_parse(v, n, spawn, &a, t, e);
}

static void takes(void **state)
{
	struct attributes t;
	struct err e;

	(void)state;
	assert_int_equal(parse("flags=DRXhu user=vmail:mail null_sender= size=100 directory=/d chroot=/c "
			       "eol=\\r\\n argv=/bin/x -d ${recipient} user=root",
			       false, &t, &e),
			 RC_OK);
	assert_true(span_is(t.flags, "DRXhu"));
	assert_string_equal(t.user, "vmail");
	assert_string_equal(t.group, "mail");
	assert_int_equal(t.null_sender.n, 0);
	assert_int_equal(t.size_limit, 100);
	assert_string_equal(t.directory, "/d");
	assert_string_equal(t.chroot, "/c");
	assert_true(span_is(t.eol, "\r\n"));
	assert_int_equal(t.argc, 4);
	assert_true(span_is(t.argv[0], "/bin/x"));
	assert_true(span_is(t.argv[3], "user=root")); /* an argument */
	assert_int_equal(parse("USER=kim: Size= ARGV=x", false, &t, &e), RC_OK);
	assert_string_equal(t.group, "");
	assert_int_equal(t.size_limit, 0);
	assert_true(span_is(t.null_sender, "MAILER-DAEMON"));
	assert_int_equal(parse("user=kim argv=$nothing ${is expanded", true, &t, &e), RC_OK);
	assert_int_equal(parse("user=root user=kim argv=x", true, &t, &e), RC_OK);
	assert_string_equal(t.user, "kim");
}

static void refuses(void **state)
{
	static const struct {
		const char *line, *said;
		bool spawn;
	} wrong[] = {
		{ "", "missing argv= command-line attribute", false },
		{ "user=kim", "missing argv= command-line attribute", true },
		{ "argv=x", "missing user= command-line attribute", false },
		{ "argv=x", "missing user= command-line attribute", true },
		{ "user=kim argv=", "argv=: no command", false },
		{ "user= argv=x", "user=: the name of a user expected", false },
		{ "user=:mail argv=x", "user=:mail: the name of a user expected", true },
		{ "user=kim flags=DRZ argv=x", "unknown flag: Z (flags= has the letters BDFORXhqu.>)",
		  false },
		{ "user=kim flags=r argv=x", "unknown flag: r", false },
		{ "user=kim frob=x argv=x",
		  "unknown attribute name: frob=x (flags= user= directory=", false },
		{ "user=kim frob argv=x", "unknown attribute name: frob", false },
		{ "user=kim =x argv=x", "unknown attribute name: =x", false },
		{ "user=kim flags=R argv=x",
		  "unknown attribute name: flags=R (user= directory= argv= expected", true },
		{ "user=kim size=10k argv=x", "size=10k: a number of bytes expected", false },
		{ "user=kim size=-1 argv=x", "size=-1: a number of bytes expected", false },
		{ "user=kim eol= argv=x", "eol=: 1 to 16 characters expected", false },
		{ "user=kim eol=12345678901234567 argv=x", "eol=: 1 to 16 characters expected", false },
		{ "user=kim chroot=jail argv=x", "chroot=jail: an absolute path expected", false },
		{ "user=kim chroot= argv=x", "chroot=: an absolute path expected", false },
		{ "user=kim argv=x $rcpt", "unknown macro name: \"rcpt\"", false },
		{ "user=kim argv=x ${sender", "truncated macro reference", false },
		{ "user=kim argv=x $", "a name is missing behind $", false },
	};
	struct attributes t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct err e = { .text = "" };

		assert_int_not_equal(parse(wrong[i].line, wrong[i].spawn, &t, &e), RC_OK);
		if (strstr(e.text, wrong[i].said) == NULL)
			fail_msg("%s: %s", wrong[i].line, e.text);
	}
}

static void bounds_names(void **state)
{
	struct attributes t;
	struct err e;
	char line[400];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "user=", 5);
	memcpy(line + sizeof(line) - 8, " argv=x", 8);
	assert_int_equal(parse(line, false, &t, &e), RC_SYNTAX);
}

static void reads_ids(void **state)
{
	uint32_t id = 0;

	(void)state;
	assert_int_equal(account_id_parse(SPAN(" 5000 "), 100, &id), RC_OK);
	assert_int_equal(id, 5000);
	assert_int_equal(account_id_parse(SPAN("99"), 100, &id), RC_SYNTAX);
	assert_int_equal(account_id_parse(SPAN("0"), 1, &id), RC_SYNTAX);
	assert_int_equal(account_id_parse(SPAN("4294967295"), 1, &id), RC_SYNTAX);
	assert_int_equal(account_id_parse(SPAN("vmail"), 1, &id), RC_SYNTAX);
	assert_int_equal(account_id_parse(SPAN(""), 0, &id), RC_SYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(takes), cmocka_unit_test(refuses),
					    cmocka_unit_test(bounds_names), cmocka_unit_test(reads_ids) };

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
