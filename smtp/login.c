/* login.c - AUTH with Cyrus SASL as the client (RFC 4954). The library's plugins are loaded before the
 * sandbox closes. */
#include "client.h"
#include "base/codec.h"
#include "hostname.h"
#include "log/log.h"

#include <sasl/sasl.h>

#define CHALLENGES_MAX 20
#define SASL_BYTES_MAX 12288 /* RFC 4954 section 4: a line of 12,288 octets */

/* The log names the whole opening of a session. */
#define DOING (settings.lmtp ? "performing the LHLO handshake" : "performing the EHLO handshake")

struct credentials {
	char *user;
	sasl_secret_t *secret;
};

typedef int (*callback_fn)(void);

static int give_user(void *context, int id, const char **result, unsigned *len)
{
	const struct credentials *c = context;
	/* The identity to act as: without it the server takes the one that logs in (RFC 4616 section 2). */
	*result = id == SASL_CB_USER && !settings.auth_send_authzid ? "" : c->user;
	if (len != NULL)
		*len = (unsigned)strlen(*result);
	return SASL_OK;
}

/* send_cyrus_sasl_authzid = no: the server takes the name that logs in. */
static int give_no_user(void *context, int id, const char **result, unsigned *len)
{
	(void)context, (void)id;
	*result = "";
	if (len != NULL)
		*len = 0;
	return SASL_OK;
}

static int give_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
	const struct credentials *c = context;
	(void)conn, (void)id;
	*secret = c->secret;
	return SASL_OK;
}

static int no_log(void *context, int level, const char *message)
{
	(void)context;
	if (level <= SASL_LOG_ERR)
		log_debug("SASL: %s", message);
	return SASL_OK;
}

void login_prepare(void)
{
	static const sasl_callback_t callbacks[] = {
		{ SASL_CB_LOG, (callback_fn)(void (*)(void))no_log, NULL },
		{ SASL_CB_LIST_END, NULL, NULL },
	};
	sasl_conn_t *conn;
	if (!settings.auth)
		return;
	hostname_set(settings.myhostname);
	if (sasl_client_init(callbacks) != SASL_OK)
		die("SASL library initialization failed");
	/* What the mechanisms open when they are first used. */
	if (sasl_client_new("smtp", "localhost", NULL, NULL, NULL, 0, &conn) == SASL_OK)
		sasl_dispose(&conn);
}

/* The sender first, then the server's name, then the next hop as written. */
enum rc login_find(const char *server, struct span nexthop, struct span host, struct span sender,
		   struct arena *a, struct span *userpass, struct why *w)
{
	struct err e;
	struct span ext;
	enum rc rc = RC_NOTFOUND;
	if (maps_empty(settings.passwords))
		return RC_NOTFOUND;
	if (settings.auth_by_sender && sender.n > 0)
		rc = maps_find_addr(
		    settings.passwords, sender, MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_AT_DOMAIN,
		    address_extensions_of(service_conf()), false, false, a, userpass, &ext, &e);
	if (rc == RC_NOTFOUND && host.n > 0)
		rc = maps_lookup(settings.passwords, host, a, userpass, &e);
	if (rc == RC_NOTFOUND && nexthop.n > 0)
		rc = maps_lookup(settings.passwords, nexthop, a, userpass, &e);
	if (rc == RC_OK || rc == RC_NOTFOUND)
		return rc;
	log_warning("%s", e.text);
	why_set(w, "4.3.0", "local data error while talking to %s", server);
	return RC_AGAIN;
}

static const char *security_options(const struct session *s)
{
	if (!s->tls)
		return settings.auth_security;
	return s->tls_info.peer_verified ? settings.auth_security_verified : settings.auth_security_tls;
}

static unsigned security_flags(const char *list)
{
	static const struct {
		const char *word;
		unsigned flag;
	} words[] = {
		{ "noplaintext", SASL_SEC_NOPLAINTEXT },   { "noactive", SASL_SEC_NOACTIVE },
		{ "nodictionary", SASL_SEC_NODICTIONARY }, { "forward_secrecy", SASL_SEC_FORWARD_SECRECY },
		{ "noanonymous", SASL_SEC_NOANONYMOUS },   { "mutual_auth", SASL_SEC_MUTUAL_AUTH },
	};
	struct span rest = span_str(list), w;
	unsigned flags = 0;
	while (span_next_word(&rest, ", \t\r\n", &w))
		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (span_is_ci(w, words[i].word))
				flags |= words[i].flag;
	return flags;
}

/* smtp_sasl_mechanism_filter: "!gssapi, static:rest", or tables. One that fails lets nothing through. */
static bool mechanism_allowed(struct span m)
{
	char name[64];
	struct err e;
	if (match_list_empty(settings.auth_mechanisms))
		return true;
	if (span_cstr(m, name, sizeof name) != RC_OK)
		return false;
	for (char *c = name; *c != '\0'; c++)
		*c = ascii_lower(*c);
	enum rc rc = match_domain(settings.auth_mechanisms, span_str(name), &e);
	if (rc != RC_OK && rc != RC_NOTFOUND)
		log_warning("%s", e.text);
	return rc == RC_OK;
}

static const char *offered(const struct session *s, struct arena *a)
{
	struct span rest = span_str(s->ehlo.mechanisms), m, list = SPAN("");
	while (span_next_word(&rest, " ", &m))
		if (mechanism_allowed(m))
			list = span_printf(a, SPAN_FMT "%s" SPAN_FMT, SPAN_ARG(list), list.n > 0 ? " " : "",
					   SPAN_ARG(m));
	return arena_cstr(a, list);
}

static enum rc cannot(struct session *s, const char *reason, struct why *w)
{
	why_set(w, "4.7.0", "SASL authentication failed; cannot authenticate to server %s: %s", s->name_addr,
		reason);
	return RC_DENIED;
}

