/* smtpd.c - smtpd(8) and lmtpd(8): main(). */
#include "smtpd.h"

static void serve(struct service_conn *c)
{
	session_serve(c);
}

static void start(void)
{
	map_watch(false);
}

int main(int argc, char **argv)
{
	static struct service service = {
		.name = "smtpd",
		.kind = SV_STREAM,
		.user = "net_owner",
		.rights = "stdio accept recvfd",
		.chroot_empty = true,
		.prepare = settings_load,
		.start = start,
		.serve = serve,
		.drain = session_drain,
		.limit_param = "smtpd_session_limit",
		.total_param = "smtpd_session_total",
	};
	const char *slash = strrchr(argv[0], '/');

	conf.lmtp = strcmp(slash != NULL ? slash + 1 : argv[0], "lmtpd") == 0;
	if (conf.lmtp)
		service.name = "lmtpd";
	return service_main(argc, argv, &service);
}
