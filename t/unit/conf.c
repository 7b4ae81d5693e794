/* main.cf is read as postconf(5) says, values expand within their bounds, and what is wrong is named with
 * file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "conf/conf.h"
#include "conf/conf_int.h"

static struct conf *parse(const char *text)
{
	struct conf *c = NULL;
	struct err e = { 0 };

	if (conf_parse(span_str(text), "main.cf", "/nowhere", &c, &e) != RC_OK)
		fail_msg("%s", e.text);
	return c;
}

static void raw_is(const char *text, const char *name, const char *expected)
{
	struct conf *c = parse(text);

	assert_string_equal(conf_raw(c, name), expected);
	conf_free(&c);
}

static void parse_fails(const char *text, size_t n, enum rc rc, const char *story)
{
	struct conf *c = NULL;
	struct err e = { 0 };

	assert_int_equal(conf_parse(span_make(text, n), "main.cf", "/nowhere", &c, &e), rc);
	assert_string_equal(e.text, story);
	assert_null(c);
}

static void test_logical_lines(void **state)
{
	(void)state;
	raw_is("a = 1\n", "a", "1");
	raw_is("a=1", "a", "1");
	raw_is("a  =  b c \t\r\n", "a", "b c");
	raw_is("a =\n", "a", "");
	raw_is("a = b,\n  c\n", "a", "b,  c");
	raw_is("a = b\n# comment\n\n   \n  # indented comment\n  c\nd = e\n", "a", "b  c");
	raw_is("# first\n\na = b # c\n", "a", "b # c");
	raw_is("a = 1\na = 2\n", "a", "2");
	raw_is("a = x=y\n", "a", "x=y");
	raw_is(" lost = 1\n more\na = 2\n", "a", "2");
	raw_is("a =\n b\n", "a", "b");
}

static void old_default(const char *text, const char *name, const char *value, bool expected)
{
	struct conf *c = parse(text);

	assert_int_equal(conf_is_old_default(c, name, value), expected);
	conf_free(&c);
}

static void test_old_defaults(void **state)
{
	(void)state;
	old_default("", "append_dot_mydomain", "yes", true);
	old_default("compatibility_level = 1\n", "append_dot_mydomain", "yes", false);
	old_default("append_dot_mydomain = yes\n", "append_dot_mydomain", "yes", false);
	old_default("mydestination = a.test\n", "relay_domains", NULL, true);
	old_default("mydestination =\n", "relay_domains", NULL, false);
	old_default("compatibility_level = 2\n", "relay_domains", NULL, false);
	old_default("compatibility_level = 2\n", "smtpd_relay_before_recipient_restrictions", "no", true);
	old_default("compatibility_level = 3.6\n", "smtpd_relay_before_recipient_restrictions", "no", false);
}

static void test_wrong_lines(void **state)
{
	static char big[CONF_VALUE_MAX + 10];

	(void)state;
#define FAILS(text, rc, story) parse_fails(text, sizeof(text) - 1, rc, story)
	FAILS("a = 1\n\nfoo\n", RC_SYNTAX, "main.cf line 3: '=' missing after the name: \"foo\"");
	FAILS("= x\n", RC_SYNTAX, "main.cf line 1: name missing before '=': \"= x\"");
	FAILS("foo bar = x\n", RC_SYNTAX, "main.cf line 1: '=' missing after the name: \"foo bar = x\"");
	FAILS("a = b\n  c\0d\n", RC_SYNTAX, "main.cf line 2: contains a NUL byte");
	memset(big, 'x', sizeof(big));
	parse_fails(big, sizeof(big), RC_LIMIT, "main.cf line 1: a logical line is limited to 1048576 bytes");
}

/* Expands `text` with a few settings. */
static const char settings[] = "x = X\na = A\nnothing =\nindirect = $nothing\nten = 10\nchain = <$x$a>\n";

static void expands(const char *text, const char *expected)
{
	struct conf *c = parse(settings);
	struct arena a;
	struct span out;
	struct err e = { 0 };

	arena_init(&a);
	if (conf_expand(c, span_str(text), &a, &out, &e) != RC_OK)
		fail_msg("%s: %s", text, e.text);
	assert_string_equal(out.p, expected);
	arena_release(&a);
	conf_free(&c);
}

