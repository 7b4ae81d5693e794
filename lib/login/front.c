/* login/front.c - a connection until it has logged in: who it is, TLS, and its last line in the log. */
#include "login/private.h"
#include "base/codec.h"
#include "log/log.h"
#include "net/addr.h"

#define TLS_PROTOCOLS ">=TLSv1.2" /* RFC 8314 section 4.1 */

struct login_settings login_set;
static struct list connections = { &connections, &connections };

void login_drain(void)
{
	if (!service_ending())
		return;
	LIST_EACH(it, &connections)
	{
		struct login *l = LIST_ENTRY(it, struct login, link);

		if (!l->handed_over) /* reads the end of its input, and login_close() says good-bye */
			shutdown(stream_fd(l->io), SHUT_RD);
	}
	asuser_end(); /* the users' processes end their sessions, and themselves */
}

static const char *param(const char *suffix, char *out, size_t size)
{
	snprintf(out, size, "%sd_%s", login_set.conf->protocol, suffix);
	return out;
}

static void prepare_tls(const struct conf *c)
{
	char name[64];
	const char *cert = conf_str(c, param("tls_cert_file", name, sizeof(name)));
	struct tls_server_conf t = { .ticket_service = service_name(),
				     .protocols = TLS_PROTOCOLS,
				     .ciphers = "medium",
				     .alpn = login_set.conf->protocol };
	static char chain[16];
	struct err e;

	login_set.wrapper = conf_bool(c, param("tls_wrappermode", name, sizeof(name)));
	if (!*cert || strcmp(cert, "none") == 0) {
		if (login_set.wrapper)
			die("%s: TLS from the first byte needs a certificate: set smtpd_tls_cert_file or "
			    "%sd_tls_cert_file",
			    service_name(), login_set.conf->protocol);
		return;
	}
	snprintf(chain, sizeof(chain), "%sd", login_set.conf->protocol);
	t.chain = chain;
	if (tls_prepare(c, &e) != RC_OK || tls_server_new(&t, &login_set.tls, &e) != RC_OK)
		die("%s", e.text);
}

void login_prepare(const struct login_conf *lc)
{
	const struct conf *c = service_conf();
	static struct asuser_conf a;
	static char title[16], tickets[256];
	struct authclient_conf ac = { "auth", lc->protocol, service_connect };
	char name[64];
	struct err e;

	login_set.conf = lc;
	login_set.timeout_s = conf_int(c, param("login_timeout", name, sizeof(name)));
	login_set.plaintext = conf_bool(c, param("plaintext_auth", name, sizeof(name)));
	login_set.user_limit = conf_int(c, param("user_session_limit", name, sizeof(name)));
	prepare_tls(c);
	login_set.auth = authclient_new(&ac);
	snprintf(title, sizeof(title), "%sd", lc->protocol);
	snprintf(tickets, sizeof(tickets), "%s/" TICKET_DIR, conf_str(c, "queue_directory"));
	a = (struct asuser_conf){ .name = title,
				  .ticket_dir = tickets,
				  .ticket_service = lc->protocol,
				  .min_uid = 1,
				  .child_rights = lc->child_rights,
				  .child_paths = login_child_paths,
				  .child_main = login_child };
	if (asuser_start(&a, &e) != RC_OK)
		die("%s", e.text);
}

/* ---- who ---- */
static void address(const struct sockaddr_storage *ss, socklen_t len, char out[LOGIN_TEXT_MAX],
		    unsigned *port, struct inet_addr *addr)
{
	uint16_t p = 0;

	memset(addr, 0, sizeof(*addr));
	if (len == 0)
		return;
	inet_addr_from_sockaddr(ss, addr, &p);
	inet_addr_text(addr, out);
	*port = p;
}

static bool on_this_host(const struct inet_addr *peer, const struct inet_addr *local)
{
	return peer->family == 0 || inet_addr_eq(peer, local); /* family 0: a UNIX socket */
}

static void make_id(char out[LOGIN_TEXT_MAX])
{
	char random[12];
	struct buf b;

	random_bytes(random, sizeof(random));
	buf_init(&b, LOGIN_TEXT_MAX);
	base64_encode(&b, span_make(random, sizeof(random)));
	snprintf(out, LOGIN_TEXT_MAX, "%s", buf_cstr(&b));
	buf_release(&b);
}

bool login_open(struct login *l, struct service_conn *conn)
{
	struct inet_addr peer, local;
	struct err e;

	memset(l, 0, sizeof(*l));
	list_add_tail(&connections, &l->link);
	arena_init(&l->a);
	l->conn = conn;
	l->io = conn->io;
	l->since = loop_now();
	l->until = deadline_s(login_set.timeout_s);
	make_id(l->id);
	address(&conn->peer, conn->peer_len, l->rip, &l->rport, &peer);
	address(&conn->local, conn->local_len, l->lip, &l->lport, &local);
	l->secured = on_this_host(&peer, &local);
	stream_set_write_timeout(l->io, login_set.timeout_s);
	if (!login_set.wrapper)
		return true;
	if (login_start_tls(l, &e) == RC_OK)
		return true;
	login_close(l, e.text);
	return false;
}

static const char *protection(const struct login *l)
{
	return l->tls ? ", TLS" : l->secured ? ", secured" : "";
}

void login_close(struct login *l, const char *why)
{
	long long s = (long long)(mono_diff_ms(loop_now(), l->since) / 1000);
	struct err e;

	list_del(&l->link);
	if (service_ending() && !l->handed_over)
		login_say_bye(l->io);
	if (why) {
		if (stream_flush(l->io, deadline_s(5), &e) != RC_OK)
			log_debug("%s-login: %s", login_set.conf->protocol, e.text);
		if (l->attempts)
			log_info("%s-login: Disconnected: %s (auth failed, %u attempts in %lld secs): "
				 "user=<%s>, method=%s, rip=%s, lip=%s%s, session=<%s>",
				 login_set.conf->protocol, why, l->attempts, s, l->user, l->method, l->rip,
				 l->lip, protection(l), l->id);
		else
			log_info("%s-login: Disconnected: %s (no auth attempts in %lld secs): user=<>, "
				 "rip=%s, lip=%s%s, session=<%s>",
				 login_set.conf->protocol, why, s, l->rip, l->lip, protection(l), l->id);
	}
	authclient_cancel(&l->x);
	arena_release(&l->a);
}

/* ---- TLS ---- */
bool login_tls_offered(const struct login *l)
{
	return login_set.tls && !l->tls;
}

enum rc login_start_tls(struct login *l, struct err *e)
{
	struct tls_trace quiet = { 0 };
	struct tls_info *info;
	enum rc rc;

	if (stream_has_input(l->io)) /* RFC 2595 section 4: nothing sent in clear text counts as protected */
		return err_set(e, RC_DENIED, "Data before the TLS handshake");
	info = xcalloc(1, sizeof(*info));
	rc = tls_server_start(login_set.tls, l->io, &quiet, info, l->until, e);
	if (rc == RC_OK) {
		l->tls = l->secured = true;
		l->sni = info->sni[0] ? arena_strdup(&l->a, info->sni) : NULL;
	} else {
		err_prefix(e, "TLS handshaking");
	}
	free(info);
	return rc;
}

bool login_plaintext_ok(const struct login *l)
{
	return l->secured || login_set.plaintext;
}
