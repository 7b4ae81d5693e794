/* router/main_trivial-rewrite.c - trivial-rewrite(8): the process. It opens its tables as root, then has no
 * rights but to read them and to ask the lookup daemon. When a table has changed it ends after what it is
 * doing, and master starts a fresh one. */
#include "router.h"
#include "log/log.h"
#include "service/service.h"

static void start(void)
{
	map_watch(true);
}

static const struct ipc_handler handlers[] = {
	{ IPC_ROUTER_REWRITE, "*", answer_rewrite },
	{ IPC_ROUTER_RESOLVE, "*", answer_resolve },
	{ IPC_ROUTER_VALIDATE, "*", answer_validate },
	{ IPC_ROUTER_EXPAND, "*", answer_expand },
	{ 0, NULL, NULL },
};

static const struct service trivial_rewrite = {
	.name = "trivial-rewrite",
	.kind = SV_IPC,
	.user = "aux_owner",
	.rights = "stdio accept recvfd rpath flock unix",
	.paths = router_paths,
	.prepare = router_prepare,
	.start = start,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &trivial_rewrite);
}
