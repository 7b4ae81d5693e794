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
#define TEXT(name, least, greatest)
#include "conf_bounds.def"
#undef INT
#undef TIME
#undef BOOL
#undef TEXT
};

static const struct {
	const char *name;
	unsigned least, greatest;
} texts[] = {
#define INT(name, least, greatest)
#define TIME(name, least, greatest)
#define BOOL(name)
#define TEXT(name, least, greatest) { #name, least, greatest },
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

/* ---- lengths ---- */

static const char *text_fault(const struct param *p, size_t n)
{
	static const char xs[] = "xxxxxxxxxxxxxxxx";
	int64_t unused;

	return conf_typed_fault(p, span_make(xs, n), &unused);
}

static void test_lengths(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const struct param *p = conf_param_find(span_str(texts[i].name));

		assert_non_null(p);
		if (text_fault(p, texts[i].least - 1) == NULL || text_fault(p, texts[i].least) != NULL ||
		    (texts[i].greatest > 0 && text_fault(p, texts[i].greatest + 1) == NULL) ||
		    (texts[i].greatest == 0 && text_fault(p, 16) != NULL))
			fail_msg("%s", texts[i].name);
	}
}

static bool has_rule(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strcmp(texts[i].name, name) == 0)
			return true;
	return false;
}

/* What Postfix takes without a text is taken. */
static void test_others_may_be_empty(void **state)
{
	(void)state;
	for (const struct param *p = conf_params; p->name != NULL; p++)
		if ((p->type == P_STR || p->type == P_RAW) && !has_rule(p->name) && text_fault(p, 0) != NULL)
			fail_msg("%s", p->name);
}

struct said {
	const char *name;
	unsigned lines;
};

static void count_named(void *arg, bool error, const char *text)
{
	struct said *s = arg;

	if (error && strstr(text, s->name) != NULL && strstr(text, "main.cf line 1: ") != NULL &&
	    strstr(text, "too short (bad string length 0 < ") != NULL)
		s->lines++;
}

static void test_empty_texts_are_named(void **state)
{
	static const char *const how[] = { "", "  ", "$nothing" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts) * ARRAY_LEN(how); i++) {
		struct said s = { texts[i / ARRAY_LEN(how)].name, 0 };
		struct conf *c = NULL;
		struct err e = { 0 };
		char text[200];

		if (conf_param_find(span_str(s.name))->type == P_RAW && i % ARRAY_LEN(how) == 2)
			continue; /* its text is what it says */
		(void)snprintf(text, sizeof(text), "%s = %s\n", s.name, how[i % ARRAY_LEN(how)]);
		assert_int_equal(conf_parse(span_str(text), "main.cf", "/nonexistent", &c, &e), RC_OK);
		if (conf_check(c, count_named, &s) != RC_SYNTAX || s.lines != 1)
			fail_msg("%s", text);
		conf_free(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_every_one_is_named),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_others_may_be_empty),
		cmocka_unit_test(test_empty_texts_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
