/* Claim: paths of RFC 5321 section 4.1.2 are taken or refused, never repaired; quoting survives both ways;
 * the corpora of addresses get the verdict of the RFC, known leniencies (dots anywhere, no length of the
 * local part) apart. */
#include "mime/address.h"
#include "base/codec.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct arena a;

static bool path(const char *text, bool utf8, const char *want)
{
	struct span out = SPAN_NONE;
	bool routed;

	if (address_parse_path(span_str(text), utf8, &a, &out, &routed) != RC_OK)
		return want == NULL;
	return want && span_is(out, want);
}

static void path_takes_what_the_grammar_has(void **state)
{
	(void)state;
	static const char *const same[] = { "a@b.example",
					    "a.b+c=d/e@x-y.example",
					    "\"a b\"@x.example",
					    "\"a@b\"@x.example",
					    "\"\\\"\"@x.example",
					    "\"\"@x.example",
					    "postmaster",
					    "a@[192.0.2.1]",
					    "a@[IPv6:2001:db8::1]",
					    "a..b.@x.example",
					    "!#$%&'*+-/=?^_`{|}~@x.example" };

	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		if (!path(same[i], false, same[i]))
			fail_msg("%s", same[i]);
	assert_true(path("a@b.example.", false, "a@b.example.")); /* the root's dot */
	assert_true(path("a@b.example..", false, NULL) && path("a@.", false, NULL));
}

static void path_refuses_the_rest(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
					   "@",
					   "a@",
					   "@b.example",
					   "a b@x.example",
					   "a@b..example",
					   "a@-b.example",
					   "a@b-.example",
					   "a@.b.example",
					   "\"a@x.example",
					   "\"a\"b@x.example",
					   "a\"b\"@x.example",
					   "a@[300.1.1.1]",
					   "a@[IPv6:zz]",
					   "a@[192.0.2.1",
					   "a@b c.example",
					   "a@b\rc.example",
					   "a\n@x.example",
					   "\"a\nb\"@x.example",
					   "a@b,c@d",
					   "<a@b.example>",
					   "a@b.example..",
					   "a(c)@b.example",
					   "a@b_c.example@d" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (!path(bad[i], false, NULL))
			fail_msg("taken: %s", bad[i]);
}

static void path_drops_source_routes(void **state)
{
	struct span out;
	bool routed = false;

	(void)state;
	assert_int_equal(
	    address_parse_path(SPAN("@a.example,@[IPv6:::1]:\"x:y\"@b.example"), false, &a, &out, &routed),
	    RC_OK);
	assert_true(routed);
	assert_true(span_is(out, "\"x:y\"@b.example"));
	assert_true(path("@a.example", false, NULL));
	assert_true(path("@a.example,b@c.example", false, NULL));
	assert_true(path("a.example:b@c.example", false, NULL));
}

static void path_takes_utf8_only_when_allowed(void **state)
{
	(void)state;
	assert_true(path("\xc3\xa9@x.example", false, NULL));
	assert_true(path("\xc3\xa9@b\xc3\xbc.example", true, "\xc3\xa9@b\xc3\xbc.example"));
	assert_true(path("\xc3@x.example", true, NULL));
	assert_false(address_valid(SPAN("\xff@x.example"), true));
}

static void split_is_at_the_last_at_outside_quotes(void **state)
{
	struct address p;

	(void)state;
	p = address_split(SPAN("\"a@b\"@c"));
	assert_true(span_is(p.local, "\"a@b\"") && span_is(p.domain, "c"));
	p = address_split(SPAN("a@b@c"));
	assert_true(span_is(p.local, "a@b") && span_is(p.domain, "c"));
	p = address_split(SPAN("\"a@b\""));
	assert_true(span_is(p.local, "\"a@b\"") && p.domain.n == 0);
}

