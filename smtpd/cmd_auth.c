/* cmd_auth.c - AUTH (RFC 4954). Credentials go to the authentication service and nowhere else. */
#include "restrict.h"
#include "base/codec.h"

static struct authclient *client;

#define AUTH_WAIT_S 100

static enum rc connect_tcp(const char *path, int *fd, deadline_t d, struct err *e)
{
	(void)path;
	return endpoint_connect(&conf.sasl_server, service_connect, d, fd, e);
}

static struct authclient *auth(void)
{
	struct authclient_conf c = { conf.sasl_path, conf.sasl_service,
				     conf.sasl_server.text != NULL ? connect_tcp : service_connect };

	if (client == NULL)
		client = authclient_new(&c);
	return client;
}

bool auth_offered(const struct session *s)
{
	return conf.auth && !s->auth_excepted && (!conf.auth_tls_only || s->tls != NULL);
}

static bool mech_ok(const struct session *s, const struct auth_mech *m)
{
	unsigned forbid = s->tls != NULL ? conf.auth_forbid_tls : conf.auth_forbid;
	struct err e;

	if ((m->flags & (AUTHMECH_PRIVATE | (forbid & ~AUTHMECH_WANTED))) != 0 ||
	    (forbid & AUTHMECH_WANTED & ~m->flags) != 0)
		return false;
	return match_domain(conf.mech_filter, span_str(m->name), &e) == RC_OK;
}

