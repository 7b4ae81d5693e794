/* proxymap - answers questions about tables for those who may not open them (proxymap(8)). */
#include "log/log.h"
#include "map/driver.h"
#include "service/service.h"
#include "tables.h"
#include "task/task.h"

#define PASSED_ON (MAP_FOLD_KEY | MAP_NO_REGSUB | MAP_UTF8) /* flags of a question that count here */

/* Without tables in databases there is nobody to connect to. */
#define RIGHTS "stdio accept rpath flock unix"
static struct service proxymap;

static void prepare(void)
{
	map_socketmap_limit(conf_int(service_conf(), "socketmap_max_reply_size"));
	tables_open("proxy_read_maps", MAP_FOLD_KEY);
	if (tables_ask_servers())
		proxymap.rights = RIGHTS " inet";
}

static size_t paths(struct arena *a, struct sandbox_path **out)
{
	return tables_paths(a, out, SB_READ);
}

static void lookup(struct ipc_call *call, const void *request)
{
	const struct map_lookup *q = request;
	struct map_lookup_reply r = { .status = MAP_MISS };
	const char *program = ipc_chan_peer(ipc_call_chan(call))->program;
	struct map *m = tables_find(q->table, program);
	struct err e;

	if (!m) {
		log_warning("request for unapproved table: \"" SPAN_FMT "\"", SPAN_ARG(q->table));
		log_warning("to approve this table for read-only access, list proxy:" SPAN_FMT
			    " in main.cf:proxy_read_maps",
			    SPAN_ARG(q->table));
		r.status = MAP_REFUSED;
		ipc_reply(call, &r);
		return;
	}
	switch (map_ask(m, q->flags & PASSED_ON, q->key, ipc_call_arena(call), &r.value, &e)) {
	case RC_OK:
		r.status = MAP_FOUND;
		break;
	case RC_NOTFOUND:
		r.status = MAP_MISS;
		break;
	default:
		log_warning("%s lookup error: %s", map_name(m), e.text);
		r.status = MAP_RETRY;
		r.value = span_dup(ipc_call_arena(call), span_str(e.text));
	}
	ipc_reply(call, &r);
}

static const struct ipc_handler handlers[] = {
	{ IPC_MAP_LOOKUP, "*", lookup },
	{ 0, NULL, NULL },
};

static struct service proxymap = {
	.name = "proxymap",
	.kind = SV_IPC,
	.user = "aux_owner",
	.rights = RIGHTS,
	.paths = paths,
	.prepare = prepare,
	.handlers = handlers,
	.offload_threads = OFFLOAD_THREADS, /* a server that hangs holds a few of them */
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &proxymap);
}
