/* Tables are built from their sources (postmap(1), postalias(1), aliases(5)) in every type that is a file,
 * replace the old file as a whole, and can be changed; what is not of the form is told and left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "map/alias.h"
#include "map/build.h"
#include <unistd.h>

static struct arena a;
static char dir[] = "/tmp/map_build.XXXXXX", path[300];
static const char *const types[] = { "hash", "btree", "lmdb" };

static void source(const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *suffix(const char *type)
{
	return span_is(span_str(type), "lmdb") ? ".lmdb" : ".db";
}

static struct map *open_type(const char *type, unsigned flags)
{
	char name[400];
	struct map *m;
	struct err e;
	snprintf(name, sizeof name, "%s:%s", type, path);
	if (map_open(span_str(name), flags | MAP_FOLD_KEY, &m, &e) != RC_OK)
		fail_msg("%s", e.text);
	return m;
}

static void gives(struct map *m, const char *key, const char *want)
{
	struct span value;
	struct err e;
	enum rc rc = map_lookup(m, span_str(key), &a, &value, &e);
	assert_int_equal(rc, want ? RC_OK : RC_NOTFOUND);
	if (want)
		assert_true(span_is(value, want));
}

static void built_and_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		for (unsigned nul = 0; nul < 3; nul++) {
			struct build_options o = { .nul = nul == 0   ? 0
							  : nul == 1 ? MAP_TRY0NULL
								     : MAP_TRY1NULL };
			struct err e;
			char file[400];
			struct stat st;
			source("Key one\nother two words\nkey again\nbad\n");
			chmod(path, 0640);
			if (map_build(span_str(types[i]), span_str(path), &o, &e) != RC_OK)
				fail_msg("%s", e.text);
			struct map *m = open_type(types[i], 0);
			gives(m, "KEY", "one");
			gives(m, "other", "two words");
			gives(m, "bad", NULL);
			void *walk = NULL;
			struct span k, v;
			int n = 0;
			while (map_next(m, &walk, &a, &k, &v, NULL) == RC_OK)
				n++;
			assert_int_equal(n, 2);
			snprintf(file, sizeof file, "%s%s", path, suffix(types[i]));
			assert_int_equal(stat(file, &st), 0);
			assert_int_equal(st.st_mode & 0777, 0640);
			assert_false(map_changed(m));
			source("key new\n");
			assert_int_equal(map_build(span_str(types[i]), span_str(path), &o, &e), RC_OK);
			gives(m, "other", "two words"); /* who has the old one open goes on with it */
			assert_true(map_changed(m));
			map_close(&m);
			m = open_type(types[i], 0);
			gives(m, "key", "new");
			gives(m, "other", NULL);
			map_close(&m);
		}
}

static void changed_as_a_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct build_options o = { 0 };
		struct map_edit *ed;
		struct err e;
		source("a 1\nb 2\n");
		assert_int_equal(map_build(span_str(types[i]), span_str(path), &o, &e), RC_OK);
		for (int keep = 0; keep < 2; keep++) {
			if (map_edit_open(span_str(types[i]), span_str(path), MAP_FOLD_KEY, &ed, &e) != RC_OK)
				fail_msg("%s", e.text);
			assert_int_equal(map_del(map_edit_map(ed), SPAN("a"), &e), RC_OK);
			assert_int_equal(map_del(map_edit_map(ed), SPAN("a"), &e), RC_NOTFOUND);
			assert_int_equal(map_put(map_edit_map(ed), SPAN("c"), SPAN("3"), &e), RC_OK);
			assert_int_equal(map_add(map_edit_map(ed), SPAN("b"), SPAN("x"), &e), RC_DENIED);
			assert_int_equal(map_edit_close(&ed, keep, &e), RC_OK);
			struct map *m = open_type(types[i], 0);
			gives(m, "a", keep ? NULL : "1");
			gives(m, "b", "2");
			gives(m, "c", keep ? "3" : NULL);
			map_close(&m);
		}
		struct map *m = open_type(types[i], MAP_READ_WRITE); /* as proxywrite does it, in place */
		assert_int_equal(map_put(m, SPAN("b"), SPAN("4"), &e), RC_OK);
		gives(m, "b", "4");
		assert_false(map_changed(m));
		assert_int_equal(map_del(m, SPAN("b"), &e), RC_OK);
		map_close(&m);
		m = open_type(types[i], 0);
		gives(m, "b", NULL);
		gives(m, "c", "3");
		map_close(&m);
	}
}

