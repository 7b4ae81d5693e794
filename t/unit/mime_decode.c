/* Claim: encoded words of RFC 2047 become UTF-8, what is not one stays as written; parameters of RFC 2231 are
 * joined, decoded and turned into UTF-8; both cost no more than their input deserves. */
#include "mime/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena a;

static void encoded_words(void **state)
{
	(void)state;
	static const char *const t[][2] = {
		/* the examples of section 8, and what goes wrong in practice */
		{ "(=?ISO-8859-1?Q?a?=)", "(a)" },
		{ "(=?ISO-8859-1?Q?a?= b)", "(a b)" },
		{ "(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)" },
		{ "(=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=)", "(ab)" },
		{ "(=?ISO-8859-1?Q?a_b?=)", "(a b)" },
		{ "(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)" },
		{ "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo" },
		{ "=?iso-8859-1?q?Keld_J=F8rn_Simonsen?=", "Keld J\xc3\xb8rn Simonsen" },
		{ "=?utf-8*de?Q?=C3=BC?=", "\xc3\xbc" },
		{ "x =?utf-8?Q?=C3=BC?= y", "x \xc3\xbc y" },
		{ "=?no-such-set?Q?a?=", "=?no-such-set?Q?a?=" },
		{ "=?utf-8//IGNORE?Q?a?=", "=?utf-8//IGNORE?Q?a?=" },
		{ "=?utf-8?Q?=FF?=", "=?utf-8?Q?=FF?=" },
		{ "=?utf-8?X?a?=", "=?utf-8?X?a?=" },
		{ "=?utf-8?Q?a", "=?utf-8?Q?a" },
		{ "=?utf-8?Q?a=?= b", "a= b" },
		{ "=? =?"
		  "? =?"
		  "?"
		  "? ?=",
		  "=? =?"
		  "? =?"
		  "?"
		  "? ?=" },
		{ "=?utf-8?Q?"
		  "?=",
		  "" },
		{ "plain", "plain" },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct span got = header_decode(&a, span_str(t[i][0]));

		if (!span_is(got, t[i][1]))
			fail_msg("%s -> " SPAN_FMT, t[i][0], SPAN_ARG(got));
	}
}

static struct mime_param *v;
static size_t n;

static struct span param(const char *body, const char *name)
{
	struct span type, subtype;

	assert_true(params_parse_type(span_str(body), &a, &type, &subtype, &v, &n));
	return params_find(v, n, name);
}

static void parameters(void **state)
{
	(void)state;
	assert_true(span_is(param("text/plain; charset=us-ascii (Plain text)", "charset"), "us-ascii"));
	assert_true(span_is(param("text/plain; charset=\"us-ascii\"", "CHARSET"), "us-ascii"));
	assert_true(span_is(param("a/b; x=\"a\\\"b;c\"; y=2", "x"), "a\"b;c"));
	assert_true(span_is(param("a/b; x=1; x=2", "x"), "1"));
	assert_true(span_is(param("a/b; x = 1 ; y", "x"), "1"));
	assert_null(param("a/b; y", "y").p);
	assert_true(span_is(param("a/b;;; x=a/b@c", "x"), "a/b@c"));
}

static void rfc2231(void **state)
{
	(void)state;
	/* the examples of sections 3 and 4 */
	assert_true(span_is(param("message/external-body; access-type=URL; URL*0=\"ftp://\"; "
				  "URL*1=\"cs.utk.edu/pub/moore/x.tar\"",
				  "url"),
			    "ftp://cs.utk.edu/pub/moore/x.tar"));
	assert_true(span_is(
	    param("application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "title"),
	    "This is ***fun***"));
	assert_true(span_is(param("application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; "
				  "title*1*=%2A%2A%2Afun%2A%2A%2A%20; "
				  "title*2=\"isn't it!\"",
				  "title"),
			    "This is even more ***fun*** isn't it!"));
	assert_true(span_is(param("a/b; n*1=b; n*0=a; n*2=c", "n"), "abc")); /* order does not matter */
	assert_true(span_is(param("a/b; n*0=a; n*2=c", "n"), "a"));	     /* a gap ends it */
	assert_true(span_is(param("a/b; n*=iso-8859-1''J%F8rn", "n"), "J\xc3\xb8rn")); /* UTF-8 comes out */
	assert_true(span_is(param("a/b; n*0*=utf-8''%C3; n*1*=%BC", "n"),
			    "\xc3\xbc")); /* a character over two sections */
	assert_true(span_is(param("a/b; n*=no-such''%FF", "n"), "\xff"));
	assert_true(span_is(param("a/b; n*=bare%41", "n"), "bareA"));
	assert_int_equal(n, 1);
}

/* Memory is the witness of work that needs no clock. */
static void hostile_values_are_bounded(void **state)
{
	struct arena own;
	size_t len = 0, room = 4000000;
	char *p = xmalloc(room);
	struct span type, subtype;

	(void)state;
	arena_init(&own);
	len = (size_t)snprintf(p, room, "a/b");
	for (unsigned i = 0; i < 50000; i++)
		len += (size_t)snprintf(p + len, room - len, "; n*%u*=\"%%41%u\"", i % 300, i);
	assert_true(params_parse_type(span_make(p, len), &own, &type, &subtype, &v, &n));
	assert_true(n <= PARAMS_MAX);
	for (size_t i = 0; i < n; i++)
		assert_true(v[i].value.n <= PARAM_VALUE_MAX);
	assert_true(own.used_bytes < 2000000);
	arena_reset(&own);
	for (len = 0; len + 8 < 1000000; len += 7) /* each begins a word, none ends one */
		memcpy(p + len, "=?a?Q?x", 7);
	assert_true(header_decode(&own, span_make(p, len)).n <= 64 * 1024);
	arena_release(&own);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encoded_words),
		cmocka_unit_test(parameters),
		cmocka_unit_test(rfc2231),
		cmocka_unit_test(hostile_values_are_bounded),
	};

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
