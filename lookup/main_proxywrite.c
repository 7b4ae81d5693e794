/* proxywrite - the one writer of tables that several processes share (proxymap(8)). */
#include "log/log.h"
#include "map/driver.h"
#include "map/servers.h"
#include "service/service.h"
#include "tables.h"
#include <sys/stat.h>
#include <unistd.h>

/* A cache that is not there yet is made, empty. Its directory belongs to a daemon's user, who could have put a symbolic
 * link there: so it is made with that user's rights. */
static void make_one(struct span name, uid_t root)
{
	static const struct {
		const char *type, *suffix;
	} types[] = { { "hash:/", ".db" }, { "btree:/", ".db" }, { "lmdb:/", ".lmdb" } };
	struct map *m = NULL;
	char path[1024], dir[1024];
	struct stat st;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct span file = span_skip(name, strlen(types[i].type) - 1);
		ptrdiff_t slash;

		if (!span_starts(name, span_str(types[i].type)))
			continue;
		slash = span_rchr(file, '/');
		snprintf(path, sizeof path, SPAN_FMT "%s", SPAN_ARG(file), types[i].suffix);
		snprintf(dir, sizeof dir, SPAN_FMT "/", SPAN_ARG(span_head(file, (size_t)slash)));
		if (lstat(path, &st) == 0 || stat(dir, &st) != 0)
			return;
		if (root == 0 && seteuid(st.st_uid) != 0)
			return;
		if (map_open_at(name, MAP_FOLD_KEY | MAP_READ_WRITE | MAP_CREATE, 0, true, &m, &e) != RC_OK)
			log_warning("%s", e.text);
		map_close(&m);
		if (root == 0 && seteuid(0) != 0)
			die("seteuid");
	}
}

static void make_word(struct span word)
{
	struct arena a;

	arena_init(&a);
	for (unsigned depth = 0; word.n && depth < MAP_DEPTH_MAX; depth++) {
		while (span_starts(word, SPAN("proxy:")))
			word = span_skip(word, 6);
		make_one(tables_place(word, &a), geteuid());
		word = span_starts(word, SPAN("memcache:")) ? memcache_backup(span_skip(word, 9), &a)
							    : SPAN_NONE;
	}
	arena_release(&a);
}

static void make_missing(const struct conf *c)
{
	struct span rest = span_str(conf_str(c, "proxy_write_maps")), word;

	while (map_word_next(&rest, &word, NULL) == RC_OK)
		make_word(word);
}

static struct service proxywrite;

/* Sockets are for those configurations only that have a table behind one (tcp: socketmap: memcache:). */
static void prepare(void)
{
	make_missing(service_conf());
	tables_open("proxy_write_maps", MAP_FOLD_KEY | MAP_READ_WRITE);
	if (tables_ask_servers())
		proxywrite.rights = "stdio accept rpath wpath flock unix inet";
}

static size_t paths(struct arena *a, struct sandbox_path **out)
{
	return tables_paths(a, out, SB_READ | SB_WRITE);
}

static struct map *approved(struct span table, struct map_lookup_reply *r)
{
	struct map *m = tables_find(table, ""); /* no secrets among those */

	if (m)
		return m;
	log_warning("request for unapproved table: \"" SPAN_FMT "\"", SPAN_ARG(table));
	log_warning("to approve this table for read-write access, list proxy:" SPAN_FMT
		    " in main.cf:proxy_write_maps",
		    SPAN_ARG(table));
	r->status = MAP_REFUSED;
	return NULL;
}

static void answer(struct ipc_call *call, struct map_lookup_reply *r, const struct map *m, enum rc rc,
		   const struct err *e)
{
	r->status = rc == RC_OK ? MAP_FOUND : rc == RC_NOTFOUND ? MAP_MISS : MAP_RETRY;
	if (r->status == MAP_RETRY) {
		log_warning("%s: %s", map_name(m), e->text);
		r->value = span_dup(ipc_call_arena(call), span_str(e->text));
	}
	ipc_reply(call, r);
}

static void lookup(struct ipc_call *call, const void *request)
{
	const struct map_lookup *q = request;
	struct map_lookup_reply r = { .status = MAP_MISS };
	struct map *m = approved(q->table, &r);
	struct err e;

	if (!m)
		ipc_reply(call, &r);
	else
		answer(call, &r, m,
		       map_ask(m, q->flags & MAP_FOLD_KEY, q->key, ipc_call_arena(call), &r.value, &e), &e);
}

static void update(struct ipc_call *call, const void *request)
{
	const struct map_update *q = request;
	struct map_lookup_reply r = { .status = MAP_MISS };
	struct map *m = approved(q->table, &r);
	struct err e;

	if (!m)
		ipc_reply(call, &r);
	else
		answer(call, &r, m, q->del ? map_del(m, q->key, &e) : map_put(m, q->key, q->value, &e), &e);
}

#define WALK_BYTES (32 * 1024) /* of one answer */

static void walk(struct ipc_call *call, const void *request)
{
	const struct map_walk *q = request;
	struct arena *a = ipc_call_arena(call);
	struct map_lookup_reply told = { .status = MAP_FOUND };
	struct map *m = approved(q->table, &told);
	struct map_pair *v = NULL, p;
	size_t n = 0, cap = 0, bytes = 0;
	void *state = NULL;
	struct err e;
	enum rc rc = RC_OK;

	for (uint32_t i = 0; m && bytes < WALK_BYTES && n < 1000; i++) {
		if ((rc = map_next(m, &state, a, &p.key, &p.value, &e)) != RC_OK)
			break;
		if (i < q->skip)
			continue;
		if (n == cap)
			v = arena_grow(a, v, n, &cap, sizeof(*v));
		bytes += p.key.n + p.value.n;
		v[n++] = p;
	}
	if (rc != RC_OK && rc != RC_NOTFOUND)
		log_warning("%s: %s", map_name(m), e.text);
	ipc_reply(call, &(struct map_walk_reply){ told.status, { v, n } });
}

static const struct ipc_handler handlers[] = {
	{ IPC_MAP_LOOKUP, "*", lookup },
	{ IPC_MAP_UPDATE, "verify smtp lmtp relay",
	  update }, /* the owners of what is kept; a server asks, and changes nothing */
	{ IPC_MAP_WALK, "verify", walk },
	{ 0, NULL, NULL },
};

static struct service proxywrite = {
	.name = "proxywrite",
	.kind = SV_IPC,
	.user = "aux_owner",
	.rights = "stdio accept rpath wpath flock",
	.paths = paths,
	.prepare = prepare,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &proxywrite);
}
