/* What is wrong in main.cf or master.cf is named, with file and line, in words that tell the remedy: each input of
 * conf_wrong.def and all that is said about it. F: the file is refused; E: a setting is, and with it the
 * configuration; W: a warning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>
#include "conf/conf_int.h"
#include "conf/mastercf.h"

static const struct row {
	bool master; /* the text is master.cf, else main.cf */
	const char *text, *said;
} rows[] = {
#define MAIN(text, said)   { false, text, said },
#define MASTER(text, said) { true, text, said },
#include "conf_wrong.def"
};

static char dir[] = "/tmp/postern-wrong-XXXXXX", main_cf[100], master_cf[100];

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) >= 0, 1);
	assert_int_equal(fclose(f), 0);
}

static void say(struct buf *out, char kind, const char *text)
{
	for (const char *at; (at = strstr(text, dir)) != NULL;) { /* DIR/main.cf -> main.cf */
		if (kind != '\0')
			(void)buf_printf(out, "%s%c ", out->n > 0 ? "|" : "", kind);
		kind = '\0';
		(void)buf_append(out, span_make(text, (size_t)(at - text)));
		text = at + strlen(dir) + 1;
	}
	if (kind != '\0')
		(void)buf_printf(out, "%s%c ", out->n > 0 ? "|" : "", kind);
	(void)buf_puts(out, text);
}

static void report(void *arg, bool error, const char *text)
{
	say(arg, error ? 'E' : 'W', text);
}

static void judge(const struct row *r, struct buf *out)
{
	struct conf *c = NULL;
	struct mastercf *m = NULL;
	struct err e = { 0 };

	write_file(main_cf, r->master ? "compatibility_level = 3.6\n" : r->text);
	write_file(master_cf, r->master ? r->text : "smtp inet n - n - - smtpd\n");
	if (conf_load(dir, &c, &e) != RC_OK || mastercf_load(dir, NULL, &m, &e) != RC_OK)
		say(out, 'F', e.text);
	else
		assert_int_equal(conf_check(c, report, out),
				 strstr(r->said, "E ") != NULL ? RC_SYNTAX : RC_OK);
	mastercf_free(&m);
	conf_free(&c);
}

static void test_wrong_inputs(void **state)
{
	unsigned failed = 0;

	(void)state;
	assert_true(ARRAY_LEN(rows) >= 200);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out;

		buf_init(&out, 65536);
		judge(&rows[i], &out);
		if (strcmp(buf_cstr(&out), rows[i].said) != 0) {
			print_error("row %zu: \"%s\"\n  said     %s\n  expected %s\n", i, rows[i].text,
				    buf_cstr(&out), rows[i].said);
			failed++;
		}
		buf_release(&out);
	}
	assert_int_equal(failed, 0);
}

static void count(void *arg, bool error, const char *text)
{
	unsigned *n = arg;

	assert_false(error);
	assert_non_null(strstr(text, "unused parameter: some_name_"));
	(*n)++;
}

/* Big files are read in time that grows with them, and beyond the bounds refused. */
static void test_big_inputs(void **state)
{
	struct buf big;
	struct conf *c = NULL;
	struct err e = { 0 };
	unsigned warnings = 0;

	(void)state;
	buf_init(&big, 2 * CONF_FILE_MAX);
	for (unsigned i = 0; i < 10000; i++) /* settings that refer to each other in a chain */
		(void)buf_printf(&big, "name_%u = ${name_%u}\n", i, i + 1);
	assert_int_equal(conf_parse(buf_span(&big), "main.cf", dir, &c, &e), RC_OK);
	assert_string_equal(conf_raw(c, "name_9999"), "${name_10000}");
	conf_free(&c);
	buf_reset(&big);
	for (unsigned i = 0; i < 10000; i++) /* names that nothing reads: each costs little */
		(void)buf_printf(&big, "some_name_%u = type:%u\n", i, i);
	assert_int_equal(conf_parse(buf_span(&big), "main.cf", dir, &c, &e), RC_OK);
	assert_int_equal(conf_check(c, count, &warnings), RC_OK);
	assert_int_equal(warnings, 10000);
	conf_free(&c);
	buf_reset(&big);
	(void)buf_puts(&big, "mydestination =");
	for (unsigned i = 0; i < 10000; i++)
		(void)buf_printf(&big, "\n  d%u.example.org,", i);
	assert_int_equal(conf_parse(buf_span(&big), "main.cf", dir, &c, &e), RC_OK);
	assert_int_equal(span_ends(span_str(conf_raw(c, "mydestination")), SPAN("d9999.example.org,")), true);
	conf_free(&c);
	buf_reset(&big);
	(void)buf_puts(&big, "relayhost = ");
	while (big.n <= CONF_FILE_MAX - 2)
		(void)buf_puts(&big, "x");
	assert_int_equal(conf_parse(buf_span(&big), "main.cf", dir, &c, &e), RC_LIMIT);
	assert_string_equal(e.text, "main.cf line 1: a logical line is limited to 1048576 bytes");
	(void)buf_puts(&big, "xxxx\n");
	assert_int_equal(conf_parse(buf_span(&big), "main.cf", dir, &c, &e), RC_LIMIT);
	assert_string_equal(e.text, "main.cf: a configuration file is limited to 10485760 bytes");
	buf_release(&big);
}

static int setup(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(main_cf, sizeof(main_cf), "%s/main.cf", dir);
	(void)snprintf(master_cf, sizeof(master_cf), "%s/master.cf", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(main_cf);
	(void)unlink(master_cf);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_inputs),
		cmocka_unit_test(test_big_inputs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
