/* map/internal.c - internal: pairs in the memory of one process, gone with it. */
#include "map/memory.h"

static enum rc open_internal(struct map *m, struct err *e)
{
	struct map_memory *t = xcalloc(1, sizeof *t);

	(void)e;
	memory_init(t);
	m->state = t;
	return RC_OK;
}

/* Values that are replaced or deleted would stay in an arena: here each is an allocation of its own. */
struct stored {
	size_t n;
	char p[];
};

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	const struct map_memory *t = m->state;
	const struct stored *found = table_get(t->table, key);

	(void)flags, (void)e;
	if (!found)
		return RC_NOTFOUND;
	*value = span_dup(a, span_make(found->p, found->n));
	return RC_OK;
}

static enum rc put(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	struct map_memory *t = m->state;
	struct stored *s;

	if (!replace && table_get(t->table, key))
		return err_set(e, RC_DENIED, "duplicate entry");
	s = xmalloc(sizeof *s + value.n);
	s->n = value.n;
	if (value.n)
		memcpy(s->p, value.p, value.n);
	free(table_set(t->table, key, s));
	return RC_OK;
}

static enum rc del(struct map *m, struct span key, struct err *e)
{
	struct map_memory *t = m->state;
	void *old = table_del(t->table, key);

	(void)e;
	free(old);
	return old ? RC_OK : RC_NOTFOUND;
}

static enum rc next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
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
	*value = span_dup(a, span_make(((struct stored *)found)->p, ((struct stored *)found)->n));
	return RC_OK;
}

static void close_internal(struct map *m)
{
	struct map_memory *t = m->state;

	if (!t)
		return;
	table_free(&t->table, free);
	arena_release(&t->arena);
	free(t);
}

const struct map_driver map_internal = {
	.name = "internal",
	.flags = MD_LIGHT,
	.open = open_internal,
	.lookup = lookup,
	.put = put,
	.del = del,
	.next = next,
	.close = close_internal,
};
