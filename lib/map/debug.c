/* map/debug.c - debug:type:name: the table within, each question and answer logged. */
#include "log/log.h"
#include "map/driver.h"

static enum rc open_debug(struct map *m, struct err *e)
{
	struct map *inner = NULL;
	enum rc rc = map_open_at(m->arg, m->flags, m->depth + 1, false, &inner, e);

	if (rc != RC_OK) {
		map_close(&inner);
		return rc;
	}
	m->state = inner;
	m->pattern = map_is_pattern(inner);
	return RC_OK;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	enum rc rc = map_ask(m->state, flags, key, a, value, e);
	static const struct span missed = { "not found", 9 }, failed = { "error", 5 };

	log_info("%s: lookup: \"" SPAN_FMT "\" = \"" SPAN_FMT "\"", m->name, SPAN_ARG(key),
		 SPAN_ARG(rc == RC_OK	      ? *value
			  : rc == RC_NOTFOUND ? missed
					      : failed));
	return rc;
}

static enum rc put(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	log_info("%s: update: \"" SPAN_FMT "\" = \"" SPAN_FMT "\"", m->name, SPAN_ARG(key), SPAN_ARG(value));
	return replace ? map_put(m->state, key, value, e) : map_add(m->state, key, value, e);
}

static enum rc del(struct map *m, struct span key, struct err *e)
{
	log_info("%s: delete: \"" SPAN_FMT "\"", m->name, SPAN_ARG(key));
	return map_del(m->state, key, e);
}

static enum rc next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e)
{
	return map_next(m->state, state, a, key, value, e);
}

static void close_debug(struct map *m)
{
	struct map *inner = m->state;
	map_close(&inner);
}

static bool changed(const struct map *m)
{
	return map_changed(m->state);
}

const struct map_driver map_debug = {
	.name = "debug",
	.flags = MD_NOFOLD | MD_EMPTY_KEY,
	.open = open_debug,
	.lookup = lookup,
	.put = put,
	.del = del,
	.next = next,
	.close = close_debug,
	.changed = changed,
};
