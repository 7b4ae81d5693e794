/* pop3d.c - pop3d(8): main(). */
#include "pop3d.h"

struct pop3_conf pop3_conf;

static const struct login_conf login = {
	.protocol = "pop3",
	.child_rights = "stdio rpath wpath chown flock",
	.serve = session_serve,
	.bye = "-ERR [SYS/TEMP] Server shutting down.\r\n",
};

static void prepare(void)
{
	pop3_conf.timeout_s = conf_int(service_conf(), "pop3d_timeout");
	pop3_conf.hostname = conf_str(service_conf(), "myhostname");
	login_prepare(&login);
}

int main(int argc, char **argv)
{
	static const struct service service = {
		.name = "pop3d",
		.kind = SV_STREAM,
		.user = "net_owner",
		.rights = LOGIN_FRONT_RIGHTS,
		.chroot_empty = true,
		.prepare = prepare,
		.serve = front_serve,
		.drain = login_drain,
		.limit_param = "pop3d_session_limit",
		.total_param = "pop3d_session_total",
	};
	return service_main(argc, argv, &service);
}
