/* auth/auth.c - auth(8): the process. The keeper (root) holds the credential stores; this part speaks with
 * clients and runs SASL without rights of its own. */
#include "auth.h"
#include "connection.h"
#include "log/log.h"
#include "map/map.h"
#include "tickets.h"

struct auth_conf auth_conf;

static void prepare(void)
{
	const struct conf *c = service_conf();
	const struct keeper_conf k = {
		.passwd_file = conf_str(c, "auth_passwd_file"),
		.sasldb_file = conf_str(c, "auth_sasldb_file"),
		.sasldb_realm = conf_str(
		    c, *conf_str(c, "smtpd_sasl_local_domain") ? "smtpd_sasl_local_domain" : "myhostname"),
		.pam_service = conf_str(c, "auth_pam_service"),
	};

	auth_conf = (struct auth_conf){
		.mechanisms = conf_str(c, "auth_mechanisms"),
		.default_realm = conf_str(c, "auth_realm"),
		.mail_location = conf_str(c, "mail_location"),
		.mail_home = conf_str(c, "mail_home"),
		.failure_delay_s = conf_int(c, "auth_failure_delay"),
		.penalty_max_s = conf_int(c, "auth_penalty_limit"),
	};
	auth_conf.mail_uid = *conf_str(c, "mail_uid") ? strtoll(conf_str(c, "mail_uid"), NULL, 10) : -1;
	auth_conf.mail_gid = *conf_str(c, "mail_gid") ? strtoll(conf_str(c, "mail_gid"), NULL, 10) : -1;
	location_prepare();
	tickets_prepare();
	keeper_start(&k);
	exchange_prepare();
	if (!*exchange_mechs())
		die("auth_mechanisms = %s: Cyrus SASL has none of them (packages libsasl2-modules, "
		    "libsasl2-modules-db)",
		    auth_conf.mechanisms);
}

/* Cyrus SASL takes its random numbers from there; without it, it falls back to the clock. */
static size_t paths(struct arena *a, struct sandbox_path **out)
{
	*out = arena_array(a, 1, sizeof(**out));
	**out = (struct sandbox_path){ "/dev/urandom", SB_READ };
	return 1;
}

static void start(void)
{
	tickets_start();
	map_watch(false);
}

static const struct service auth = {
	.name = "auth",
	.kind = SV_STREAM,
	.user = "aux_owner",
	.rights = "stdio accept recvfd rpath", /* rpath: see paths() */
	.paths = paths,
	.offload_threads = 2, /* password hashes */
	.prepare = prepare,
	.start = start,
	.serve = connection_serve,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &auth);
}
