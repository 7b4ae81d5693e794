/* map/map.c - tables by name: finding the driver, folding keys, tables that cannot be used. */
#include "map/driver.h"
#include "base/codec.h"
#include "log/log.h"

static const struct map_driver *const drivers[] = {
	&map_texthash, &map_static,  &map_inline, &map_regexp,	  &map_pcre,	 &map_cidr,
	&map_unix,     &map_environ, &map_fail,	  &map_debug,	  &map_unionmap, &map_pipemap,
	&map_randmap,  &map_proxy,   &map_tcp,	  &map_socketmap, &map_memcache, &map_internal,
};

static struct list open_maps;

size_t map_types(const char **out, size_t max)
{
	static const char *const in_modules[] = { "btree", "cdb",   "hash",  "ldap",
						  "lmdb",  "mysql", "pgsql", "sqlite" };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(drivers) && n < max; i++)
		out[n++] = drivers[i]->name;
	for (size_t i = 0; i < ARRAY_LEN(in_modules) && n < max; i++)
		out[n++] = in_modules[i];
	return n;
}

bool map_type_exists(struct span type)
{
	for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
		if (span_is(type, drivers[i]->name))
			return true;
	return map_type_in_module(type);
}

enum rc map_driver_find(struct span type, const struct map_driver **out, const char **suffix, struct err *e)
{
	if (suffix)
		*suffix = NULL;
	for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
		if (span_is(type, drivers[i]->name)) {
			*out = drivers[i];
			return RC_OK;
		}
	}
	return map_module_load(type, out, suffix, e);
}

static struct list broken_maps; /* not opened */
static bool fatal;		/* daemon_table_open_error_is_fatal */

void map_failures_are_fatal(bool yes)
{
	fatal = yes;
}

/* A map that cannot be used stays in its place and says so at every look-up, so that mail is deferred, not
 * lost. */
static enum rc broken(struct map *m, enum rc rc, const struct err *e)
{
	if (fatal)
		die("%s", e->text);
	m->drv = &map_fail;
	m->broken = xstrdup(e->text);
	if (m->depth == 0) {
		if (!broken_maps.next)
			list_init(&broken_maps);
		list_add_tail(&broken_maps, &m->link);
	}
	return rc;
}

static struct map *new_map(struct span type_name, size_t type_bytes, unsigned flags)
{
	struct map *m = xcalloc(1, sizeof *m);

	map_fold_prepare();
	m->name = xmalloc(type_name.n + 1);
	memcpy(m->name, type_name.p, type_name.n);
	m->name[type_name.n] = 0;
	m->arg = span_make(m->name + type_bytes + 1, type_name.n - type_bytes - 1);
	m->flags = flags;
	waitq_init(&m->idle);
	list_init(&m->link);
	return m;
}

struct opening {
	unsigned flags, depth;
	bool here;
	uint64_t source_bytes;
};

static void ask_proxymap(struct map *m)
{
	m->drv = &map_proxy; /* its name stays; the whole of it is what proxymap is asked */
	m->arg = span_str(m->name);
}

/* Of a database not even the library is loaded where proxymap is asked about it. */
static enum rc choose_driver(struct map *m, struct span type, bool here, struct err *e)
{
	if (here || !map_remote_database(type))
		return map_driver_find(type, &m->drv, NULL, e);
	ask_proxymap(m);
	return RC_OK;
}

static enum rc open_as(struct span type_name, const struct opening *how, struct map **out, struct err *e)
{
	ptrdiff_t colon = span_chr(type_name, ':');
	struct err local = { 0 }, *story = e ? e : &local;
	struct map *m;
	enum rc rc;

