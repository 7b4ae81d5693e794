/* t/unit/smtp_reply.c - smtp/reply.h and smtp/dlog.h: replies of one and many lines (RFC 5321 section 4.2),
 * enhanced codes (RFC 2034), bounds, and the delays of delivery log lines. */
#include "smtp/dlog.h"
#include "smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static enum rc feed_all(struct smtp_reply *r, const char *text)
{
	struct span rest = span_str(text), line;
	enum rc rc = RC_AGAIN;
	smtp_reply_reset(r);
	while (rc == RC_AGAIN && span_next(&rest, '\n', &line))
		rc = smtp_reply_feed(r, line);
	return rc;
}

static void replies(void **state)
{
	static const struct {
		const char *text;
		enum rc rc;
		unsigned code;
		const char *dsn;
	} rows[] = {
		{ "250 2.1.5 Ok", RC_OK, 250, "2.1.5" },
		{ "250", RC_OK, 250, "" },
		{ "250 ", RC_OK, 250, "" },
		{ "550-5.1.1 a\n550 5.1.1 b", RC_OK, 550, "5.1.1" },
		{ "250 5.1.5 wrong class", RC_OK, 250, "" },
		{ "250 2.1.5x", RC_OK, 250, "" },
		{ "250 2.1", RC_OK, 250, "" },
		{ "250 2..1", RC_OK, 250, "" },
		{ "250 2.1234.5", RC_OK, 250, "" },
		{ "450 4.7.999", RC_OK, 450, "4.7.999" },
		{ "354 3.0.0 go", RC_OK, 354, "" },
		{ "250 20.0.0 x", RC_OK, 250, "" },
		{ "250-a", RC_AGAIN, 250, "" },
		{ "250-2.0.0 a\n550 5.1.0 b", RC_OK, 550, "5.1.0" },
		{ "25", RC_SYNTAX, 0, "" },
		{ "150 1.0.0 x", RC_OK, 150, "" },
		{ "650 6.1.1 x", RC_OK, 650, "" },
		{ "hello", RC_SYNTAX, 0, "" },
		{ "2500 x", RC_SYNTAX, 0, "" },
		{ "250\tx", RC_SYNTAX, 0, "" },
	};
	struct smtp_reply r;
	(void)state;
	smtp_reply_init(&r);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(feed_all(&r, rows[i].text), rows[i].rc);
		if (rows[i].rc != RC_OK)
			continue;
		assert_int_equal(r.code, rows[i].code);
		assert_string_equal(r.dsn, rows[i].dsn);
	}
	smtp_reply_release(&r);
}

static void text_and_lines(void **state)
{
	struct smtp_reply r;
	struct arena a;
	struct span line;
	(void)state;
	arena_init(&a);
	smtp_reply_init(&r);
	assert_int_equal(feed_all(&r, "250-one\n250-\x01two\n250 three"), RC_OK);
	assert_true(span_is(smtp_reply_text(&r, &a), "250-one 250-?two 250 three"));
	assert_true(smtp_reply_line(&r, 1, &line) && span_is(line, "?two"));
	assert_true(smtp_reply_line(&r, 2, &line) && span_is(line, "three"));
	assert_false(smtp_reply_line(&r, 3, &line));
	smtp_reply_release(&r);
	arena_release(&a);
}

static void is_bounded(void **state)
{
	struct smtp_reply r;
	char line[SMTP_REPLY_LINE_MAX];
	enum rc rc = RC_AGAIN;
	int n = 0;
	(void)state;
	memset(line, 'x', sizeof line);
	memcpy(line, "250-", 4);
	smtp_reply_init(&r);
	for (; rc == RC_AGAIN; n++)
		rc = smtp_reply_feed(&r, span_make(line, sizeof line));
	assert_int_equal(rc, RC_LIMIT);
	assert_int_equal(n, SMTP_REPLY_LINES + 1);
	assert_true(r.text.n <= SMTP_REPLY_BYTES);
	smtp_reply_release(&r);
}

static void delays(void **state)
{
	static const struct {
		int64_t us;
		unsigned digits;
		const char *out;
	} rows[] = {
		{ -5, 2, "0" },	       { 0, 2, "0" },		{ 4000, 2, "0" },      { 5000, 2, "0.01" },
		{ 123456, 2, "0.12" }, { 100000, 2, "0.1" },	{ 1234567, 2, "1.2" }, { 9960000, 2, "10" },
		{ 12345678, 2, "12" }, { 123456789, 2, "123" }, { 1234, 0, "0" },      { 1234, 6, "0.0012" },
		{ 600000, 0, "1" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[DLOG_DELAY_MAX];
		dlog_format_delay(rows[i].us, rows[i].digits, text);
		assert_string_equal(text, rows[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies),
		cmocka_unit_test(text_and_lines),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(delays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