static enum rc refused(struct session *s, struct span user, struct span password, struct arena *a,
		       struct why *w)
{
	char dsn[SMTP_DSN_MAX];
	session_dsn(s, dsn);
	if (settings.auth_soft_bounce)
		dsn[0] = '4';
	why_set(w, dsn, "SASL authentication failed; server %s said: " SPAN_FMT, s->name_addr,
		SPAN_ARG(session_said(s, a)));
	login_cache_note(s, user, password, dsn, a);
	return RC_DENIED;
}

static struct span encoded(const char *p, unsigned n, struct arena *a)
{
	struct buf b;
	buf_init(&b, 2 * SASL_BYTES_MAX);
	base64_encode(&b, span_make(p, n));
	struct span out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return out;
}

static void send_line(struct session *s, struct span text)
{
	bool command = span_starts(text, SPAN("AUTH ")); /* the rest is base64 */
	notice_out(s, command ? text : SPAN("(credentials)"));
	stream_write(s->io, text);
	stream_puts(s->io, "\r\n");
}

/* One 334 with its challenge, and our answer. */
static enum rc answer(struct session *s, sasl_conn_t *conn, struct arena *a, struct why *w)
{
	struct span line = SPAN("");
	struct buf challenge;
	const char *out = NULL;
	unsigned n = 0;
	(void)smtp_reply_line(&s->reply, 0, &line);
	buf_init(&challenge, SASL_BYTES_MAX);
	enum rc rc = base64_decode(&challenge, span_trim(line));
	int r = rc == RC_OK
		    ? sasl_client_step(conn, buf_cstr(&challenge), (unsigned)challenge.n, NULL, &out, &n)
		    : SASL_BADPROT;
	buf_release(&challenge);
	if (r != SASL_OK && r != SASL_CONTINUE) {
		stream_puts(s->io, "*\r\n"); /* RFC 4954 section 4: cancels */
		rc = session_reply(s, settings.mail_s, DOING, w);
		return rc != RC_OK ? rc : cannot(s, sasl_errstring(r, NULL, NULL), w);
	}
	send_line(s, encoded(out, n, a));
	return session_reply(s, settings.mail_s, DOING, w);
}

/* RC_GONE: the server says no. */
static enum rc converse(struct session *s, sasl_conn_t *conn, struct arena *a, struct why *w)
{
	const char *out = NULL, *mechanism = NULL;
	unsigned n = 0;
	const char *list = offered(s, a);
	if (list[0] == '\0') {
		log_warning("%s offered no supported AUTH mechanisms: '%s'", s->relay, s->ehlo.mechanisms);
		why_set(
		    w, "4.7.0",
		    "SASL authentication failed: server %s offered no compatible authentication mechanisms "
		    "for this type of connection security",
		    s->name_addr);
		return RC_DENIED;
	}
	int r = sasl_client_start(conn, list, NULL, &out, &n, &mechanism);
	if (r != SASL_OK && r != SASL_CONTINUE)
		return cannot(s, r == SASL_NOMECH ? "no mechanism available" : sasl_errstring(r, NULL, NULL),
			      w);
	struct span first = encoded(out, n, a);
	if (out == NULL)
		session_puts(s, "AUTH %s", mechanism);
	else
		send_line(s, span_printf(a, "AUTH %s " SPAN_FMT, mechanism,
					 SPAN_ARG(first.n > 0 ? first : SPAN("="))));
	enum rc rc = session_reply(s, settings.mail_s, DOING, w);
	for (int i = 0; rc == RC_OK && s->reply.code == 334 && i < CHALLENGES_MAX; i++)
		rc = answer(s, conn, a, w);
	if (rc != RC_OK)
		return rc;
	return s->reply.code / 100 == 2 ? RC_OK : RC_GONE;
}

enum rc login(struct session *s, struct span userpass, struct arena *a, struct why *w)
{
	sasl_conn_t *conn = NULL;
	struct span user, password = userpass;
	(void)span_next(&password, settings.auth_delimiter, &user);
	if (login_cache_failed(s, user, password, a, w))
		return RC_DENIED;
	struct credentials c = { .user = arena_cstr(a, user),
				 .secret = xcalloc(1, sizeof(sasl_secret_t) + password.n + 1) };
	c.secret->len = password.n;
	memcpy(c.secret->data, password.p, password.n);
	sasl_callback_t callbacks[] = {
		{ SASL_CB_USER,
		  (callback_fn)(void (*)(void))(
		      conf_bool(service_conf(), "send_cyrus_sasl_authzid") ? give_user : give_no_user),
		  &c },
		{ SASL_CB_AUTHNAME, (callback_fn)(void (*)(void))give_user, &c },
		{ SASL_CB_PASS, (callback_fn)(void (*)(void))give_secret, &c },
		{ SASL_CB_LIST_END, NULL, NULL },
	};
	sasl_security_properties_t security = {
		.max_ssf = 0,
		.maxbufsize = 0,
		.security_flags = security_flags(security_options(s)),
	};
	enum rc rc;
	if (sasl_client_new("smtp", s->host, NULL, NULL, callbacks, 0, &conn) != SASL_OK ||
	    sasl_setprop(conn, SASL_SEC_PROPS, &security) != SASL_OK)
		rc = cannot(s, "SASL library failure", w);
	else
		rc = converse(s, conn, a, w);
	if (rc == RC_GONE)
		rc = refused(s, user, password, a, w);
	if (conn != NULL)
		sasl_dispose(&conn);
	explicit_bzero(c.secret->data, password.n);
	free(c.secret);
	s->authenticated = rc == RC_OK;
	return rc;
}
