/* Tables that live in memory answer as their manuals say (postmap(1), DATABASE_README): texthash, inline,
 * static, unionmap, pipemap, randmap, environ, unix, fail, debug; keys are folded; a table that cannot be
 * opened answers "try later". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "map/driver.h"
#include <unistd.h>

static struct arena a;
static char dir[] = "/tmp/map_text.XXXXXX";

static const char *file(const char *name, const char *text)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return path;
}

static struct map *open_ok(const char *name, unsigned flags)
{
	struct map *m;
	struct err e;
	assert_int_equal(map_open(span_str(name), flags, &m, &e), RC_OK);
	return m;
}

/* NULL: no such key. */
static void gives(struct map *m, const char *key, const char *want)
{
	struct span value;
	struct err e;
	enum rc rc = map_lookup(m, span_str(key), &a, &value, &e);

	assert_int_equal(rc, want ? RC_OK : RC_NOTFOUND);
	if (want)
		assert_true(span_is(value, want));
}

static void texthash_reads_a_postmap_source(void **state)
{
	(void)state;
	char name[300];
	snprintf(name, sizeof name, "texthash:%s",
		 file("t", "# comment\nPlain  value with  spaces  \nlong one\n  # inside\n\n\tmore\n\"a "
			   "b\"@x quoted\nnovalue\n"
			   "plain second\n\"open v\ncaf\xe9 x\nlast line"));
	struct map *m = open_ok(name, MAP_FOLD_KEY | MAP_UTF8);
	gives(m, "PLAIN", "value with  spaces");
	gives(m, "long", "one\tmore");
	gives(m, "\"a b\"@x", "quoted");
	gives(m, "novalue", NULL);
	gives(m, "caf\xe9", NULL);
	gives(m, "last", "line");
	gives(m, "", NULL);
	struct span value;
	assert_int_equal(map_lookup(m, span_make("plain\0x", 7), &a, &value, NULL), RC_NOTFOUND);
	map_close(&m);
	m = open_ok(name, 0);
	gives(m, "PLAIN", NULL);
	gives(m, "Plain", "value with  spaces");
	map_close(&m);
}

static void texthash_notices_a_change(void **state)
{
	(void)state;
	char name[320], path[300], other[300];
	snprintf(path, sizeof path, "%s", file("c", "a b\n"));
	snprintf(name, sizeof name, "texthash:%s", path);
	struct map *m = open_ok(name, MAP_FOLD_KEY);
	assert_false(map_changed(m));
	snprintf(other, sizeof other, "%s", file("c.new", "a c\n"));
	assert_int_equal(rename(other, path), 0);
	assert_true(map_changed(m));
	map_close(&m);
}

static void inline_holds_pairs(void **state)
{
	(void)state;
	struct map *m = open_ok("inline:{ a=b, { C = d e, f } g=h=i }", MAP_FOLD_KEY);
	gives(m, "A", "b");
	gives(m, "c", "d e, f");
	gives(m, "g", "h=i");
	gives(m, "x", NULL);
	void *walk = NULL;
	struct span k, v;
	int n = 0;
	while (map_next(m, &walk, &a, &k, &v, NULL) == RC_OK)
		n++;
	assert_int_equal(n, 3);
	assert_int_equal(map_put(m, SPAN("x"), SPAN("y"), NULL), RC_DENIED);
	map_close(&m);
}

static void bad_names_give_tables_that_say_try_later(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"inline:{a}",
		"inline:a=b",
		"inline:{}",
		"inline:{a=b",
		"unionmap:{}",
		"unionmap:static:a",
		"unionmap:{nosuch:x}",
		"pipemap:{{a}",
		"randmap:{}",
		"texthash:/nonexistent/x",
		"nosuchtype:x",
		"unix:shadow.byname",
		"regexp:/nonexistent/x",
		"cidr:{ 1.2.3.4 x }",
		"static:{a",
		"../x:y",
		"debug:debug:debug:debug:debug:debug:debug:debug:debug:debug:static:a",
		"hash:/nonexistent/x",
		"lmdb:/nonexistent/x"
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct map *m;
		struct err e;
		struct span value;
		if (map_open(span_str(bad[i]), MAP_FOLD_KEY, &m, &e) == RC_OK)
			fail_msg("%s", bad[i]);
		assert_non_null(m);
		assert_true(map_is_broken(m));
		assert_int_equal(map_lookup(m, SPAN("k"), &a, &value, &e), RC_AGAIN);
		assert_true(span_find(span_str(e.text), span_str(bad[i])) >= 0);
		assert_false(map_changed(m));
		map_close(&m);
	}
	struct map *m;
	assert_int_equal(map_open(SPAN("no-colon"), 0, &m, NULL), RC_SYNTAX);
	assert_null(m);
}