static void expand_fails(const char *conf, const char *text, enum rc rc, const char *story)
{
	struct conf *c = parse(conf);
	struct arena a;
	struct span out;
	struct err e = { 0 };

	arena_init(&a);
	assert_int_equal(conf_expand(c, span_str(text), &a, &out, &e), rc);
	assert_string_equal(e.text, story);
	arena_release(&a);
	conf_free(&c);
}

static void test_references(void **state)
{
	(void)state;
	expands("", "");
	expands("$$ a$$b", "$ a$b");
	expands("$x ${x} $(x) ${ x }", "X X X X");
	expands("$x.$a-$chain", "X.A-<XA>");
	expands("[$unknown]", "[]");
	expands("${x?yes}${nothing?no}", "yes");
	expands("${x:no}${unknown:yes}", "yes");
	expands("${x?{y}:{n}} ${nothing?{y}:{n}}", "y n");
	expands("${x ? {y} : {n} }", "y");
	expands("${nothing?{y}:n m}", "n m");
	expands("[${x? b }] [${x?{ b }}]", "[ b ] [ b ]");
	expands("${x?a:b}", "a:b");
	expands("${x?{${a}}:$a} ${x?${a}${a}} ${x?{{}}} ${x?}", "A AA {} ");
	expands("$(x?{a:(b)}) ${x?{b}  }z {x}", "a:(b) bz {x}");
	/* The value as written decides, not what becomes of it. */
	expands("${indirect?set}", "set");
}

static void test_comparisons(void **state)
{
	(void)state;
	expands("${{a}=={b}?{1}:{2}} ${{$x}=={X}?{eq}}", "2 eq");
	expands("${{10}<{9}?{1}:{2}}", "2");
	expands("${{$ten} >= {9} ? {1} : {2}}", "1");
	expands("${{1}=={01}?{eq}:{ne}} ${{x}<{y}:ge}${{x}>{y}:le}", "eq le");
	expands("${{1}=={1}}${{1}=={2}}", "true");
	expands("${{3.10} >=level {3.6}?{L}:{l}} ${{3}<=level{2}?{L}:{l}}", "L l");
	expands("${{x}<{y} ? {${{x}<{a} ? {1} : {2}}} : {3}}", "2");
}

static void test_broken_references(void **state)
{
	(void)state;
	expand_fails("", "x$", RC_SYNTAX, "parameter name expected after '$' in \"x$\"");
	expand_fails("", "$ x", RC_SYNTAX, "parameter name expected after '$' in \"$ x\"");
	expand_fails("", "${}", RC_SYNTAX, "parameter name expected in \"\"");
	expand_fails("", "${x", RC_SYNTAX, "unfinished reference in \"${x\"");
	expand_fails("", "${a b}", RC_SYNTAX, "'?', ':' or the end of the reference expected in \"a b\"");
	expand_fails("", "${a?{b}c}", RC_SYNTAX, "':' or '}' expected in \"?{b}c\"");
	expand_fails("", "${a?{b}:{c}:{d}}", RC_SYNTAX, "':' or '}' expected in \"?{b}:{c}:{d}\"");
	expand_fails("", "${{a}=={b?c}", RC_SYNTAX, "unfinished reference in \"${{a}=={b?c}\"");
	expand_fails("", "${{a}=b?c}", RC_SYNTAX, "comparison operator expected in \"{a}=b?c\"");
	expand_fails("", "${{3.x} <level {3}?1}", RC_SYNTAX,
		     "compatibility level expected in \"{3.x} <level {3}?1\"");
}

static void test_loops_and_limits(void **state)
{
	char deep[400] = "", bomb[400];
	size_t n = 0;

	(void)state;
	expand_fails("a = $b\nb = $a\n", "$a", RC_SYNTAX, "parameter a refers to itself: a <- b <- a");
	expand_fails("a = ${a:x}$a\n", "$a", RC_SYNTAX, "parameter a refers to itself: a <- a");
	for (int i = 0; i < 70; i++)
		n += (size_t)snprintf(deep + n, sizeof(deep) - n, "${x?");
	for (int i = 0; i < 70; i++)
		deep[n++] = '}';
	expand_fails("x = 1\n", deep, RC_LIMIT, "references are nested more than 64 deep");
	n = 0;
	for (char c = 'b'; c <= 'z'; c++)
		n += (size_t)snprintf(bomb + n, sizeof(bomb) - n, "%c = $%c$%c\n", c, c - 1, c - 1);
	expand_fails(bomb, "$z", RC_LIMIT, "a value is limited to 100000 references to other parameters");
	(void)snprintf(bomb + n, sizeof(bomb) - n, "a = 0123456789012345678901234567890123456789\n");
	expand_fails(bomb, "$z", RC_LIMIT, "an expanded value is limited to 1048576 bytes");
}

