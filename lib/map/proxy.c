/* map/proxy.c - proxy:type:name, and what map_set_remote() turns into it: tables that proxymap(8) is asked
 * about. In a process that has no way there (commands, monitors) the table is opened in place. */
#include "map/driver.h"

static map_remote_fn *remote;
static bool all_files_remote;

void map_remote_via(map_remote_fn *ask, bool all_files)
{
	remote = ask;
	all_files_remote = ask && all_files;
}

bool map_remote_database(struct span type)
{
	return remote && map_type_is_database(type);
}

bool map_remote_wanted(unsigned driver_flags)
{
	return (all_files_remote && (driver_flags & MD_REMOTE)) || (remote && (driver_flags & MD_SERVER));
}

static bool pattern_type(struct span type_name)
{
	static const char *const types[] = { "regexp:", "pcre:", "cidr:", "tcp:", "socketmap:" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (span_starts(type_name, span_str(types[i])))
			return true;
	return false;
}

static enum rc open_proxy(struct map *m, struct err *e)
{
	struct map *inner = NULL;
	enum rc rc;

	while (span_starts(m->arg, SPAN("proxy:")))
		m->arg = span_skip(m->arg, 6);
	m->pattern = pattern_type(m->arg);
	if (remote)
		return RC_OK;
	rc = map_open_at(m->arg, m->flags, m->depth + 1, true, &inner, e);
	if (rc != RC_OK)
		map_close(&inner);
	m->state = inner;
	return rc;
}

static enum rc ask(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		   struct err *e)
{
	struct map_lookup q = { .table = m->arg, .key = key, .flags = flags };
	struct map_lookup_reply r;
	enum rc rc = remote(IPC_MAP_LOOKUP, &q, &r, a, e);

	if (rc == RC_LIMIT) /* no table holds a key of that length */
		return RC_NOTFOUND;
	if (rc != RC_OK)
		return err_prefix(e, "%s", m->name);
	switch ((enum map_status)r.status) {
	case MAP_FOUND:
		*value = r.value;
		return RC_OK;
	case MAP_MISS:
		return RC_NOTFOUND;
	case MAP_RETRY:
		return err_set(e, RC_AGAIN, "%s: " SPAN_FMT, m->name, SPAN_ARG(r.value));
	case MAP_REFUSED:
		return err_set(e, RC_DENIED, "proxymap service is not configured for table \"" SPAN_FMT "\"",
			       SPAN_ARG(m->arg));
	}
	return err_set(e, RC_SYNTAX, "%s: unknown answer %u", m->name, r.status);
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	if (m->state)
		return map_ask(m->state, flags, key, a, value, e);
	if (!remote)
		return err_set(e, RC_AGAIN, "%s: no way to proxymap", m->name);
	return ask(m, flags, key, a, value, e);
}

static enum rc update(struct map *m, struct span key, struct span value, bool del, struct err *e)
{
	struct map_update q = { .table = m->arg, .key = key, .value = value, .del = del };
	struct map_lookup_reply r;
	struct arena a;
	enum rc rc;

	arena_init(&a);
	rc = remote(IPC_MAP_UPDATE, &q, &r, &a, e);
	if (rc == RC_OK && r.status == MAP_MISS)
		rc = RC_NOTFOUND;
	else if (rc == RC_OK && r.status != MAP_FOUND)
		rc = err_set(e, r.status == MAP_REFUSED ? RC_DENIED : RC_AGAIN, "%s: " SPAN_FMT, m->name,
			     SPAN_ARG(r.value));
	arena_release(&a);
	return rc;
}

static enum rc put(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	(void)replace;
	return m->state ? map_put(m->state, key, value, e) : update(m, key, value, false, e);
}

static enum rc del(struct map *m, struct span key, struct err *e)
{
	return m->state ? map_del(m->state, key, e) : update(m, key, SPAN_NONE, true, e);
}

static enum rc next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e)
{
	if (!m->state)
		return err_set(e, RC_DENIED, "%s: cannot be listed from here", m->name);
	return map_next(m->state, state, a, key, value, e);
}

static void close_proxy(struct map *m)
{
	struct map *inner = m->state;
	map_close(&inner);
}

static bool changed(const struct map *m)
{
	return m->state && map_changed(m->state);
}

/* Keys are folded at the other end, which knows whether the type wants it. */
const struct map_driver map_proxy = {
	.name = "proxy",
	.flags = MD_NOFOLD,
	.open = open_proxy,
	.lookup = lookup,
	.put = put,
	.del = del,
	.next = next,
	.close = close_proxy,
	.changed = changed,
};
