/* map/static.c - static: one answer to every question. "static:text" or "static:{ text with spaces }". */
#include "map/driver.h"

static enum rc open_static(struct map *m, struct err *e)
{
	struct span inside;

	if (!m->arg.n || *m->arg.p != '{')
		return RC_OK;
	if (!map_braces(m->arg, &inside))
		return err_set(e, RC_SYNTAX, "bad static: map syntax: \"%s\"", m->name);
	m->arg = inside;
	return RC_OK;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	(void)flags, (void)key, (void)e;
	*value = span_dup(a, m->arg);
	return RC_OK;
}

const struct map_driver map_static = {
	.name = "static", .flags = MD_LIGHT | MD_EMPTY_KEY, .open = open_static, .lookup = lookup
};
