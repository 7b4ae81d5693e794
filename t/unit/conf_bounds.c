/* The bounds of numbers, times and booleans are those of Postfix, for each parameter of conf_bounds.def: a least and a greatest value
 * are taken, what is beyond them is refused, and so are a negative number, one that fits nowhere, and a word; an empty value warns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "conf/conf_int.h"

static const struct row {
	const char *name;
	int64_t least, greatest; /* 0: none */
	bool time, boolean;
} rows[] = {
#define INT(name, least, greatest)  { #name, least, greatest, false, false },
#define TIME(name, least, greatest) { #name, least, greatest, true, false },
#define BOOL(name)		    { #name, 0, 0, false, true },
#include "conf_bounds.def"
};

static unsigned failed;

static void expect(const struct row *r, const char *value, bool taken)
{
	const struct param *p = conf_param_find(span_str(r->name));
	int64_t number;
	const char *fault;

	assert_non_null(p);
	fault = conf_typed_fault(p, span_str(value), &number);
	if ((fault == NULL) == taken)
		return;
	print_error("%s = %s: %s\n", r->name, value, fault != NULL ? fault : "taken");
	failed++;
}

static void expect_number(const struct row *r, int64_t value, bool taken)
{
	char text[40];

	(void)snprintf(text, sizeof(text), "%jd%s", (intmax_t)value, r->time ? "s" : "");
	expect(r, text, taken);
}

static void try_number(const struct row *r)
{
	expect_number(r, 0, r->least <= 0);
	expect_number(r, -1, false);
	expect_number(r, r->least, true);
	if (r->least > 0)
		expect_number(r, r->least - 1, false);
	if (r->greatest > 0) {
		expect_number(r, r->greatest, true);
		expect_number(r, r->greatest + 1, false);
	}
	expect(r, "99999999999999999999", false);
	expect(r, "x", false);
	expect(r, "yes", false);
	expect(r, "1 2", false);
}

static void try_boolean(const struct row *r)
{
	static const char *const taken[] = { "yes", "no", "YES", "No" };
	static const char *const refused[] = { "0", "1", "-1", "x", "true", "off", "yes no", "99999999999" };

	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		expect(r, taken[i], true);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		expect(r, refused[i], false);
}

static void test_bounds(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		(rows[i].boolean ? try_boolean : try_number)(&rows[i]);
	assert_int_equal(failed, 0);
}

/* ---- a main.cf with all of them ---- */

static void count_empty(void *arg, bool error, const char *text)
{
	unsigned *n = arg;

	assert_false(error);
	if (strstr(text, "; using the default") != NULL)
		(*n)++;
}

static void count_errors(void *arg, bool error, const char *text)
{
	unsigned *n = arg;

	*n += error && strstr(text, ": number expected") != NULL;
	*n += error && strstr(text, ": time expected: ") != NULL;
	*n += error && strstr(text, ": yes or no expected") != NULL;
}

/* Says of main.cf with every parameter set to `value` whether it may be used; *n: what report() counted. */
static enum rc check_all(const char *value, void (*report)(void *arg, bool error, const char *text),
			 unsigned *n)
{
	struct buf text;
	struct conf *c = NULL;
	struct err e = { 0 };
	enum rc rc;

	buf_init(&text, CONF_FILE_MAX);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(buf_printf(&text, "%s = %s\n", rows[i].name, value), RC_OK);
	assert_int_equal(conf_parse(buf_span(&text), "main.cf", "/nonexistent", &c, &e), RC_OK);
	*n = 0;
	rc = conf_check(c, report, n);
	conf_free(&c);
	buf_release(&text);
	return rc;
}

static void test_every_one_is_named(void **state)
{
	unsigned n;

	(void)state;
	assert_int_equal(check_all("", count_empty, &n), RC_OK);
	assert_int_equal(n, ARRAY_LEN(rows));
	assert_int_equal(check_all("x", count_errors, &n), RC_SYNTAX);
	assert_int_equal(n, ARRAY_LEN(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_every_one_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
