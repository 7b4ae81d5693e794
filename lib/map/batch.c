/* map/batch.c - pairs in the order of their keys. */
#include "map/batch.h"
#include <stdlib.h>

struct pair {
	uint64_t head; /* the first bytes of the key: most comparisons need no more, and no other memory */
	const char *key, *value;
	uint32_t key_bytes, value_bytes;
};

struct batch {
	struct pair *pairs;
	size_t n, cap;
};

struct batch *batch_new(void)
{
	return xcalloc(1, sizeof(struct batch));
}

static void empty(struct batch *b)
{
	free(b->pairs);
	*b = (struct batch){ 0 };
}

void batch_free(struct batch **b)
{
	if (*b)
		empty(*b);
	free(*b);
	*b = NULL;
}

static uint64_t head_of(struct span key)
{
	uint64_t head = 0;

	for (size_t i = 0; i < sizeof head; i++)
		head = head << 8 | (i < key.n ? (unsigned char)key.p[i] : 0);
	return head;
}

void batch_add(struct batch *b, struct span key, struct span value)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 1024;
		b->pairs = xrealloc(b->pairs, b->cap * sizeof *b->pairs);
	}
	b->pairs[b->n++] = (struct pair){ head_of(key), key.p, value.p, (uint32_t)key.n, (uint32_t)value.n };
}

size_t batch_count(const struct batch *b)
{
	return b->n;
}

/* ---- their order ---- */
static int compare(const struct pair *a, const struct pair *b)
{
	int r;

	if (a->head != b->head)
		return a->head < b->head ? -1 : 1;
	r = memcmp(a->key, b->key, a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes);
	return r ? r : (a->key_bytes > b->key_bytes) - (a->key_bytes < b->key_bytes);
}

/* Merges two runs that follow each other; `spare` has room for the first. Equal ones stay in their order. */
static void merge(struct pair *first, size_t n, size_t all, struct pair *spare)
{
	size_t i = 0, k = n, out = 0;

	if (compare(&first[n - 1], &first[n]) <= 0)
		return;
	memcpy(spare, first, n * sizeof *first);
	while (i < n)
		first[out++] = k < all && compare(&spare[i], &first[k]) > 0 ? first[k++] : spare[i++];
}

/* qsort(3) does not promise to keep the order of equal ones. */
static void sort(struct pair *v, size_t n, struct pair *spare)
{
	if (n < 2)
		return;
	sort(v, n / 2, spare);
	sort(v + n / 2, n - n / 2, spare);
	merge(v, n / 2, n, spare);
}

static struct span key_of(const struct pair *p)
{
	return span_make(p->key, p->key_bytes);
}

/* Leaves one pair of each key. */
static void unite(struct batch *b, bool last, void (*again)(void *arg, struct span key), void *arg)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++) {
		if (!n || compare(&b->pairs[n - 1], &b->pairs[i]) != 0) {
			b->pairs[n++] = b->pairs[i];
			continue;
		}
		again(arg, key_of(&b->pairs[i]));
		if (last)
			b->pairs[n - 1] = b->pairs[i];
	}
	b->n = n;
}

enum rc batch_drain(struct batch *b, bool last, void (*again)(void *arg, struct span key),
		    enum rc (*put)(void *arg, struct span key, struct span value), void *arg)
{
	struct pair *spare = xmalloc((b->n / 2 + 1) * sizeof *spare);
	enum rc rc = RC_OK;

	sort(b->pairs, b->n, spare);
	free(spare);
	unite(b, last, again, arg);
	for (size_t i = 0; i < b->n && rc == RC_OK; i++)
		rc = put(arg, key_of(&b->pairs[i]), span_make(b->pairs[i].value, b->pairs[i].value_bytes));
	empty(b);
	return rc;
}