	*out = NULL;
	if (colon <= 0 || (size_t)colon + 1 == type_name.n || memchr(type_name.p, 0, type_name.n))
		return err_set(e, RC_SYNTAX,
			       "open dictionary: expecting \"type:name\" form instead of \"" SPAN_FMT "\"",
			       SPAN_ARG(type_name));
	*out = m = new_map(type_name, (size_t)colon, how->flags);
	if (how->depth > MAP_DEPTH_MAX) {
		rc = err_set(story, RC_LIMIT, "%s: tables nested too deeply", m->name);
		return broken(m, rc, story);
	}
	if ((rc = choose_driver(m, span_head(type_name, (size_t)colon), how->here, story)) != RC_OK)
		return broken(m, rc, story);
	if ((m->drv->flags & MD_UNSAFE) && (how->flags & MAP_NO_UNAUTH)) {
		rc = err_set(story, RC_DENIED, "%s: %s map is not allowed for security-sensitive data",
			     m->name, m->drv->name);
		return broken(m, rc, story);
	}
	if (!how->here && map_remote_wanted(m->drv->flags))
		ask_proxymap(m);
	m->pattern = m->drv->flags & MD_PATTERN;
	m->depth = how->depth;
	m->size_hint = how->source_bytes;
	if ((rc = m->drv->open(m, story)) != RC_OK)
		return broken(m, rc, story);
	if (m->depth == 0 && m->drv->changed) {
		if (!open_maps.next)
			list_init(&open_maps);
		list_add_tail(&open_maps, &m->link);
	}
	return RC_OK;
}

enum rc map_open_at(struct span type_name, unsigned flags, unsigned depth, bool here, struct map **out,
		    struct err *e)
{
	return open_as(type_name, &(struct opening){ flags, depth, here, 0 }, out, e);
}

enum rc map_open_sized(struct span type_name, unsigned flags, uint64_t source_bytes, struct map **out,
		       struct err *e)
{
	return open_as(type_name, &(struct opening){ flags, 0, true, source_bytes }, out, e);
}

enum rc map_open(struct span type_name, unsigned flags, struct map **out, struct err *e)
{
	return map_open_at(type_name, flags, 0, false, out, e);
}

void map_close(struct map **m)
{
	struct map *old = *m;

	if (!old)
		return;
	list_del(&old->link);
	if (old->drv && old->drv->close)
		old->drv->close(old);
	else
		free(old->state);
	free(old->broken);
	free(old->name);
	free(old);
	*m = NULL;
}

const char *map_name(const struct map *m)
{
	return m->name;
}

bool map_is_pattern(const struct map *m)
{
	return m->pattern;
}

bool map_is_broken(const struct map *m)
{
	return m->broken != NULL;
}

const char *map_within(const struct map *m)
{
	return m->drv->within && !m->broken ? m->drv->within(m) : NULL;
}

bool map_owner(const struct map *m, uid_t *uid)
{
	if (m->has_owner)
		*uid = m->owner;
	return m->has_owner;
}

void map_paths(const struct map *m, void (*add)(void *arg, const char *path), void *arg)
{
	if (m->drv->paths)
		m->drv->paths(m, add, arg);
}

bool map_changed(const struct map *m)
{
	return m->drv->changed && m->drv->changed(m);
}

const struct map *map_any_changed(void)
{
	for (struct list *it = open_maps.next; it && it != &open_maps; it = it->next) {
		const struct map *m = LIST_ENTRY(it, struct map, link);
		if (map_changed(m))
			return m;
	}
	return NULL;
}

const struct map *map_any_broken(void)
{
	return broken_maps.next && broken_maps.next != &broken_maps
		   ? LIST_ENTRY(broken_maps.next, struct map, link)
		   : NULL;
}

/* ---- one look-up ---- */
struct offloaded {
	struct map *m;
	unsigned flags;
	struct span key, *value;
	struct arena *a;
	struct err e;
	enum rc rc;
};

static void run_offloaded(void *arg)
{
	struct offloaded *o = arg;
	o->rc = o->m->drv->lookup(o->m, o->flags, o->key, o->a, o->value, &o->e);
}

