/* Pairs on their way into a table that likes its keys in order: sorted by bytes, one of each key, the first or the last of them. */
#include "map/batch.h"
#include "base/arena.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct {
	char text[400], again[100];
	size_t left; /* puts until one fails */
} got;

static enum rc put(void *arg, struct span key, struct span value)
{
	size_t n = strlen(got.text);

	(void)arg;
	if (got.left-- == 0)
		return RC_LIMIT;
	snprintf(got.text + n, sizeof got.text - n, SPAN_FMT "=" SPAN_FMT " ", SPAN_ARG(key),
		 SPAN_ARG(value));
	return RC_OK;
}

static void again(void *arg, struct span key)
{
	size_t n = strlen(got.again);

	(void)arg;
	snprintf(got.again + n, sizeof got.again - n, SPAN_FMT " ", SPAN_ARG(key));
}

static enum rc run(const char *const *pairs, size_t n, bool last, size_t left)
{
	struct batch *b = batch_new();
	enum rc rc;

	memset(&got, 0, sizeof got);
	got.left = left;
	for (size_t i = 0; i < n; i++)
		batch_add(b, span_head(span_str(pairs[i]), strlen(pairs[i]) - 1),
			  span_skip(span_str(pairs[i]), strlen(pairs[i]) - 1));
	assert_int_equal(batch_count(b), n);
	rc = batch_drain(b, last, again, put, NULL);
	assert_int_equal(batch_count(b), 0);
	batch_free(&b);
	batch_free(&b);
	return rc;
}

static void order(void **state)
{
	static const char *const pairs[] = { "b1",
					     "a2",
					     "abcdefgh3",
					     "abcdefg4",
					     "abcdefghi5",
					     "\xff"
					     "6",
					     "B7",
					     "ab8" };

	(void)state;
	assert_int_equal(run(pairs, ARRAY_LEN(pairs), false, 100), RC_OK);
	assert_string_equal(got.text, "B=7 a=2 ab=8 abcdefg=4 abcdefgh=3 abcdefghi=5 b=1 \xff=6 ");
	assert_string_equal(got.again, "");
	assert_int_equal(run(pairs, 0, false, 0), RC_OK);
	assert_int_equal(run(pairs, ARRAY_LEN(pairs), false, 2), RC_LIMIT);
	assert_string_equal(got.text, "B=7 a=2 ");
}

static void one_of_each(void **state)
{
	static const char *const pairs[] = { "k1", "a2", "k3", "k4", "z5", "a6" };

	(void)state;
	assert_int_equal(run(pairs, ARRAY_LEN(pairs), false, 100), RC_OK);
	assert_string_equal(got.text, "a=2 k=1 z=5 ");
	assert_string_equal(got.again, "a k k ");
	assert_int_equal(run(pairs, ARRAY_LEN(pairs), true, 100), RC_OK);
	assert_string_equal(got.text, "a=6 k=4 z=5 ");
}

static struct {
	uint32_t n;
	char last[16];
	bool ascends;
} many;

static enum rc count(void *arg, struct span key, struct span value)
{
	(void)arg;
	many.ascends &= memcmp(many.last, key.p, 12) < 0 && span_is(value, key.p + 4);
	memcpy(many.last, key.p, 12);
	many.n++;
	return RC_OK;
}

static void ten_thousand(void **state)
{
	struct batch *b = batch_new();
	struct arena a;

	(void)state;
	arena_init(&a);
	many.ascends = true;
	for (uint32_t i = 0; i < 10000; i++) {
		char *key = arena_printf(&a, "user%08x", i * 2654435761u);
		batch_add(b, span_str(key), span_str(key + 4));
	}
	assert_int_equal(batch_drain(b, false, again, count, NULL), RC_OK);
	assert_true(many.ascends && many.n == 10000);
	batch_free(&b);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order),
		cmocka_unit_test(one_of_each),
		cmocka_unit_test(ten_thousand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
