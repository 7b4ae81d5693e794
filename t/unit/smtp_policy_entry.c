/* Claim: entries of smtp_tls_policy_maps (postconf(5)) are a level with attributes that fit it, lists of names and fingerprints are whole, and
 * patterns of MX hosts stand for one label (RFC 8461 section 4.1). */
#include "../../smtp/policy_entry.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena a;

static void entries(void **state)
{
	static const struct {
		const char *text, *story; /* story NULL: taken */
		enum tls_level level;
	} rows[] = {
		{ "may", NULL, TLS_MAY },
		{ "none match=x", NULL, TLS_NONE },
		{ "Secure match=a match=b:c", NULL, TLS_SECURE },
		{ "dane", NULL, TLS_DANE },
		{ "", "empty policy", 0 },
		{ "dane-only", "invalid security level", 0 },
		{ "may match=a", "invalid at security level", 0 },
		{ "fingerprint tafile=/a", "invalid at security level", 0 },
		{ "may what", "missing '='", 0 },
		{ "may colour=red", "invalid attribute name", 0 },
		{ "may { policy_string = a b", "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct policy_entry p;
		struct err e = { .text = "" };
		enum rc rc = policy_entry_parse(span_str(rows[i].text), &a, &p, &e);

		assert_int_equal(rc == RC_OK, rows[i].story == NULL);
		if (rc == RC_OK)
			assert_int_equal(p.level, rows[i].level);
		else
			assert_true(e.text[0] != '\0' && strstr(e.text, rows[i].story) != NULL);
	}
}

static void joined(void **state)
{
	struct policy_entry p;
	struct err e;

	(void)state;
	assert_int_equal(
	    policy_entry_parse(
		SPAN("verify match=a match=b:c tafile=/x tafile=/y ciphers=high ciphers=medium"), &a, &p, &e),
	    RC_OK);
	assert_true(span_is(p.match, "a|b:c") && span_is(p.tafile, "/x,/y") && span_is(p.ciphers, "medium"));
	assert_int_equal(policy_entry_parse(SPAN("none a=b c=d"), &a, &p, &e), RC_OK);
	assert_int_equal(p.ignored_n, 2);
}

/* Also the hundredth fingerprint counts. */
static void words(void **state)
{
	struct span *v;
	struct buf b;

	(void)state;
	assert_int_equal(policy_words(SPAN("a:b|c, d"), false, &a, &v), 4);
	assert_int_equal(policy_words(SPAN("0A:1B|2C"), true, &a, &v), 2);
	assert_true(span_is(v[0], "0A:1B"));
	buf_init(&b, 4096);
	for (int i = 0; i < 100; i++)
		(void)buf_printf(&b, "%02d:ab|", i);
	assert_int_equal(policy_words(buf_span(&b), true, &a, &v), 100);
	assert_true(span_is(v[99], "99:ab"));
	buf_release(&b);
}

static void patterns(void **state)
{
	static const struct {
		const char *pattern, *host;
		bool fits;
	} rows[] = {
		{ "mx.example.com", "MX.example.com", true },
		{ "*.example.com", "mx.example.com", true },
		{ ".example.com", "mx.example.com", true },
		{ "*.example.com", "a.mx.example.com", false },
		{ "*.example.com", "example.com", false },
		{ "*.example.com", ".example.com", false },
		{ "a.test|*.example.com", "mx.example.com", true },
		{ "", "mx.example.com", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct policy_entry p = { .mx_pattern = span_str(rows[i].pattern) };

		assert_int_equal(policy_entry_fits(&p, span_str(rows[i].host)), rows[i].fits);
	}
}

static int begin(void **state)
{
	(void)state;
	arena_init(&a);
	return 0;
}

static int end(void **state)
{
	(void)state;
	arena_release(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries),
		cmocka_unit_test(joined),
		cmocka_unit_test(words),
		cmocka_unit_test(patterns),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