static void quoting_goes_both_ways(void **state)
{
	static const char *const pair[][2] = { { "a b@c", "\"a b\"@c" },     { "a\"b@c", "\"a\\\"b\"@c" },
					       { "a\\b@c", "\"a\\\\b\"@c" }, { "a@b@c", "\"a@b\"@c" },
					       { "a.b@c", "a.b@c" },	     { "@c", "\"\"@c" },
					       { "a,b@c", "\"a,b\"@c" },     { "a..b@c", "\"a..b\"@c" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pair); i++) {
		assert_true(span_is(address_quote(&a, span_str(pair[i][0])), pair[i][1]));
		assert_true(span_is(address_unquote(&a, span_str(pair[i][1])), pair[i][0]));
	}
}

static void what_people_write_is_read_leniently(void **state)
{
	static const struct {
		const char *text, *external;
		bool has_at, doubtful;
	} t[] = {
		{ "a.b@c", "a.b@c", true, false },
		{ "\"plain\"@c", "plain@c", true, false },
		{ "\"a\\b\"@c", "ab@c", true, false },
		{ "\"a b\"@c", "\"a b\"@c", true, false },
		{ "first.\"la st\"@c", "\"first.la st\"@c", true, false },
		{ "a\\@b@c", "\"a@b\"@c", true, false },
		{ "a@b@c", "\"a@b\"@c", true, false },
		{ "a..b@c", "\"a..b\"@c", true, false },
		{ ".a@c", "\".a\"@c", true, false },
		{ "a.@c", "\"a.\"@c", true, false },
		{ " a @ c . d ", "a@c.d", true, false },
		{ "a b@c", "\"a b\"@c", true, true },
		{ "\"a\"b@c", "\"a b\"@c", true, true },
		{ "a@[192.0.2.1", "a@[192.0.2.1]", true, false },
		{ "\"never@ends", "\"never@ends\"@", false, false },
		{ "a,b@c", "\"a, b\"@c", true, true },
		{ "a(x@y)b@c", "\"a (x@y) b\"@c", true, true },
		{ "a(x@c", "\"a (x@c\"@", false, true },
		{ "a @ b c", "a@b c", true, true },
		{ "a<b@c", "\"a <b\"@c", true, true },
		{ "@a,@b:u@c", "u@c", true, true },
		{ "\\,@", "\",\"@", true, false },
		{ "[a@b@c", "\"[a@b@c]\"@", false, false },
		{ "@c", "\"\"@c", true, false },
		{ "a@", "a@", true, false },
		{ "back\\", "back@", false, false },
	};
	struct address_loose l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct span got;

		address_read(span_str(t[i].text), &a, &l);
		got = address_join(&a, l.local, l.domain);
		if (!span_is(got, t[i].external) || l.has_at != t[i].has_at || l.doubtful != t[i].doubtful)
			fail_msg("%s: " SPAN_FMT " %d %d", t[i].text, SPAN_ARG(got), l.has_at, l.doubtful);
	}
}

static void operators_count_outside_quotes(void **state)
{
	struct address_loose l;

	(void)state;
	address_read(SPAN("a!b%c!d%e"), &a, &l);
	assert_true(l.bang == 1 && l.percent == 7);
	address_read(SPAN("\"a!b\"c%\"d%e\""), &a, &l);
	assert_true(l.bang == -1 && l.percent == 5);
	address_read(SPAN("!a"), &a, &l);
	assert_true(l.bang == 0 && l.percent == -1);
}

static bool splits(const char *local, const char *delimiters, bool owner_requests, const char *user,
		   const char *ext)
{
	struct span u, x;

	return address_split_extension(span_str(local),
				       (struct address_extensions){ delimiters, owner_requests }, &u, &x) &&
	       span_is(u, user) && span_is(x, ext);
}

static void extension_is_split_at_the_first_delimiter(void **state)
{
	(void)state;
	assert_true(splits("u+a+b", "+", true, "u", "a+b"));
	assert_true(splits("u-a+b", "+-", true, "u", "a+b"));
	assert_false(splits("+a", "+", true, "", "a"));
	assert_false(splits("u+a", "", true, "u", "a"));
	assert_false(splits("owner-list", "-", true, "owner", "list"));
	assert_false(splits("list-request", "-", true, "list", "request"));
	assert_true(splits("owner-list+x", "+", true, "owner-list", "x"));
	assert_true(splits("list-request", "-", false, "list", "request"));
	assert_false(splits("mailer-daemon", "-", false, "mailer", "daemon"));
}

