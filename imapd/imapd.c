/* imapd(8): main(). This process meets the network and holds nothing; see imapd.h. */
#include "imapd.h"

struct imap_conf imap_conf;

static const struct login_conf login = {
	.protocol = "imap",
	.child_rights = "stdio rpath wpath flock watch chown",
	.serve = serve,
	.bye = "* BYE Server shutting down.\r\n",
};

static void prepare(void)
{
	const struct conf *c = service_conf();

	imap_conf.session.timeout_s = conf_int(c, "imapd_timeout");
	imap_conf.session.max_message = (uint64_t)conf_int(c, "imapd_message_size_limit");
	imap_conf.special_use = span_str(conf_str(c, "imapd_special_use"));
	imap_conf.mail_name = conf_str(c, "mail_name");
	charsets_load();
	login_prepare(&login);
}

static const struct service imapd = {
	.name = "imapd",
	.kind = SV_STREAM,
	.user = "net_owner",
	.rights = LOGIN_FRONT_RIGHTS,
	.chroot_empty = true,
	.prepare = prepare,
	.serve = front_serve,
	.drain = login_drain,
	.limit_param = "imapd_session_limit",
	.total_param = "imapd_session_total",
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &imapd);
}
