/* smtp.c - smtp(8), lmtp(8): delivers mail to SMTP and LMTP servers. The program name decides which of the
 * two protocols, and with it which parameters, are used. */
#include "client.h"

static void prepare_smtp(void)
{
	settings_read(false);
	login_prepare();
}

static void prepare_lmtp(void)
{
	settings_read(true);
	login_prepare();
}

static void start(void)
{
	map_watch(false);
}

static const struct ipc_handler handlers[] = {
	{ IPC_DELIVER, "qmgr local", deliver },
	{ 0, NULL, NULL },
};

#define COMMON                                                                                               \
	.kind = SV_IPC, .user = "net_owner", .rights = "stdio accept recvfd inet", .chroot_empty = true,     \
	.start = start, .drain = idle_drop_all, .handlers = handlers
static const struct service smtp = { .name = "smtp", .prepare = prepare_smtp, COMMON };
static const struct service lmtp = { .name = "lmtp", .prepare = prepare_lmtp, COMMON };

int main(int argc, char **argv)
{
	struct span path = span_str(argc > 0 ? argv[0] : "smtp");
	ptrdiff_t slash = span_rchr(path, '/');
	bool is_lmtp = span_is(span_skip(path, (size_t)(slash + 1)), "lmtp");
	return service_main(argc, argv, is_lmtp ? &lmtp : &smtp);
}