static void many_pairs(void **state)
{
	(void)state;
	FILE *f = fopen(path, "w");
	for (int i = 0; i < 20000; i++)
		fprintf(f, "key%d value of a certain length to fill pages %d\n", i, i);
	fclose(f);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct build_options o = { 0 };
		struct err e;
		if (map_build(span_str(types[i]), span_str(path), &o, &e) != RC_OK)
			fail_msg("%s", e.text);
		struct map *m = open_type(types[i], 0);
		gives(m, "key0", "value of a certain length to fill pages 0");
		gives(m, "key19999", "value of a certain length to fill pages 19999");
		map_close(&m);
	}
}

static void damaged_files_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		char name[400];
		struct map *m;
		struct err e;
		struct span value;
		snprintf(name, sizeof name, "%s%s", path, suffix(types[i]));
		FILE *f = fopen(name, "w");
		for (int k = 0; k < 20000; k++)
			fputc('x', f);
		fclose(f);
		snprintf(name, sizeof name, "%s:%s", types[i], path);
		assert_int_not_equal(map_open(span_str(name), 0, &m, &e), RC_OK);
		assert_int_equal(map_lookup(m, SPAN("k"), &a, &value, &e), RC_AGAIN);
		map_close(&m);
	}
}

static void alias_tables(void **state)
{
	(void)state;
	char name[400];
	struct err e;
	source("Root: a,\n  b\nbad@x: y\ncmd: \"|prog arg\"\n");
	snprintf(name, sizeof name, "hash:%s", path);
	assert_int_equal(alias_db_build(span_str(name), "btree", true, &e), RC_OK);
	struct map *m = open_type("hash", 0);
	gives(m, "root", "a, b");
	gives(m, "cmd", "\"|prog arg\"");
	gives(m, "@", "@");
	gives(m, "bad@x", NULL);
	map_close(&m);
}

static void alias_lines(void **state)
{
	(void)state;
	static const struct {
		const char *line, *name, *value;
	} cases[] = {
		{ "root: a,   b ,c", "root", "a, b, c" },
		{ "\"a b\" : x", "a b", "x" },
		{ "\"a@b\": z", "a@b", "z" },
		{ "x: |\"/bin/sh -c foo\", \"|cmd arg\"", "x", "|\"/bin/sh -c foo\", \"|cmd arg\"" },
		{ "x: :include:/etc/list", "x", ":include:/etc/list" },
		{ "x: \"John Doe\" <j@d.e>, (comment) user (c2)", "x",
		  "\"John Doe\" <j@d.e>, (comment) user (c2)" },
		{ "x: \\root, a", "x", "root, a" },
		{ "x: a\\ b", "x", "\"a b\"" },
		{ "x: \"unclosed", "x", "\"unclosed\"" },
		{ "x: (unclosed", "x", "(unclosed" },
		{ "x: a; b", "x", "a;b" },
		{ "x: a @ b . c", "x", "a@b.c" },
		{ "x: \"\"", "x", "\"\"" },
		{ "com (c): z", "com (c)", "z" },
		{ "x: \\\"a", "x", "\"\\\"a\"" },
		{ "x: a\\", "x", "a" },
		{ "x:", NULL, NULL },
		{ "x", NULL, NULL },
		{ "x, y: z", NULL, NULL },
		{ "a@b: x", NULL, NULL },
		{ ": x", NULL, NULL },
		{ "x: caf\xe9", NULL, NULL },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct span name, value;
		struct err e;
		enum rc rc = alias_parse(span_str(cases[i].line), true, &a, &name, &value, &e);
		if (rc != (cases[i].name ? RC_OK : RC_SYNTAX) ||
		    (cases[i].name && (!span_is(name, cases[i].name) || !span_is(value, cases[i].value))))
			fail_msg("%s: %s " SPAN_FMT " = " SPAN_FMT, cases[i].line, rc_name(rc),
				 SPAN_ARG(name), SPAN_ARG(value));
	}
}

static int start(void **state)
{
	(void)state;
	arena_init(&a);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/t", dir);
	return 0;
}

static int end(void **state)
{
	char name[400];
	(void)state;
	unlink(path);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		snprintf(name, sizeof name, "%s%s", path, suffix(types[i]));
		unlink(name);
	}
	arena_release(&a);
	return rmdir(dir); /* fails when something was left behind */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(built_and_read), cmocka_unit_test(changed_as_a_whole),
		cmocka_unit_test(many_pairs),	  cmocka_unit_test(damaged_files_are_refused),
		cmocka_unit_test(alias_tables),	  cmocka_unit_test(alias_lines),
	};
	return cmocka_run_group_tests(tests, start, end);
}
