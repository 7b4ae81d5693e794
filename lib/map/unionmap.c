/* map/unionmap.c - unionmap: every table is asked; the answers are joined with commas. */
#include "map/group.h"

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct group *g = m->state;
	struct span one;
	struct buf all;
	bool found = false;
	enum rc rc = RC_NOTFOUND;

	buf_init(&all, MAP_VALUE_MAX);
	for (size_t i = 0; i < g->n; i++) {
		rc = map_ask(g->maps[i], flags, key, a, &one, e);
		if (rc == RC_NOTFOUND)
			continue;
		if (rc != RC_OK)
			break;
		if (found)
			buf_putc(&all, ',');
		buf_append(&all, one);
		found = true;
	}
	if (rc == RC_OK || rc == RC_NOTFOUND) {
		*value = span_dup(a, buf_span(&all));
		rc = !found	    ? RC_NOTFOUND
		     : buf_ok(&all) ? RC_OK
				    : err_set(e, RC_LIMIT, "%s: result too long", m->name);
	}
	buf_release(&all);
	return rc;
}

const struct map_driver map_unionmap = {
	.name = "unionmap",
	.flags = MD_NOFOLD | MD_EMPTY_KEY,
	.open = group_open,
	.lookup = lookup,
	.close = group_close,
	.changed = group_changed,
};
