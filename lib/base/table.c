/* base/table.c - hash table with open addressing and linear probing; at most 3/4 full.
 * A slot keeps the full hash, so that probing and growing hardly ever touch the keys. Deleting closes the gap
 * (no tombstones), so a table that lives for months stays as fast as a new one. */
#include "base/table.h"
#include "base/codec.h"

#define FIRST_SLOTS 8 /* a power of two */

struct item {
	void *value;
	size_t key_n;
	char key[];
};

struct slot {
	uint64_t hash;
	struct item *item; /* NULL: free */
};

struct table {
	struct slot *slots;
	size_t mask, count;
};

struct table *table_new(void)
{
	struct table *t = xmalloc(sizeof(*t));

	t->slots = xcalloc(FIRST_SLOTS, sizeof(*t->slots));
	t->mask = FIRST_SLOTS - 1;
	t->count = 0;
	return t;
}

void table_free(struct table **t, void (*free_value)(void *))
{
	if (*t == NULL)
		return;
	for (size_t i = 0; i <= (*t)->mask; i++) {
		struct item *item = (*t)->slots[i].item;

		if (item != NULL && free_value != NULL)
			free_value(item->value);
		free(item);
	}
	free((*t)->slots);
	free(*t);
	*t = NULL;
}

/* Where `key` is, or the free slot where it would go. */
static size_t slot_of(const struct table *t, struct span key, uint64_t hash)
{
	size_t i = hash & t->mask;

	for (; t->slots[i].item != NULL; i = (i + 1) & t->mask) {
		const struct item *item = t->slots[i].item;

		if (t->slots[i].hash == hash && span_eq(span_make(item->key, item->key_n), key))
			break;
	}
	return i;
}

void *table_get(const struct table *t, struct span key)
{
	const struct item *item = t->slots[slot_of(t, key, siphash(key))].item;

	return item != NULL ? item->value : NULL;
}

static void table_double(struct table *t)
{
	struct slot *old = t->slots;
	size_t old_mask = t->mask;

	t->mask = old_mask * 2 + 1;
	t->slots = xcalloc(t->mask + 1, sizeof(*t->slots));
	for (size_t i = 0; i <= old_mask; i++) {
		size_t to = old[i].hash & t->mask;

		if (old[i].item == NULL)
			continue;
		while (t->slots[to].item != NULL)
			to = (to + 1) & t->mask;
		t->slots[to] = old[i];
	}
	free(old);
}

static struct item *item_new(struct span key, void *value)
{
	struct item *item = xmalloc(sizeof(*item) + key.n);

	item->value = value;
	item->key_n = key.n;
	if (key.n != 0)
		memcpy(item->key, key.p, key.n);
	return item;
}

void *table_set(struct table *t, struct span key, void *value)
{
	uint64_t hash = siphash(key);
	size_t i = slot_of(t, key, hash);
	struct item *item = t->slots[i].item;

	if (item != NULL) {
		void *former = item->value;

		item->value = value;
		return former;
	}
	if ((t->count + 1) * 4 > (t->mask + 1) * 3) {
		table_double(t);
		i = slot_of(t, key, hash);
	}
	t->slots[i] = (struct slot){ hash, item_new(key, value) };
	t->count++;
	return NULL;
}

/* Moves later members of the probe sequence up, as far as their own place allows (Knuth 6.4, algorithm R). */
static void close_gap(struct table *t, size_t gap)
{
	for (size_t i = (gap + 1) & t->mask; t->slots[i].item != NULL; i = (i + 1) & t->mask) {
		size_t home = t->slots[i].hash & t->mask;

		if (((i - home) & t->mask) < ((i - gap) & t->mask))
			continue; /* its home lies behind the gap */
		t->slots[gap] = t->slots[i];
		gap = i;
	}
	t->slots[gap].item = NULL;
}

void *table_del(struct table *t, struct span key)
{
	size_t i = slot_of(t, key, siphash(key));
	struct item *item = t->slots[i].item;
	void *former;

	if (item == NULL)
		return NULL;
	former = item->value;
	free(item);
	close_gap(t, i);
	t->count--;
	return former;
}

size_t table_count(const struct table *t)
{
	return t->count;
}

bool table_next(const struct table *t, size_t *pos, struct span *key, void **value)
{
	for (; *pos <= t->mask; (*pos)++) {
		const struct item *item = t->slots[*pos].item;

		if (item == NULL)
			continue;
		if (key != NULL)
			*key = span_make(item->key, item->key_n);
		if (value != NULL)
			*value = item->value;
		(*pos)++;
		return true;
	}
	return false;
}

/* ---- SipHash-2-4 (Aumasson, Bernstein 2012) ---- */
#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = ROTL(v[1], 13) ^ v[0];
	v[0] = ROTL(v[0], 32);
	v[2] += v[3];
	v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROTL(v[1], 17) ^ v[2];
	v[2] = ROTL(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

static uint64_t siphash_keyed(const uint64_t key[2], struct span data)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU,
			  key[0] ^ 0x6c7967656e657261U, key[1] ^ 0x7465646279746573U };
	uint64_t m;
	size_t i;

	for (i = 0; i + 8 <= data.n; i += 8) {
		memcpy(&m, data.p + i, 8);
		sip_word(v, m);
	}
	m = (uint64_t)data.n << 56;
	for (size_t k = 0; i + k < data.n; k++)
		m |= (uint64_t)(unsigned char)data.p[i + k] << (8 * k);
	sip_word(v, m);
	v[2] ^= 0xff;
	for (int r = 0; r < 4; r++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t siphash(struct span data)
{
	static uint64_t key[2];
	static bool keyed;

	if (!keyed) {
		random_bytes(key, sizeof(key));
		keyed = true;
	}
	return siphash_keyed(key, data);
}