static bool recipient(void *arg, struct span name, struct span *value)
{
	*value = span_str(arg);
	return span_is(name, "recipient");
}

/* What comes from a message is never expanded again. */
static void test_extra_names(void **state)
{
	static char evil[] = "$x${x}";
	struct conf *c = parse(settings);
	struct arena a;
	struct span out;
	struct err e = { 0 };

	(void)state;
	arena_init(&a);
	assert_int_equal(conf_expand_with(c, SPAN("-f $recipient $x"), recipient, evil, &a, &out, &e), RC_OK);
	assert_string_equal(out.p, "-f $x${x} X");
	arena_release(&a);
	conf_free(&c);
}

static void test_typed_values(void **state)
{
	struct conf *c =
	    parse("myhostname = mail.example.org\nsmtpd_timeout = 2m\nmaximal_queue_lifetime = 2\n"
		  "biff = No\nslow_destination_concurrency_limit = 3\nsmtpd_banner = $myhostname x\n"
		  "default_rbl_reply = $rbl_code $x\n");

	(void)state;
	assert_string_equal(conf_str(c, "mydomain"), "example.org");
	assert_string_equal(conf_str(c, "smtpd_banner"), "mail.example.org x");
	assert_string_equal(conf_str(c, "default_rbl_reply"), "$rbl_code $x");
	assert_string_equal(conf_str(c, "mydestination"),
			    "mail.example.org, localhost.example.org, localhost");
	assert_string_equal(conf_str(c, "config_directory"), "/nowhere");
	assert_int_equal(conf_int(c, "smtpd_timeout"), 120);
	assert_int_equal(conf_int(c, "maximal_queue_lifetime"), 2 * 86400);
	assert_int_equal(conf_int(c, "smtpd_starttls_timeout"), 300);
	assert_int_equal(conf_int(c, "smtpd_hard_error_limit"), 20);
	assert_false(conf_bool(c, "biff"));
	assert_true(conf_bool(c, "append_dot_mydomain")); /* no compatibility_level: that of old */
	assert_int_equal(conf_transport_int(c, "slow", "_destination_concurrency_limit",
					    "default_destination_concurrency_limit"),
			 3);
	assert_int_equal(conf_transport_int(c, "smtp", "_destination_concurrency_limit",
					    "default_destination_concurrency_limit"),
			 20);
	assert_int_equal(conf_transport_int(c, "local", "_destination_concurrency_limit",
					    "default_destination_concurrency_limit"),
			 2);
	conf_override(c, SPAN("stress"), SPAN("yes"));
	assert_int_equal(conf_int(c, "smtpd_hard_error_limit"), 1);
	assert_int_equal(conf_int(c, "smtpd_starttls_timeout"), 10);
	conf_override(c, SPAN("smtpd_banner"), SPAN(" other "));
	assert_string_equal(conf_str(c, "smtpd_banner"), "other");
	conf_free(&c);
}

/* As Debian has it: the name of a file stands for its first line. */
static void test_origin_file(void **state)
{
	char path[] = "/tmp/postern-origin-XXXXXX", text[100];
	FILE *f = fdopen(mkstemp(path), "w");
	struct conf *c;

	(void)state;
	assert_non_null(f);
	fputs("example.net\nsecond\n", f);
	(void)fclose(f);
	(void)snprintf(text, sizeof(text), "myorigin = %s\n", path);
	c = parse(text);
	assert_string_equal(conf_str(c, "myorigin"), "example.net");
	assert_string_equal(conf_raw(c, "myorigin"), path);
	(void)remove(path);
	conf_override(c, SPAN("stress"), SPAN("yes"));
	assert_string_equal(conf_str(c, "myorigin"), "example.net");
	conf_free(&c);
}

