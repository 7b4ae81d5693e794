/* Claim: the codings give what their RFCs state, and their decoders accept nothing else (RFC 4648, 3461,
 * 3629). */
#include "base/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef void encode_fn(struct buf *, struct span);
typedef enum rc decode_fn(struct buf *, struct span);

static void encodes(encode_fn *encode, const char *in, const char *want)
{
	struct buf b;

	buf_init(&b, 1000);
	encode(&b, span_str(in));
	assert_string_equal(buf_cstr(&b), want);
	buf_release(&b);
}

static void decodes(decode_fn *decode, const char *in, const char *want)
{
	struct buf b;

	buf_init(&b, 1000);
	assert_int_equal(buf_puts(&b, "before:"), RC_OK);
	assert_int_equal(decode(&b, span_str(in)), want != NULL ? RC_OK : RC_SYNTAX);
	assert_true(span_starts(buf_span(&b), SPAN("before:")));
	assert_string_equal(buf_cstr(&b) + 7, want != NULL ? want : "");
	buf_release(&b);
}

/* RFC 4648 section 10. */
static void base64_gives_the_rfc_vectors(void **state)
{
	static const char *const pairs[][2] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		encodes(base64_encode, pairs[i][0], pairs[i][1]);
		decodes(base64_decode, pairs[i][1], pairs[i][0]);
	}
}

static void base64_decode_is_strict(void **state)
{
	static const char *const bad[] = { "Z",	   "Zg",   "Zg=",	  "Zg=a",   "Zm9=", "Zh==",
					   "=",	   "====", "Z===",	  "Zm9v\n", " Zm9", "Zm9vZg==Zm9v",
					   "Zm-v", "Zm_v", "Zg==\r\n\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		decodes(base64_decode, bad[i], NULL);
}

static void base64_keeps_every_byte(void **state)
{
	struct buf text, back;
	char all[256];

	(void)state;
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	buf_init(&text, 1000);
	buf_init(&back, 256);
	base64_encode(&text, span_make(all, 256));
	assert_int_equal(base64_decode(&back, buf_span(&text)), RC_OK);
	assert_memory_equal(back.p, all, 256);
	assert_int_equal(base64_decode(&back, buf_span(&text)), RC_LIMIT);
	buf_release(&text);
	buf_release(&back);
}

static void hex_codes_both_ways(void **state)
{
	(void)state;
	encodes(hex_encode, "\x01\xab\xff", "01abff");
	decodes(hex_decode, "01ABfe", "\x01\xab\xfe");
	decodes(hex_decode, "", "");
	decodes(hex_decode, "0", NULL);
	decodes(hex_decode, "0g", NULL);
	decodes(hex_decode, "0x", NULL);
}

/* RFC 3461 section 4: hexchar is "+" and two upper case digits; "+" and "=" never stand for themselves. */
static void xtext_follows_rfc_3461(void **state)
{
	(void)state;
	encodes(xtext_encode, "a+b=c d\xff", "a+2Bb+3Dc+20d+FF");
	decodes(xtext_decode, "a+2Bb+3Dc+20d", "a+b=c d");
	decodes(xtext_decode, "a+2bc", "a+c");
	decodes(xtext_decode, "a+2g", NULL);
	decodes(xtext_decode, "a+2", NULL);
	decodes(xtext_decode, "a+", NULL);
	decodes(xtext_decode, "a=b", "a=b");
	decodes(xtext_decode, "a b", NULL);
	decodes(xtext_decode, "a\x80", NULL);
}

static void utf8_valid_follows_rfc_3629(void **state)
{
	static const char *const good[] = { "",
					    "ascii only, and long enough for words",
					    "\xc2\x80",
					    "\xdf\xbf",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xee\x80\x80",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf",
					    "1234567\xc3\xa4",
					    "12345678\xc3\xa4 and on it goes" };
	static const char *const bad[] = {
		"\x80",	     "\xc0\x80",	 "\xc1\xbf",	     "\xc3",
		"\xc3(",     "\xe0\x9f\xbf",	 "\xed\xa0\x80",     "\xe2\x82",
		"\xe2\x82(", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xff",	     "12345678\xe4"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(utf8_valid(span_str(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(utf8_valid(span_str(bad[i])));
	assert_true(utf8_valid(SPAN_NONE));
}

static void ascii_and_secrets(void **state)
{
	(void)state;
	assert_true(span_is_ascii(SPAN("12345678\x7f\0")));
	assert_false(span_is_ascii(SPAN("1234567\x80")));
	assert_false(span_is_ascii(SPAN("12345678\x80")));
	assert_true(span_is_ascii(SPAN_NONE));
	assert_true(span_eq_secret(SPAN("secret"), SPAN("secret")));
	assert_false(span_eq_secret(SPAN("secret"), SPAN("secreT")));
	assert_false(span_eq_secret(SPAN("secret"), SPAN("secret ")));
}

/* RFC 3720 appendix B.4, and that a sum may be continued at any point. */
static void crc32c_gives_the_rfc_vectors(void **state)
{
	char bytes[1000];

	(void)state;
	assert_int_equal(crc32c(0, SPAN("123456789")), 0xe3069283U);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(0, span_make(bytes, 32)), 0x8a9136aaU);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(0, span_make(bytes, 32)), 0x62a8ab43U);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)i;
	assert_int_equal(crc32c(0, span_make(bytes, 32)), 0x46dd794eU);
	for (size_t cut = 0; cut < 40; cut++) {
		uint32_t crc = crc32c(0, span_make(bytes, cut));

		assert_int_equal(crc32c(crc, span_make(bytes + cut, sizeof(bytes) - cut)),
				 crc32c(0, span_make(bytes, sizeof(bytes))));
	}
	assert_int_equal(crc32c(0, SPAN_NONE), 0);
}

