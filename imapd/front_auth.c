/* STARTTLS, LOGIN and AUTHENTICATE (RFC 3501 6.2; RFC 4959 SASL-IR), and the hand-over that ends the front's
 * work. */
#include "front.h"

void front_starttls(struct front *f, struct parse *p)
{
	struct err e;

	if (!parse_end(p) || !login_tls_offered(&f->l)) {
		parse_fail(p, f->l.tls ? "TLS is already active." : "TLS support isn't enabled.");
		front_bad(f, p);
		return;
	}
	if (stream_has_input(f->l.io)) { /* RFC 2595 section 4; what was injected is not run */
		front_tagged(f, "BAD Plaintext input after STARTTLS");
		f->end = "Plaintext input after STARTTLS";
		return;
	}
	front_tagged(f, "OK Begin TLS negotiation now.");
	if (stream_flush(f->l.io, f->l.until, &e) != RC_OK)
		f->end = "Connection closed";
	else if (login_start_tls(&f->l, &e) != RC_OK)
		f->end = arena_strdup(&f->l.a, e.text);
}

/* ---- the hand-over ---- */
static void hand_over(struct front *f)
{
	struct err e;

	f->tag = span_dup(&f->l.a, f->tag);
	front_forget(f); /* the session may last for days */
	switch (login_hand_over(&f->l, f->tag, &e)) {
	case RC_OK:
		f->handed_over = true;
		return;
	case RC_LIMIT:
		front_tagged(f, "NO [LIMIT] Maximum number of connections from user exceeded");
		stream_puts(f->l.io, "* BYE Maximum number of connections from user exceeded\r\n");
		f->end = "Too many sessions";
		return;
	default:
		front_tagged(
		    f, "NO [UNAVAILABLE] Internal login failure. Refer to server log for more information.");
	}
}

/* ---- how a log-in went ---- */
static void refused(struct front *f, const char *code, const char *why)
{
	stream_write(f->l.io, f->tag);
	stream_printf(f->l.io, " NO [%s] %s\r\n", code, why ? why : "Authentication failed.");
}

static void too_open(struct front *f)
{
	stream_puts(f->l.io,
		    "* BAD [ALERT] Plaintext authentication not allowed without SSL/TLS, but your client "
		    "did it anyway. If anyone was listening, the password was exposed.\r\n");
	refused(f, "PRIVACYREQUIRED",
		"Plaintext authentication disallowed on non-secure (SSL/TLS) connections.");
}

static void bad_base64(struct front *f)
{
	f->bad++;
	front_tagged(f, "BAD Invalid base64 data");
}

static void lost(struct front *f, const char *why)
{
	stream_printf(f->l.io, "* BYE %s.\r\n", why);
	f->end = why;
}

static void logged_in(struct front *f, enum login_result r, const char *why)
{
	switch (r) {
	case LOGIN_OK:
		hand_over(f);
		return;
	case LOGIN_FAILED:
		refused(f, "AUTHENTICATIONFAILED", why);
		return;
	case LOGIN_EXPIRED:
		refused(f, "EXPIRED", why);
		return;
	case LOGIN_TEMP:
		front_tagged(f, "NO [UNAVAILABLE] Temporary authentication failure.");
		return;
	case LOGIN_PLAINTEXT:
		too_open(f);
		return;
	case LOGIN_NO_MECH:
		front_tagged(f, "NO Unsupported authentication mechanism.");
		return;
	case LOGIN_BAD_BASE64:
		bad_base64(f);
		return;
	case LOGIN_CANCELLED:
		front_tagged(f, "BAD Authentication aborted by client.");
		return;
	case LOGIN_LOST:
		lost(f, why);
		return;
	}
}

void front_login(struct front *f, struct parse *p)
{
	struct span user, password;
	const char *why = NULL;

	if (!parse_sp(p) || !parse_astring(p, &user) || !parse_sp(p) || !parse_astring(p, &password) ||
	    !parse_end(p))
		front_bad(f, p);
	else
		logged_in(f, login_password(&f->l, user, password, &why), why);
}

void front_authenticate(struct front *f, struct parse *p)
{
	struct span mech;
	const char *why = NULL;
	bool has_initial;

	if (!parse_sp(p) || !parse_atom(p, &mech) || (p->rest.n && !parse_sp(p))) {
		front_bad(f, p);
		return;
	}
	has_initial = mech.p + mech.n != p->rest.p; /* a space was taken */
	logged_in(f, login_sasl(&f->l, mech, has_initial, p->rest, &why), why);
}