static void test_time(void **state)
{
	int64_t t = -1;

	(void)state;
	assert_int_equal(conf_parse_time(SPAN("5m"), 's', &t), RC_OK);
	assert_int_equal(t, 300);
	assert_int_equal(conf_parse_time(SPAN("5"), 'h', &t), RC_OK);
	assert_int_equal(t, 18000);
	assert_int_equal(conf_parse_time(SPAN("1w"), 's', &t), RC_OK);
	assert_int_equal(t, 604800);
	assert_int_equal(conf_parse_time(SPAN("5days"), 's', &t), RC_OK);
	assert_int_equal(t, 432000);
	assert_int_equal(conf_parse_time(SPAN("1d12h"), 's', &t), RC_OK);
	assert_int_equal(t, 86400);
	assert_int_equal(conf_parse_time(SPAN("5 d"), 's', &t), RC_SYNTAX);
	assert_int_equal(conf_parse_time(SPAN("days"), 's', &t), RC_SYNTAX);
	assert_int_equal(conf_parse_time(SPAN(""), 's', &t), RC_SYNTAX);
	assert_int_equal(conf_parse_time(SPAN("m"), 's', &t), RC_SYNTAX);
	assert_int_equal(conf_parse_time(SPAN("5y"), 's', &t), RC_SYNTAX);
	assert_int_equal(conf_parse_time(SPAN("-5"), 's', &t), RC_SYNTAX);
	assert_int_equal(conf_parse_time(SPAN("99999999w"), 's', &t), RC_LIMIT);
}

static void words_are(const char *text, size_t count, const char *const *expected)
{
	struct arena a;
	struct span *word;
	struct err e = { 0 };
	size_t n;

	arena_init(&a);
	assert_int_equal(conf_words(span_str(text), false, &a, &word, &n, &e), RC_OK);
	assert_int_equal(n, count);
	for (size_t i = 0; i < n; i++)
		assert_true(span_is(word[i], expected[i]));
	arena_release(&a);
}

static void test_words(void **state)
{
	struct arena a;
	struct span *word;
	struct err e = { 0 };
	size_t n;

	(void)state;
	words_are("", 0, NULL);
	words_are(" ,\t, ", 0, NULL);
	words_are("a, b\tc,,d", 4, (const char *const[]){ "a", "b", "c", "d" });
	words_are("{ a b } check inline:{a=b, {c = d}} x", 4,
		  (const char *const[]){ "a b", "check", "inline:{a=b, {c = d}}", "x" });
	words_are("!a {}", 2, (const char *const[]){ "!a", "" });
	arena_init(&a);
	assert_int_equal(conf_words(SPAN("a {b"), false, &a, &word, &n, &e), RC_SYNTAX);
	assert_string_equal(e.text, "missing '}' in \"{b\"");
	assert_int_equal(conf_words(SPAN("a /nowhere/list"), true, &a, &word, &n, &e), RC_NOTFOUND);
	assert_string_equal(e.text, "open /nowhere/list: No such file or directory");
	arena_release(&a);
}

static void test_words_of_files(void **state)
{
	char path[] = "/tmp/postern-words-XXXXXX", text[100];
	int fd = mkstemp(path);
	struct arena a;
	struct span *word;
	struct err e = { 0 };
	size_t n;
	FILE *f = fdopen(fd, "w");

	(void)state;
	assert_non_null(f);
	fputs("# networks\n10.0.0.0/8\n\n!10.1.0.0/16 x\n", f);
	(void)fclose(f);
	arena_init(&a);
	(void)snprintf(text, sizeof(text), "a !%s b", path);
	assert_int_equal(conf_words(span_str(text), true, &a, &word, &n, &e), RC_OK);
	assert_int_equal(n, 5);
	assert_true(span_is(word[1], "!10.0.0.0/8"));
	assert_true(span_is(word[2], "10.1.0.0/16"));
	assert_true(span_is(word[3], "!x"));
	f = fopen(path, "w"); /* names itself */
	assert_non_null(f);
	fputs(path, f);
	(void)fclose(f);
	assert_int_equal(conf_words(span_str(text), true, &a, &word, &n, &e), RC_LIMIT);
	arena_release(&a);
	(void)remove(path);
}

static void collect(void *arg, bool error, const char *text)
{
	struct buf *b = arg;

	(void)buf_printf(b, "%s%s\n", error ? "E " : "W ", text);
}

static void check_says(const char *conf, enum rc rc, const char *expected)
{
	struct conf *c = parse(conf);
	struct buf b;

	buf_init(&b, 65536);
	assert_int_equal(conf_check(c, collect, &b), rc);
	assert_string_equal(buf_cstr(&b), expected);
	buf_release(&b);
	conf_free(&c);
}