static void crc32c_by_table_agrees(void **state)
{
	char bytes[300];

	(void)state;
	random_bytes(bytes, sizeof(bytes));
	for (size_t n = 0; n < sizeof(bytes); n++)
		assert_int_equal(crc32c_by_table(7, span_make(bytes, n)), crc32c(7, span_make(bytes, n)));
}

static void random_bytes_fills_all(void **state)
{
	unsigned char a[64] = { 0 }, b[64] = { 0 };

	(void)state;
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

static void json_strings(void **state)
{
	static const struct {
		const char *text, *json;
	} v[] = {
		{ "", "\"\"" },
		{ "say \"hi\" \\o/", "\"say \\\"hi\\\" \\\\o/\"" },
		{ "a\nb\x7f", "\"a\\u000ab\\u007f\"" },
		{ "caf\xc3\xa9", "\"caf\xc3\xa9\"" },
		{ "caf\xe9 \xc3\xa9", "\"caf\\u00e9 \\u00c3\\u00a9\"" }, /* not UTF-8: byte by byte */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		char got[100] = "";
		FILE *f = fmemopen(got, sizeof(got), "w");

		assert_non_null(f);
		json_print(f, span_str(v[i].text));
		fclose(f);
		assert_string_equal(got, v[i].json);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_gives_the_rfc_vectors),
		cmocka_unit_test(base64_decode_is_strict),
		cmocka_unit_test(base64_keeps_every_byte),
		cmocka_unit_test(hex_codes_both_ways),
		cmocka_unit_test(xtext_follows_rfc_3461),
		cmocka_unit_test(utf8_valid_follows_rfc_3629),
		cmocka_unit_test(json_strings),
		cmocka_unit_test(ascii_and_secrets),
		cmocka_unit_test(crc32c_gives_the_rfc_vectors),
		cmocka_unit_test(crc32c_by_table_agrees),
		cmocka_unit_test(random_bytes_fills_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
