/* map/memory.c - pairs in memory. */
#include "map/memory.h"

void memory_init(struct map_memory *t)
{
	arena_init(&t->arena);
	t->table = table_new();
}

void memory_release(struct map_memory *t)
{
	table_free(&t->table, NULL);
	arena_release(&t->arena);
}

static bool add(struct map_memory *t, const struct map *m, struct span key, struct span value, bool replace)
{
	struct span *stored;
	bool there;

	if (m->flags & MAP_FOLD_KEY)
		key = map_fold(&t->arena, key);
	there = table_get(t->table, key) != NULL;
	if (there && !replace)
		return false;
	stored = arena_alloc(&t->arena, sizeof *stored);
	*stored = span_dup(&t->arena, value);
	table_set(t->table, key, stored);
	return !there;
}

bool memory_add(struct map_memory *t, const struct map *m, struct span key, struct span value)
{
	return add(t, m, key, value, false);
}

bool memory_set(struct map_memory *t, const struct map *m, struct span key, struct span value)
{
	return add(t, m, key, value, true);
}

enum rc memory_lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	const struct map_memory *t = m->state;
	const struct span *found = table_get(t->table, key);

	(void)flags, (void)e;
	if (!found)
		return RC_NOTFOUND;
	*value = span_dup(a, *found);
	return RC_OK;
}

enum rc memory_next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e)
{
	const struct map_memory *t = m->state;
	size_t pos = (size_t)(uintptr_t)*state;
	void *found;

	(void)e;
	if (!table_next(t->table, &pos, key, &found))
		return RC_NOTFOUND;
	*state = (void *)(uintptr_t)pos;
	*key = span_dup(a, *key);
	*value = span_dup(a, *(struct span *)found);
	return RC_OK;
}
