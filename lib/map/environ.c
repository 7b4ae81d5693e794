/* map/environ.c - environ: the environment of the process. */
#include "map/driver.h"

static enum rc open_environ(struct map *m, struct err *e)
{
	(void)m, (void)e;
	return RC_OK;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	const char *found = getenv(arena_cstr(a, key));

	(void)m, (void)flags, (void)e;
	if (!found)
		return RC_NOTFOUND;
	*value = span_dup(a, span_str(found));
	return RC_OK;
}

const struct map_driver map_environ = {
	.name = "environ", .flags = MD_LIGHT, .open = open_environ, .lookup = lookup
};
