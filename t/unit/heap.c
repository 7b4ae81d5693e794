/* t/unit/heap.c - a heap gives its elements back in order, whatever is taken out of its middle. */
#include "base/heap.h"
#include "base/list.h"
#include "base/span.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define N 1000

struct element {
	struct heap_item item;
	int key;
};

static bool before(struct heap_item *a, struct heap_item *b)
{
	return LIST_ENTRY(a, struct element, item)->key < LIST_ENTRY(b, struct element, item)->key;
}

static void test_order(void **state)
{
	static struct element v[N];
	struct heap h = { .before = before };
	size_t n = 0;
	int last = -1;

	(void)state;
	assert_null(heap_first(&h));
	for (int i = 0; i < N; i++) {
		v[i].key = i * 7919 % 331;
		assert_false(heap_has(&v[i].item));
		heap_add(&h, &v[i].item);
		assert_true(heap_has(&v[i].item));
	}
	for (int i = 0; i < N; i += 3)
		heap_del(&h, &v[i].item);
	for (int i = 0; i < N; i += 6) { /* half of them with another key, the others stay away */
		v[i].key = i % 331;
		heap_add(&h, &v[i].item);
	}
	heap_del(&h, &v[3].item); /* is out already */
	for (struct heap_item *i; (i = heap_first(&h)) != NULL; n++) {
		assert_true(LIST_ENTRY(i, struct element, item)->key >= last);
		last = LIST_ENTRY(i, struct element, item)->key;
		heap_del(&h, i);
		assert_false(heap_has(i));
	}
	assert_int_equal(n, N - (N + 2) / 3 + (N + 5) / 6);
	free(h.v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