static void small_types_answer(void **state)
{
	(void)state;
	static const struct {
		const char *table, *key, *value;
	} cases[] = {
		{ "static:x y", "anything", "x y" },
		{ "static:{ a b }", "k", "a b" },
		{ "unionmap:{ static:a, inline:{k=b}, {static:c d} }", "K", "a,b,c d" },
		{ "unionmap:{inline:{x=a} inline:{k=b}}", "none", NULL },
		{ "pipemap:{inline:{k=Mid},inline:{mid=end}}", "k", "end" },
		{ "pipemap:{inline:{k=Mid},inline:{x=end}}", "k", NULL },
		{ "randmap:{one,one}", "k", "one" },
		{ "debug:inline:{k=v}", "k", "v" },
		{ "proxy:inline:{k=v}", "k", "v" },
		{ "proxy:proxy:static:v", "k", "v" },
		{ "unix:group.byname", "root", "root:x:0:" },
		{ "unix:passwd.byname", "no-such-user-here", NULL },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct map *m = open_ok(cases[i].table, MAP_FOLD_KEY);
		gives(m, cases[i].key, cases[i].value);
		map_close(&m);
	}
	setenv("map_text_test", "there", 1);
	struct map *m = open_ok("environ:x", MAP_FOLD_KEY);
	gives(m, "map_text_test", "there");
	map_close(&m);
}

static void a_failing_member_fails_the_union(void **state)
{
	(void)state;
	struct span value;
	struct err e;
	struct map *m = open_ok("unionmap:{static:a,fail:x}", MAP_FOLD_KEY);
	assert_int_equal(map_lookup(m, SPAN("k"), &a, &value, &e), RC_AGAIN);
	map_close(&m);
}

static struct span asked_table, asked_key;
static enum map_status answer;
static enum rc fake_proxymap(uint16_t type, const void *request, void *reply, struct arena *arena,
			     struct err *e)
{
	const struct map_lookup *q = request;
	struct map_lookup_reply *r = reply;
	(void)e;
	assert_int_equal(type, IPC_MAP_LOOKUP);
	asked_table = span_dup(arena, q->table);
	asked_key = span_dup(arena, q->key);
	assert_int_equal(q->flags & MAP_FOLD_KEY, MAP_FOLD_KEY);
	r->status = (uint16_t)answer;
	r->value = SPAN("remote");
	return RC_OK;
}

static void file_tables_are_asked_of_proxymap(void **state)
{
	(void)state;
	map_remote_via(fake_proxymap, true);
	struct map *m = open_ok("hash:/etc/aliases", MAP_FOLD_KEY);
	answer = MAP_FOUND;
	gives(m, "Key", "remote");
	assert_true(span_is(asked_table, "hash:/etc/aliases"));
	assert_true(span_is(asked_key, "Key"));
	answer = MAP_MISS;
	gives(m, "Key", NULL);
	struct span value;
	struct err e;
	answer = MAP_RETRY;
	assert_int_equal(map_lookup(m, SPAN("k"), &a, &value, &e), RC_AGAIN);
	answer = MAP_REFUSED;
	assert_int_equal(map_lookup(m, SPAN("k"), &a, &value, &e), RC_AGAIN);
	map_close(&m);
	m = open_ok("proxy:pcre:/x", MAP_FOLD_KEY);
	assert_true(map_is_pattern(m));
	answer = MAP_FOUND;
	gives(m, "k", "remote");
	assert_true(span_is(asked_table, "pcre:/x"));
	map_close(&m);
	m = open_ok("inline:{a=b}", MAP_FOLD_KEY); /* memory stays here */
	gives(m, "a", "b");
	map_close(&m);
	map_remote_via(NULL, true);
}

static int start(void **state)
{
	(void)state;
	arena_init(&a);
	return mkdtemp(dir) ? 0 : -1;
}

static int end(void **state)
{
	static const char *const names[] = { "t", "c" };
	char path[300];
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	arena_release(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texthash_reads_a_postmap_source),
		cmocka_unit_test(texthash_notices_a_change),
		cmocka_unit_test(inline_holds_pairs),
		cmocka_unit_test(bad_names_give_tables_that_say_try_later),
		cmocka_unit_test(small_types_answer),
		cmocka_unit_test(a_failing_member_fails_the_union),
		cmocka_unit_test(file_tables_are_asked_of_proxymap),
	};
	return cmocka_run_group_tests(tests, start, end);
}
