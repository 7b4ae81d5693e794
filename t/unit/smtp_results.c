/* Claim: status codes (RFC 3463 section 2) are found where texts begin with them and nowhere else, and results of header_checks(5) and access(5) are
 * one action with an argument that fits it, or a story. */
#include "../../smtpd/access_action.c" /* a daemon's file: not in the archive */
#include "smtp/check_action.h"
#include "smtp/dsn_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void status_codes(void **state)
{
	static const struct {
		const char *text, *dsn, *rest; /* dsn NULL: none */
	} rows[] = {
		{ "5.1.1 no such user", "5.1.1", "no such user" },
		{ " 4.2.2\tfull ", "4.2.2", "full" },
		{ "2.0.0", "2.0.0", "" },
		{ "5.999.999 x", "5.999.999", "x" },
		{ "5.1234.1 x", NULL, NULL },
		{ "5.1.1234 x", NULL, NULL },
		{ "5..10 x", NULL, NULL },
		{ "5.1. x", NULL, NULL },
		{ "5.1 x", NULL, NULL },
		{ "5.1.1.1 x", NULL, NULL },
		{ "5.1.1x", NULL, NULL },
		{ "3.0.0 x", NULL, NULL },
		{ "50.1.1 x", NULL, NULL },
		{ "", NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span text = span_str(rows[i].text), dsn;
		bool found = dsn_take(&text, "245", &dsn);

		assert_int_equal(found, rows[i].dsn != NULL);
		assert_true(span_is(text, found ? rows[i].rest : rows[i].text));
		assert_true(!found || span_is(dsn, rows[i].dsn));
	}
	struct span text = SPAN("2.0.0 fine"), dsn;
	assert_false(dsn_take(&text, "45", &dsn));
}

/* A code of an unknown form, which reports would show, is none: the result stays as it was. */
static void status_filter(void **state)
{
	static const struct {
		const char *table, *dsn;
	} rows[] = {
		{ "static:{4.2.2 full}", "4.2.2" },
		{ "static:{5..10 no}", "5.1.1" },
		{ "static:{5.1.1111111111111111111 no}", "5.1.1" },
		{ "static:{2.0.0 fine}", "5.1.1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span dsn = SPAN("5.1.1"), reason = SPAN("gone");
		uint16_t status = DS_BOUNCED;
		struct maps *m;
		struct arena a;
		struct err e;

		arena_init(&a);
		assert_int_equal(maps_open("filter", span_str(rows[i].table), 0, &m, &e), RC_OK);
		(void)dsn_filter(m, &a, &status, &dsn, &reason);
		assert_true(span_is(dsn, rows[i].dsn));
		assert_int_equal(status, rows[i].dsn[0] == '4' ? DS_DEFERRED : DS_BOUNCED);
		maps_close(&m);
		arena_release(&a);
	}
}

static void header_checks(void **state)
{
	static const struct {
		const char *value;
		bool header;
		enum rc rc;
		enum check_verb verb;
		const char *text, *dsn;
	} rows[] = {
		{ "", true, RC_OK, CHECK_DUNNO, "", "" },
		{ "ok", true, RC_OK, CHECK_DUNNO, "", "" },
		{ "reject 4.7.1  later", true, RC_OK, CHECK_REJECT, "later", "4.7.1" },
		{ "REJECT 2.0.0 x", true, RC_OK, CHECK_REJECT, "2.0.0 x", "" },
		{ "PREPEND X-A: b", true, RC_OK, CHECK_PREPEND, "X-A: b", "" },
		{ "REPLACE X-A: b\n c", true, RC_OK, CHECK_REPLACE, "X-A: b\n c", "" },
		{ "REPLACE X-A: b\nc", true, RC_SYNTAX, 0, "", "" },
		{ "PREPEND X-A: b\n\nbody", true, RC_SYNTAX, 0, "", "" },
		{ "PREPEND two words: b", true, RC_SYNTAX, 0, "", "" },
		{ "PREPEND no colon", true, RC_SYNTAX, 0, "", "" },
		{ "PREPEND no colon", false, RC_OK, CHECK_PREPEND, "no colon", "" },
		{ "PREPEND", false, RC_SYNTAX, 0, "", "" },
		{ "FILTER smtp", true, RC_SYNTAX, 0, "", "" },
		{ "FILTER smtp:", true, RC_OK, CHECK_FILTER, "smtp:", "" },
		{ "BCC me", true, RC_SYNTAX, 0, "", "" },
		{ "REDIRECT a@b", true, RC_OK, CHECK_REDIRECT, "a@b", "" },
		{ "550 no", true, RC_SYNTAX, 0, "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct check_action out;
		struct err e = { .text = "" };

		assert_int_equal(
		    check_action_parse(span_str(rows[i].value), "header_checks", rows[i].header, &out, &e),
		    rows[i].rc);
		if (rows[i].rc != RC_OK) {
			assert_non_null(strstr(e.text, "header_checks"));
			continue;
		}
		assert_int_equal(out.verb, rows[i].verb);
		assert_true(span_is(out.text, rows[i].text) && span_is(out.dsn, rows[i].dsn));
	}
}

static void access_tables(void **state)
{
	static const struct {
		const char *value;
		enum rc rc;
		enum access_verb verb;
		unsigned code;
		const char *dsn, *text;
	} rows[] = {
		{ "  ", RC_OK, ACCESS_DUNNO, 0, "", "" },
		{ "relay", RC_OK, ACCESS_OK, 0, "", "" },
		{ "1234567", RC_OK, ACCESS_OK, 0, "", "" },
		{ "550", RC_OK, ACCESS_OK, 0, "", "" },
		{ "550 no", RC_OK, ACCESS_REFUSE, 550, "", "no" },
		{ "450 4.2.1 later", RC_OK, ACCESS_REFUSE, 450, "4.2.1", "later" },
		{ "550 5.7.1x no", RC_OK, ACCESS_REFUSE, 550, "", "5.7.1x no" },
		{ "650 no", RC_OK, ACCESS_RULES, 0, "", "650 no" },
		{ "REJECT 5.1.0 no", RC_OK, ACCESS_REFUSE, 0, "5.1.0", "no" },
		{ "DEFER", RC_OK, ACCESS_DEFER, 0, "", "" },
		{ "permit_mynetworks, reject", RC_OK, ACCESS_RULES, 0, "", "permit_mynetworks, reject" },
		{ "FILTER smtp:[h]", RC_OK, ACCESS_FILTER, 0, "", "smtp:[h]" },
		{ "FILTER smtp", RC_SYNTAX, ACCESS_DUNNO, 0, "", "smtp" },
		{ "BCC a@b.c", RC_OK, ACCESS_BCC, 0, "", "a@b.c" },
		{ "REDIRECT a", RC_SYNTAX, ACCESS_DUNNO, 0, "", "a" },
		{ "PREPEND A: b", RC_OK, ACCESS_PREPEND, 0, "", "A: b" },
		{ "PREPEND A: b\n\nc", RC_SYNTAX, ACCESS_DUNNO, 0, "", "A: b\n\nc" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct access_action out;
		struct err e;

		assert_int_equal(access_action_parse(span_str(rows[i].value), false, &out, &e), rows[i].rc);
		assert_int_equal(out.verb, rows[i].verb);
		assert_int_equal(out.code, rows[i].code);
		assert_true(span_is(out.dsn, rows[i].dsn) && span_is(out.text, rows[i].text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_codes),
		cmocka_unit_test(status_filter),
		cmocka_unit_test(header_checks),
		cmocka_unit_test(access_tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
