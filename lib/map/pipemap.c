/* map/pipemap.c - pipemap: the answer of one table is the question to the next. */
#include "map/group.h"

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct group *g = m->state;
	enum rc rc = RC_OK;

	*value = key;
	for (size_t i = 0; i < g->n && rc == RC_OK; i++)
		rc = map_ask(g->maps[i], flags, *value, a, value, e);
	return rc;
}

const struct map_driver map_pipemap = {
	.name = "pipemap",
	.flags = MD_NOFOLD | MD_EMPTY_KEY,
	.open = group_open,
	.lookup = lookup,
	.close = group_close,
	.changed = group_changed,
};
