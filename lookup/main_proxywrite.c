/* proxywrite - the one writer of tables that several processes share (proxymap(8)). */
#include "log/log.h"
#include "map/driver.h"
#include "service/service.h"
#include "tables.h"

static struct service proxywrite;

/* Sockets are for those configurations only that have a table behind one (tcp: socketmap: memcache:). */
static void prepare(void)
{
	tables_open("proxy_write_maps", MAP_FOLD_KEY | MAP_READ_WRITE, false);
	if (tables_ask_servers())
		proxywrite.rights = "stdio accept rpath wpath flock unix inet";
}

static size_t paths(struct arena *a, struct sandbox_path **out)
{
	return tables_paths(a, out, SB_READ | SB_WRITE);
}

static struct map *approved(struct span table, struct map_lookup_reply *r)
{
	struct map *m = tables_find(table);

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

static const struct ipc_handler handlers[] = {
	{ IPC_MAP_LOOKUP, "*", lookup },
	{ IPC_MAP_UPDATE, "*", update },
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