static void test_check(void **state)
{
	(void)state;
	check_says("smtpd_timeout = 5m\nmydestination = $mine\nmine = a\nslow_destination_rate_delay = 1s\n",
		   RC_OK, "");
	check_says("biff = maybe\n", RC_SYNTAX, "E main.cf line 1: biff = maybe: yes or no expected\n");
	check_says(
	    "\nsmtpd_timeout = 0\n", RC_SYNTAX,
	    "E main.cf line 2: smtpd_timeout = 0: less than the smallest value allowed (at least 1s)\n");
	check_says("smtpd_timeout = soon\n", RC_SYNTAX,
		   "E main.cf line 1: smtpd_timeout = soon: time expected: a number and s, m, h, d or w\n");
	check_says("message_size_limit = 99999999999999999999\n", RC_SYNTAX,
		   "E main.cf line 1: message_size_limit = 99999999999999999999: number too large\n");
	check_says("mydestinaton = a\n", RC_OK,
		   "W main.cf: unused parameter: mydestinaton=a (line 1; did you mean mydestination?)\n");
	check_says("postscreen_dnsbl_allowlist_threshold = -1\nmailbox_size_limit = -1\n", RC_SYNTAX,
		   "E main.cf line 2: mailbox_size_limit = -1: less than the smallest value allowed\n");
	check_says("qqqqqqqqqqq = a\n", RC_OK, "W main.cf: unused parameter: qqqqqqqqqqq=a (line 1)\n");
	check_says(
	    "relayhost = $a\na = $relayhost\n", RC_SYNTAX,
	    "E main.cf line 1: relayhost: parameter a refers to itself: a <- relayhost <- a\n"
	    "E main.cf line 2: a: parameter relayhost refers to itself: relayhost <- a <- relayhost\n");
	check_says("biff = no\nbiff = yes\n", RC_OK,
		   "W main.cf, line 2: overriding earlier entry: biff=no\n");
	check_says(" biff = no\n", RC_OK,
		   "W main.cf line 1: ignored, because it starts with white space: \" biff = no\"\n");
	check_says("smtpd_restriction_classes = strict\nstrict = reject\nalias_maps = "
		   "ldap:people\npeople_server_host = h\n",
		   RC_OK, "");
}

/* Every row: sorted, findable, and a default that fits its own type and bounds. */
static void test_table(void **state)
{
	struct conf *c = parse("");

	(void)state;
	for (size_t i = 0; conf_params[i].name != NULL; i++) {
		const struct param *p = &conf_params[i];

		if (i > 0)
			assert_true(strcmp(conf_params[i - 1].name, p->name) < 0);
		assert_ptr_equal(conf_param_find(span_str(p->name)), p);
		assert_true(p->programs != NULL && p->meaning[0] != '\0');
		if (p->type != P_RAW && strcmp(p->name, "postscreen_expansion_filter") != 0) {
			struct arena a;
			struct span value;
			struct err e = { 0 };
			int64_t number;
			const char *fault;

			arena_init(&a);
			if (conf_expand(c, span_str(p->def), &a, &value, &e) != RC_OK)
				fail_msg("%s: %s", p->name, e.text);
			fault = conf_typed_fault(p, value, &number);
			if (fault != NULL && p->def[0] != '\0') /* others are computed */
				fail_msg("%s = %s: %s", p->name, value.p, fault);
			arena_release(&a);
		}
	}
	assert_null(conf_param_find(SPAN("nosuch")));
	assert_null(conf_param_find(SPAN("")));
	assert_string_equal(conf_param_nearest(SPAN("myhostnam"))->name, "myhostname");
	assert_string_equal(conf_param_nearest(SPAN("smtpd_recipient_restriction"))->name,
			    "smtpd_recipient_restrictions");
	assert_null(conf_param_nearest(SPAN("completely_else")));
	conf_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logical_lines),
		cmocka_unit_test(test_old_defaults),
		cmocka_unit_test(test_wrong_lines),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_comparisons),
		cmocka_unit_test(test_broken_references),
		cmocka_unit_test(test_loops_and_limits),
		cmocka_unit_test(test_extra_names),
		cmocka_unit_test(test_typed_values),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_words_of_files),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_origin_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
