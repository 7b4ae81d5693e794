/* Claim: an arena hands out zeroed, aligned memory that stays valid and apart until arena_reset(), and a
 * reset keeps no more than one small block. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void arena_gives_zeroed_aligned_memory(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a);
	for (int round = 0; round < 3; round++) {
		for (size_t n = 0; n < 3000; n += 7) {
			unsigned char *p = arena_alloc(&a, n);

			assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(p[i], 0);
			memset(p, 0xaa, n);
		}
		arena_reset(&a);
		assert_int_equal(a.used_bytes, 0);
	}
	arena_release(&a);
}

static void arena_pieces_do_not_overlap(void **state)
{
	struct arena a;
	unsigned char *p[200];

	(void)state;
	arena_init(&a);
	for (unsigned i = 0; i < ARRAY_LEN(p); i++) { /* small and large ones mixed */
		p[i] = arena_alloc(&a, i % 10 == 0 ? 100000 : i);
		memset(p[i], (int)i, i % 10 == 0 ? 100000 : i);
	}
	for (unsigned i = 0; i < ARRAY_LEN(p); i++) {
		for (size_t k = 0; k < (i % 10 == 0 ? 100000 : i); k++)
			assert_int_equal(p[i][k], i);
	}
	arena_release(&a);
	assert_null(a.blocks);
}

static void arena_reset_reuses_its_small_block(void **state)
{
	struct arena a;
	void *first;

	(void)state;
	arena_init(&a);
	first = arena_alloc(&a, 10);
	arena_alloc(&a, 1 << 20);
	for (int i = 0; i < 1000; i++)
		arena_alloc(&a, 300);
	arena_reset(&a);
	assert_ptr_equal(arena_alloc(&a, 10), first);
	arena_release(&a);
}

static void arena_copies_strings(void **state)
{
	struct arena a;
	char text[] = "changes later";
	struct span s;

	(void)state;
	arena_init(&a);
	s = span_dup(&a, span_str(text));
	text[0] = 'X';
	assert_true(span_is(s, "changes later"));
	assert_true(span_eq(span_dup(&a, SPAN("a\0b")), SPAN("a\0b")));
	assert_null(span_dup(&a, SPAN_NONE).p);
	assert_string_equal(arena_strdup(&a, "text"), "text");
	assert_string_equal(arena_cstr(&a, SPAN("text, not all of it")), "text, not all of it");
	assert_string_equal(arena_printf(&a, "%s-%d", "x", 42), "x-42");
	assert_true(span_is(span_printf(&a, "%05u", 42U), "00042"));
	assert_int_equal(strlen(arena_printf(&a, "%5000s", "")), 5000);
	arena_release(&a);
}

static void arena_grow_keeps_elements(void **state)
{
	struct arena a;
	size_t n = 0, cap = 0;
	int *v = NULL;

	(void)state;
	arena_init(&a);
	for (int i = 0; i < 1000; i++) {
		if (n == cap)
			v = arena_grow(&a, v, n, &cap, sizeof(*v));
		v[n++] = i;
	}
	assert_int_equal(cap, 1024);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(v[i], i);
	arena_release(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_gives_zeroed_aligned_memory),
		cmocka_unit_test(arena_pieces_do_not_overlap),
		cmocka_unit_test(arena_reset_reuses_its_small_block),
		cmocka_unit_test(arena_copies_strings),
		cmocka_unit_test(arena_grow_keeps_elements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
