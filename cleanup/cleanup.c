/* cleanup.c - cleanup(8): makes the durable queue file of every message that enters. */
#include "cleanup.h"

static void prepare(void)
{
	map_set_remote(true);
	settings_load();
}

static void start(void)
{
	store_start();
	notify_start();
	map_watch(true);
}

static const struct ipc_handler handlers[] = {
	{ IPC_CLEANUP_SUBMIT,
	  "smtpd lmtpd smtp lmtp relay pickup bounce defer trace local virtual pipe verify", answer_submit },
	{ IPC_CLEANUP_FILE, "smtpd lmtpd pickup bounce defer trace local virtual pipe", answer_file },
	{ IPC_CLEANUP_ABORT, "smtpd lmtpd pickup bounce defer trace local virtual pipe", answer_abort },
	{ IPC_CLEANUP_SLOTS, "qmgr", answer_slots },
	{ 0, NULL, NULL },
};

static const struct service cleanup = {
	.name = "cleanup",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd rpath wpath flock",
	.queue_dirs = "incoming pool hold corrupt",
	.prepare = prepare,
	.start = start,
	.handlers = handlers,
	.gone = large_forget,
	.drain = store_drain,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &cleanup);
}