static void domains_are_ldh_labels(void **state)
{
	char label[80];

	(void)state;
	memset(label, 'a', sizeof(label));
	assert_true(domain_valid(span_make(label, 63), false));
	assert_false(domain_valid(span_make(label, 64), false));
	assert_false(domain_valid(SPAN(""), false));
	assert_false(domain_valid(SPAN("a."), false));
	assert_true(domain_literal_valid(SPAN("[192.0.2.1]")));
	assert_false(domain_literal_valid(SPAN("[]")));
	assert_false(domain_literal_valid(SPAN("[192.0.2]")));
}

/* ---- corpora ---- */
static char *slurp(const char *name, size_t *n)
{
	char file[400], *p = NULL;
	FILE *f;

	snprintf(file, sizeof(file), "%s/data/address/%s",
		 getenv("POSTERN_SHARED") ? getenv("POSTERN_SHARED") : "../shared", name);
	f = fopen(file, "r");
	if (!f)
		return NULL;
	p = xmalloc(1 << 20);
	*n = fread(p, 1, 1 << 20, f);
	fclose(f);
	return p;
}

/* {"data": "...", "valid": true} pairs; escapes other than \" are not in these files' strings. */
static void json_schema_addresses(void **state)
{
	size_t n = 0, checked = 0;
	char *p = slurp("json-schema-test-suite/email.json", &n);
	struct span rest;
	ptrdiff_t at;

	(void)state;
	if (!p)
		skip(); /* ../shared/data is not here */
	rest = span_make(p, n);
	while ((at = span_find(rest, SPAN("\"data\": \""))) >= 0) {
		char text[600];
		size_t k = 0, i = (size_t)at + 9;
		bool valid, got;
		ptrdiff_t v;

		for (; i < rest.n && rest.p[i] != '"' && k < sizeof(text) - 1; i++) {
			if (rest.p[i] == '\\')
				i++;
			text[k++] = rest.p[i];
		}
		rest = span_skip(rest, i);
		v = span_find(rest, SPAN("\"valid\": "));
		assert_true(v >= 0);
		valid = rest.p[v + 9] == 't';
		got = address_valid(span_make(text, k), false);
		/* RFC 5321 4.1.2 wants Dot-string; dots anywhere are taken (mime/address.c) */
		if (got != valid && !(got && !valid && memchr(text, '.', k)))
			fail_msg("%.*s: %d", (int)k, text, got);
		checked++;
	}
	assert_true(checked > 0);
	free(p);
}

static void valid_local_parts_are_taken(void **state)
{
	size_t n = 0;
	char *p = slurp("flanker/abridged_localpart_valid.txt", &n);
	struct span rest, line;

	(void)state;
	if (!p)
		skip();
	rest = span_make(p, n);
	while (span_next(&rest, '\n', &line)) {
		line = span_trim(line);
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (!address_valid(span_printf(&a, SPAN_FMT "@x.example", SPAN_ARG(line)), true))
			fail_msg(SPAN_FMT, SPAN_ARG(line));
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(path_takes_what_the_grammar_has),
		cmocka_unit_test(path_refuses_the_rest),
		cmocka_unit_test(path_drops_source_routes),
		cmocka_unit_test(path_takes_utf8_only_when_allowed),
		cmocka_unit_test(split_is_at_the_last_at_outside_quotes),
		cmocka_unit_test(quoting_goes_both_ways),
		cmocka_unit_test(what_people_write_is_read_leniently),
		cmocka_unit_test(operators_count_outside_quotes),
		cmocka_unit_test(extension_is_split_at_the_first_delimiter),
		cmocka_unit_test(domains_are_ldh_labels),
		cmocka_unit_test(json_schema_addresses),
		cmocka_unit_test(valid_local_parts_are_taken),
	};

	arena_init(&a);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
