/* login/sasl.c - a log-in, from the mechanism's name to the ticket. */
#include "login/private.h"
#include "base/codec.h"
#include "log/log.h"

#define LINE_BYTES   (2 * AUTH_DATA_MAX)
#define ATTEMPTS_MAX 10 /* on one connection */
#define MECHS_WAIT_S 5	/* a greeting without mechanisms beats none */
#define REASON_MAX   180

static bool usable(const struct login *l, const struct auth_mech *m)
{
	return !(m->flags & (AUTHMECH_PRIVATE | AUTHMECH_ANONYMOUS)) &&
	       (!(m->flags & AUTHMECH_PLAINTEXT) || login_plaintext_ok(l));
}

void login_mechs(struct login *l, const char *before, struct buf *out)
{
	const struct auth_mech *v;
	struct err e;
	size_t n;

	if (authclient_mechs(login_set.auth, &v, &n, deadline_s(MECHS_WAIT_S), &e) != RC_OK) {
		log_warning("%s-login: auth: %s", login_set.conf->protocol, e.text);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (usable(l, &v[i]))
			(void)buf_printf(out, "%s%s", before, v[i].name);
}

/* ---- the exchange ---- */
struct exchange {
	struct login *l;
	struct auth_outcome out;
	struct arena a; /* of the exchange: passwords are in it */
	struct buf data;
	const char **why;
	struct err e;
};

static enum login_result lost(struct exchange *x, const char *why)
{
	*x->why = why;
	return LOGIN_LOST;
}

/* Sends "+ <base64>" and reads the answer into x->data. */
static enum login_result ask_client(struct exchange *x, struct span challenge)
{
	struct stream *io = x->l->io;
	struct span line;
	struct buf b;

	buf_init(&b, LINE_BYTES);
	(void)buf_puts(&b, "+ ");
	base64_encode(&b, challenge);
	(void)buf_puts(&b, "\r\n");
	stream_write(io, buf_span(&b));
	buf_release(&b);
	if (stream_flush(io, x->l->until, &x->e) != RC_OK)
		return lost(x, "Connection closed");
	switch (stream_line(io, &line, LINE_BYTES, NULL, x->l->until, &x->e)) {
	case RC_OK:
		break;
	case RC_TIMEOUT:
		return lost(x, "Inactivity during authentication");
	case RC_LIMIT:
		return lost(x, "Authentication data too long");
	default:
		return lost(x, "Connection closed");
	}
	if (span_is(line, "*"))
		return LOGIN_CANCELLED;
	buf_reset(&x->data);
	return base64_decode(&x->data, line) == RC_OK ? LOGIN_OK : LOGIN_BAD_BASE64;
}

/* Data that comes with success is one more challenge, to be answered by an empty line: neither protocol can
 * carry it otherwise (RFC 5034 section 4, RFC 4422 section 5). */
static enum login_result finish(struct exchange *x)
{
	enum login_result r = LOGIN_OK;

	if (x->out.final.n)
		r = ask_client(x, x->out.final);
	if (r == LOGIN_OK && x->out.final.n && x->data.n)
		r = LOGIN_BAD_BASE64;
	if (r != LOGIN_OK)
		authclient_cancel(&x->l->x);
	return r;
}

/* auth's reason goes into a line of the reply. */
static const char *one_line(struct arena *a, struct span reason)
{
	char *text = arena_cstr(a, span_head(reason, REASON_MAX));

	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	return text;
}

static enum login_result judge(struct exchange *x, enum auth_status status)
{
	if (x->out.user.n && span_cstr(x->out.user, x->l->user, sizeof(x->l->user)) != RC_OK)
		x->l->user[0] = '\0';
	if (status == AUTH_OK)
		return finish(x);
	x->l->x = NULL;
	if (x->out.reason.n)
		*x->why = one_line(&x->l->a, x->out.reason);
	if (status == AUTH_FAIL && !span_is(x->out.code, "temp_fail"))
		return span_is(x->out.code, "pass_expired") ? LOGIN_EXPIRED : LOGIN_FAILED;
	log_warning("%s-login: auth: %s", login_set.conf->protocol, x->e.text);
	return LOGIN_TEMP;
}

static enum login_result run(struct exchange *x, struct span mech, bool has_initial, struct span initial)
{
	struct login *l = x->l;
	const struct auth_about about = { l->rip,   l->lip,   l->id,	 l->sni ? l->sni : "",
					  l->rport, l->lport, l->secured };
	enum auth_status s;
	enum login_result r;

	s = authclient_start(login_set.auth, mech, &about, has_initial, initial, &x->a, &l->x, &x->out,
			     l->until, &x->e);
	while (s == AUTH_CONTINUE) {
		if ((r = ask_client(x, x->out.challenge)) != LOGIN_OK) {
			authclient_cancel(&l->x);
			return r;
		}
		s = authclient_continue(&l->x, buf_span(&x->data), &x->a, &x->out, l->until, &x->e);
	}
	return judge(x, s);
}

static enum login_result attempt(struct login *l, struct span mech, bool has_initial, struct span initial,
				 const char **why)
{
	struct exchange x = { .l = l, .why = why, .e = { .text = "" } };
	enum login_result r;

	if (l->attempts >= ATTEMPTS_MAX) {
		*why = "Too many failed log-ins";
		return LOGIN_LOST;
	}
	l->attempts++;
	snprintf(l->method, sizeof(l->method), SPAN_FMT, SPAN_ARG(mech));
	for (char *p = l->method; *p; p++)
		*p = ascii_upper(*p);
	arena_init(&x.a);
	buf_init(&x.data, AUTH_DATA_MAX);
	r = run(&x, span_str(l->method), has_initial, initial);
	if (x.data.p)
		explicit_bzero(x.data.p, x.data.cap);
	buf_release(&x.data);
	arena_release(&x.a);
	return r;
}

enum login_result login_sasl(struct login *l, struct span mech, bool has_initial, struct span initial,
			     const char **why)
{
	const struct auth_mech *v, *m = NULL;
	struct buf data;
	struct err e;
	size_t n;
	enum login_result r = LOGIN_BAD_BASE64;

	if (authclient_mechs(login_set.auth, &v, &n, l->until, &e) != RC_OK) {
		log_warning("%s-login: auth: %s", login_set.conf->protocol, e.text);
		return LOGIN_TEMP;
	}
	for (size_t i = 0; i < n; i++)
		if (span_is_ci(mech, v[i].name))
			m = &v[i];
	if (!m || (m->flags & (AUTHMECH_PRIVATE | AUTHMECH_ANONYMOUS)))
		return LOGIN_NO_MECH;
	if (!usable(l, m))
		return LOGIN_PLAINTEXT;
	buf_init(&data, AUTH_DATA_MAX);
	if (!has_initial || span_is(initial, "=") || (initial.n && base64_decode(&data, initial) == RC_OK))
		r = attempt(l, mech, has_initial, buf_span(&data), why);
	if (data.p)
		explicit_bzero(data.p, data.cap);
	buf_release(&data);
	return r;
}

/* As PLAIN (RFC 4616): one message, which holds no NUL but the two that separate. */
enum login_result login_password(struct login *l, struct span user, struct span password, const char **why)
{
	struct buf b;
	enum login_result r;

	if (!login_plaintext_ok(l))
		return LOGIN_PLAINTEXT;
	if (span_cstr(user, l->user, sizeof(l->user)) != RC_OK)
		l->user[0] = '\0';
	buf_init(&b, AUTH_DATA_MAX);
	(void)buf_putc(&b, '\0');
	(void)buf_append(&b, user);
	(void)buf_putc(&b, '\0');
	(void)buf_append(&b, password);
	if (!buf_ok(&b) || span_chr(user, '\0') >= 0 || span_chr(password, '\0') >= 0)
		r = LOGIN_FAILED;
	else
		r = attempt(l, SPAN("PLAIN"), true, buf_span(&b), why);
	if (b.p)
		explicit_bzero(b.p, b.cap);
	buf_release(&b);
	return r;
}