/* One at a time for each table: client libraries are not made for more. */
static enum rc ask_offloaded(struct map *m, unsigned flags, struct span key, struct arena *a,
			     struct span *value, struct err *e)
{
	struct offloaded o = { .m = m, .flags = flags, .key = key, .value = value, .a = a };

	while (m->asking)
		if (waitq_wait(&m->idle, deadline_s(60)) != RC_OK && m->asking)
			return err_set(e, RC_AGAIN, "%s: too many look-ups wait", m->name);
	m->asking = true;
	task_offload(run_offloaded, &o);
	m->asking = false;
	waitq_wake_one(&m->idle);
	if (o.rc != RC_OK && e)
		*e = o.e;
	return o.rc;
}

enum rc map_ask(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		struct err *e)
{
	enum rc rc;

	*value = SPAN_NONE;
	if (m->broken)
		return err_set(e, RC_AGAIN, "%s is unavailable. %s", m->name, m->broken);
	if (!key.n && !((flags & MAP_EMPTY_KEY) && (m->drv->flags & MD_EMPTY_KEY)))
		return RC_NOTFOUND;
	if (key.n && memchr(key.p, 0, key.n))
		return RC_NOTFOUND;
	if ((flags & MAP_UTF8) && !span_is_ascii(key) && !utf8_valid(key))
		return RC_NOTFOUND;
	if ((flags & MAP_FOLD_KEY) && !(m->drv->flags & MD_NOFOLD))
		key = map_fold(a, key);
	m->busy++;
	if ((m->drv->flags & MD_BLOCKING) && task_self())
		rc = ask_offloaded(m, flags, key, a, value, e);
	else
		rc = m->drv->lookup(m, flags, key, a, value, e);
	m->busy--;
	if (rc == RC_OK || rc == RC_NOTFOUND)
		return rc;
	if (e)
		e->rc = RC_AGAIN;
	return RC_AGAIN;
}

enum rc map_lookup(struct map *m, struct span key, struct arena *a, struct span *value, struct err *e)
{
	return map_ask(m, m->flags, key, a, value, e);
}

static enum rc may_write(struct map *m, bool able, struct span key, struct err *e)
{
	if (m->broken)
		return err_set(e, RC_AGAIN, "%s is unavailable. %s", m->name, m->broken);
	if (!able || !(m->flags & MAP_READ_WRITE))
		return err_set(e, RC_DENIED, "%s map does not support this operation", m->drv->name);
	if (!key.n || memchr(key.p, 0, key.n))
		return err_set(e, RC_SYNTAX, "%s: unusable key", m->name);
	return RC_OK;
}

static enum rc write_pair(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	enum rc rc = may_write(m, m->drv->put != NULL, key, e);
	struct arena a;

	if (rc != RC_OK)
		return rc;
	arena_init(&a);
	rc = m->drv->put(m, replace, m->flags & MAP_FOLD_KEY ? map_fold(&a, key) : key, value, e);
	arena_release(&a);
	return rc;
}

enum rc map_put(struct map *m, struct span key, struct span value, struct err *e)
{
	return write_pair(m, true, key, value, e);
}

enum rc map_add(struct map *m, struct span key, struct span value, struct err *e)
{
	return write_pair(m, false, key, value, e);
}

enum rc map_del(struct map *m, struct span key, struct err *e)
{
	enum rc rc = may_write(m, m->drv->del != NULL, key, e);
	struct arena a;

	if (rc != RC_OK)
		return rc;
	arena_init(&a);
	rc = m->drv->del(m, m->flags & MAP_FOLD_KEY ? map_fold(&a, key) : key, e);
	arena_release(&a);
	return rc;
}

enum rc map_next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		 struct err *e)
{
	if (m->broken)
		return err_set(e, RC_AGAIN, "%s is unavailable. %s", m->name, m->broken);
	if (!m->drv->next)
		return err_set(e, RC_DENIED, "%s map does not support this operation", m->drv->name);
	return m->drv->next(m, state, a, key, value, e);
}
