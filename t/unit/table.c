/* Claim: a table finds what was set and nothing else, through growth and deletion; keys are any bytes,
 * copied. */
#include "base/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define MANY 5000

static struct span key_of(char store[32], int i)
{
	snprintf(store, 32, "key-%d", i);
	return span_str(store);
}

static void *value_of(int i)
{
	return (void *)(intptr_t)(i + 1);
}

static void table_sets_replaces_and_deletes(void **state)
{
	struct table *t = table_new();
	char key[] = "Key";

	(void)state;
	assert_null(table_get(t, SPAN("Key")));
	assert_null(table_set(t, span_str(key), value_of(1)));
	key[0] = 'k'; /* it was copied */
	assert_ptr_equal(table_get(t, SPAN("Key")), value_of(1));
	assert_null(table_get(t, SPAN("key")));
	assert_ptr_equal(table_set(t, SPAN("Key"), value_of(2)), value_of(1));
	assert_int_equal(table_count(t), 1);
	assert_ptr_equal(table_del(t, SPAN("Key")), value_of(2));
	assert_null(table_del(t, SPAN("Key")));
	assert_int_equal(table_count(t), 0);
	table_free(&t, NULL);
	assert_null(t);
	table_free(&t, NULL);
}

static void table_takes_any_bytes_as_key(void **state)
{
	struct table *t = table_new();

	(void)state;
	table_set(t, SPAN(""), value_of(1));
	table_set(t, SPAN("\0"), value_of(2));
	table_set(t, SPAN("\0\0"), value_of(3));
	assert_ptr_equal(table_get(t, SPAN_NONE), value_of(1));
	assert_ptr_equal(table_get(t, SPAN("\0")), value_of(2));
	assert_ptr_equal(table_get(t, SPAN("\0\0")), value_of(3));
	table_free(&t, NULL);
}

static void table_holds_through_growth_and_deletion(void **state)
{
	struct table *t = table_new();
	char store[32];

	(void)state;
	for (int i = 0; i < MANY; i++)
		assert_null(table_set(t, key_of(store, i), value_of(i)));
	for (int i = 0; i < MANY; i += 2)
		assert_ptr_equal(table_del(t, key_of(store, i)), value_of(i));
	for (int i = 0; i < MANY; i++)
		assert_ptr_equal(table_get(t, key_of(store, i)), i % 2 != 0 ? value_of(i) : NULL);
	for (int i = 0; i < MANY; i += 2)
		assert_null(table_set(t, key_of(store, i), value_of(i)));
	assert_int_equal(table_count(t), MANY);
	for (int i = 0; i < MANY; i++)
		assert_ptr_equal(table_get(t, key_of(store, i)), value_of(i));
	table_free(&t, NULL);
}

static void table_next_visits_each_once(void **state)
{
	struct table *t = table_new();
	char store[32];
	bool seen[100] = { false };
	struct span key;
	size_t pos = 0, n = 0;
	void *value;

	(void)state;
	assert_false(table_next(t, &pos, &key, &value));
	for (int i = 0; i < 100; i++)
		table_set(t, key_of(store, i), value_of(i));
	for (pos = 0; table_next(t, &pos, &key, &value); n++) {
		intptr_t i = (intptr_t)value - 1;

		assert_true(span_eq(key, key_of(store, (int)i)));
		assert_false(seen[i]);
		seen[i] = true;
	}
	assert_int_equal(n, 100);
	table_free(&t, NULL);
}

static void table_free_frees_values(void **state)
{
	struct table *t = table_new();
	char store[32];

	(void)state;
	for (int i = 0; i < 50; i++)
		table_set(t, key_of(store, i), xmalloc(10));
	table_free(&t, free); /* the leak checker of the SAN build is the witness */
}

static void siphash_tells_lengths_and_bytes_apart(void **state)
{
	(void)state;
	assert_true(siphash(SPAN("abcdefgh")) == siphash(SPAN("abcdefgh")));
	assert_true(siphash(SPAN("abcdefgh")) != siphash(SPAN("abcdefgi")));
	assert_true(siphash(SPAN("abcdefgh")) != siphash(SPAN("abcdefgh\0")));
	assert_true(siphash(SPAN("")) != siphash(SPAN("\0")));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_sets_replaces_and_deletes),
		cmocka_unit_test(table_takes_any_bytes_as_key),
		cmocka_unit_test(table_holds_through_growth_and_deletion),
		cmocka_unit_test(table_next_visits_each_once),
		cmocka_unit_test(table_free_frees_values),
		cmocka_unit_test(siphash_tells_lengths_and_bytes_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