void auth_mechs(struct session *s, struct buf *out)
{
	const struct auth_mech *v;
	size_t n;
	struct err e;

	if (authclient_mechs(auth(), &v, &n, deadline_s(10), &e) != RC_OK) {
		log_warning("authentication service: %s", e.text);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (mech_ok(s, &v[i]))
			(void)buf_printf(out, " %s", v[i].name);
}

static bool mech_offered(struct session *s, struct span mech)
{
	const struct auth_mech *v;
	size_t n;
	struct err e;

	if (authclient_mechs(auth(), &v, &n, deadline_s(10), &e) != RC_OK)
		return false;
	for (size_t i = 0; i < n; i++)
		if (span_is_ci(mech, v[i].name) && mech_ok(s, &v[i]))
			return true;
	return false;
}

/* ---- outcomes ---- */

static void log_failure(struct session *s, struct span mech, struct span reason, struct span user)
{
	if (user.n == 0)
		user = SPAN("(unavailable)");
	log_warning("%s: SASL " SPAN_FMT " authentication failed: " SPAN_FMT ", sasl_username=" SPAN_FMT,
		    session_client(s), SPAN_ARG(mech), SPAN_ARG(reason), SPAN_ARG(span_head(user, 200)));
}

static bool refuse(struct session *s, struct span mech, struct span reason, struct span user)
{
	log_failure(s, mech, reason, user);
	reply(s, "535 5.7.8 Error: authentication failed: " SPAN_FMT, SPAN_ARG(reason));
	return false;
}

static bool failed(struct session *s, struct span mech, const struct auth_outcome *o, const struct err *e)
{
	struct span reason = o->reason.n > 0 ? o->reason : SPAN("(reason unavailable)");

	if (o->status != AUTH_TEMP)
		return refuse(s, mech, reason, o->user);
	if (e->text[0] != '\0') { /* no answer at all */
		log_warning("authentication service: %s", e->text);
		reason = SPAN("Connection lost to authentication server");
	}
	log_failure(s, mech, reason, o->user);
	reply(s, "454 4.7.0 Temporary authentication failure: " SPAN_FMT, SPAN_ARG(reason));
	return false;
}

static bool succeeded(struct session *s, struct span mech, struct span user)
{
	s->client.sasl_method = span_dup(&s->arena, mech); /* as the client wrote it */
	s->client.sasl_user = span_dup(&s->arena, user);
	reply(s, "235 2.7.0 Authentication successful");
	return true;
}

/* ---- the exchange ---- */

struct dialog {
	struct session *s;
	struct span mech;
	struct auth_exchange *x;
	struct arena a;
	struct auth_outcome out;
	struct err e;
};

static bool send_challenge(struct dialog *d, struct span challenge)
{
	struct buf b;

	buf_init(&b, 2 * AUTH_DATA_MAX);
	base64_encode(&b, challenge);
	stream_puts(d->s->io, "334 ");
	stream_write(d->s->io, buf_span(&b));
	stream_puts(d->s->io, "\r\n");
	buf_release(&b);
	return true;
}

static bool cancelled(struct dialog *d, const char *text)
{
	authclient_cancel(&d->x);
	reply(d->s, "%s", text);
	return false;
}

static bool malformed(struct dialog *d, struct span reason)
{
	authclient_cancel(&d->x);
	return refuse(d->s, d->mech, reason, SPAN_NONE);
}

/* One base64 line of the client, decoded into `out`; false: the reply is sent or the connection lost. */
static bool read_response(struct dialog *d, struct buf *out)
{
	struct span line;

	if (!session_line(d->s, &line, (size_t)conf.sasl_limit)) {
		authclient_cancel(&d->x);
		return false;
	}
	if (line.p == NULL) /* RFC 4954 section 4: 500 5.5.6 */
		return cancelled(d, "500 5.5.6 SASL response limit exceeded");
	if (span_is(line, "*")) {
		log_warning("%s: SASL " SPAN_FMT " authentication aborted", session_client(d->s),
			    SPAN_ARG(d->mech));
		return cancelled(d, "501 5.7.0 Authentication aborted");
	}
	if (base64_decode(out, line) != RC_OK)
		return malformed(d, SPAN("Invalid base64 data in continued response"));
	return true;
}

static enum auth_status answer(struct dialog *d, struct span challenge, bool *over)
{
	struct buf b;
	enum auth_status st = AUTH_FAIL;

	buf_init(&b, AUTH_DATA_MAX);
	*over = !send_challenge(d, challenge) || !read_response(d, &b);
	if (!*over)
		st = authclient_continue(&d->x, buf_span(&b), &d->a, &d->out, deadline_s(AUTH_WAIT_S), &d->e);
	if (b.n > 0)
		explicit_bzero(b.p, b.n);
	buf_release(&b);
	return st;
}

static bool conclude(struct dialog *d, enum auth_status st)
{
	struct buf b;
	bool ok = st == AUTH_OK;

	/* Data that comes with success travels as one more challenge, answered by an empty line. */
	if (ok && d->out.final.n > 0) {
		buf_init(&b, 16);
		ok = send_challenge(d, d->out.final) && read_response(d, &b);
		buf_release(&b);
		if (!ok)
			return false;
	}
	authclient_cancel(&d->x); /* no ticket is wanted */
	return ok ? succeeded(d->s, d->mech, d->out.user) : failed(d->s, d->mech, &d->out, &d->e);
}

static bool run(struct dialog *d, bool has_initial, struct span initial)
{
	char rip[INET_TEXT_MAX], lip[INET_TEXT_MAX];
	struct session *s = d->s;
	struct auth_about about = { .rip = rip,
				    .lip = lip,
				    .session = "",
				    .local_name = s->tls != NULL ? s->tls->sni : "",
				    .rport = s->client.port,
				    .lport = s->client.local_port,
				    .secured = s->tls != NULL };
	enum auth_status st;
	bool over = false;

	(void)snprintf(rip, sizeof(rip), SPAN_FMT, SPAN_ARG(s->client.addr));
	(void)snprintf(lip, sizeof(lip), SPAN_FMT, SPAN_ARG(s->client.local_addr));
	st = authclient_start(auth(), d->mech, &about, has_initial, initial, &d->a, &d->x, &d->out,
			      deadline_s(AUTH_WAIT_S), &d->e);
	while (st == AUTH_CONTINUE && !over)
		st = answer(d, d->out.challenge, &over);
	return !over && conclude(d, st);
}

static bool authenticate(struct session *s, struct span mech, bool has_initial, struct span text)
{
	struct dialog d = { .s = s };
	struct buf b;
	bool ok = false;

	arena_init(&d.a);
	d.mech = span_dup(&d.a, mech);
	buf_init(&b, AUTH_DATA_MAX);
	if (has_initial && !span_is(text, "=") && base64_decode(&b, text) != RC_OK)
		ok = malformed(&d, SPAN("Invalid base64 data in initial response"));
	else
		ok = run(&d, has_initial, buf_span(&b));
	if (b.n > 0)
		explicit_bzero(b.p, b.n);
	buf_release(&b);
	arena_release(&d.a);
	return ok;
}

bool cmd_auth(struct session *s, struct span arg)
{
	struct span mech, initial = SPAN_NONE, more;

	/* smtpd_sasl_exceptions_networks hides AUTH; who says it nonetheless is heard. */
	if (!conf.auth || (conf.auth_tls_only && s->tls == NULL) || (s->discard_ehlo & KW_AUTH)) {
		reply(s, "503 5.5.1 Error: authentication not enabled");
		return false;
	}
	if (conf.helo_required && s->client.helo.n == 0) {
		reply(s, "503 5.5.1 Error: send HELO/EHLO first");
		return false;
	}
	if (session_in_mail(s)) {
		reply(s, "503 5.5.1 Error: MAIL transaction in progress");
		return false;
	}
	if (s->client.sasl_user.n > 0) {
		reply(s, "503 5.5.1 Error: already authenticated");
		return false;
	}
	if (!limit_event(s, LIMIT_AUTH)) {
		reply(s, "450 4.7.1 Error: too many AUTH commands from " SPAN_FMT, SPAN_ARG(s->client.addr));
		return false;
	}
	if (!span_next_word(&arg, " \t", &mech) ||
	    (span_next_word(&arg, " \t", &initial) && span_next_word(&arg, " \t", &more))) {
		reply(s, "501 5.5.4 Syntax: AUTH mechanism");
		return false;
	}
	if (!mech_offered(s, mech))
		return refuse(s, span_head(mech, 40), SPAN("Invalid authentication mechanism"), SPAN_NONE);
	return authenticate(s, mech, initial.n > 0, initial);
}
