/* map/fail.c - fail: a table that never answers, to see what mail does then. Tables that could not be opened
 * become this one, too. */
#include "map/driver.h"

static enum rc open_fail(struct map *m, struct err *e)
{
	(void)m, (void)e;
	return RC_OK;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	(void)flags, (void)key, (void)a, (void)value;
	return err_set(e, RC_AGAIN, "%s: this table always fails", m->name);
}

const struct map_driver map_fail = {
	.name = "fail", .flags = MD_LIGHT | MD_EMPTY_KEY, .open = open_fail, .lookup = lookup
};
