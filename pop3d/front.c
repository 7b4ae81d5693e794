/* front.c - the AUTHORIZATION state (RFC 1939 section 4, RFC 2595, RFC 5034). */
#include "pop3d.h"
#include "command.h"

#define BAD_MAX 10 /* commands that make no sense, on one connection */

struct front {
	struct login l;
	struct pop3_command c;
	struct span user; /* of USER; "" none */
	unsigned bad;
	const char *end; /* why it is over; NULL while it goes on */
	bool handed_over;
};

static void say(struct front *f, const char *line)
{
	stream_puts(f->l.io, line);
	stream_puts(f->l.io, "\r\n");
}

static void cmd_capa(struct front *f)
{
	struct buf mechs;

	buf_init(&mechs, 2048);
	login_mechs(&f->l, " ", &mechs);
	stream_puts(f->l.io, "+OK\r\n" POP3_CAPABILITIES);
	if (login_tls_offered(&f->l))
		stream_puts(f->l.io, "STLS\r\n");
	if (login_plaintext_ok(&f->l))
		stream_puts(f->l.io, "USER\r\n");
	if (mechs.n)
		stream_printf(f->l.io, "SASL%s\r\n", buf_cstr(&mechs));
	stream_puts(f->l.io, ".\r\n");
	buf_release(&mechs);
}

static void cmd_stls(struct front *f)
{
	struct err e;

	if (!login_tls_offered(&f->l)) {
		say(f, f->l.tls ? "-ERR TLS is already active." : "-ERR TLS is not available.");
		return;
	}
	if (stream_has_input(f->l.io)) { /* RFC 2595 section 4; what was injected is not run */
		say(f, "-ERR Commands behind STLS are refused.");
		f->end = "Data before the TLS handshake";
		return;
	}
	say(f, "+OK Begin TLS negotiation now.");
	if (stream_flush(f->l.io, f->l.until, &e) != RC_OK)
		f->end = "Connection closed";
	else if (login_start_tls(&f->l, &e) != RC_OK)
		f->end = arena_strdup(&f->l.a, e.text);
	f->user = SPAN_NONE;
}

static void hand_over(struct front *f)
{
	struct err e;

	switch (login_hand_over(&f->l, SPAN_NONE, &e)) {
	case RC_OK:
		f->handed_over = true;
		return;
	case RC_LIMIT:
		say(f, "-ERR [IN-USE] Too many sessions of this user.");
		f->end = "Too many sessions";
		return;
	default:
		say(f, "-ERR [SYS/TEMP] The mailbox is not available now.");
		f->end = "Internal error";
	}
}

static void logged_in(struct front *f, enum login_result r, const char *why)
{
	switch (r) {
	case LOGIN_OK:
		hand_over(f);
		return;
	case LOGIN_FAILED:
	case LOGIN_EXPIRED: /* RFC 3206: AUTH is for whatever is wrong with credentials */
		stream_printf(f->l.io, "-ERR [AUTH] %s\r\n", why ? why : "Authentication failed.");
		return;
	case LOGIN_TEMP:
		say(f, "-ERR [SYS/TEMP] Temporary authentication failure.");
		return;
	case LOGIN_PLAINTEXT:
		say(f, "-ERR [AUTH] Plaintext authentication needs TLS (STLS) on this connection.");
		return;
	case LOGIN_NO_MECH:
		say(f, "-ERR [AUTH] Unsupported authentication mechanism.");
		return;
	case LOGIN_BAD_BASE64:
		say(f, "-ERR [AUTH] Invalid base64 data.");
		return;
	case LOGIN_CANCELLED:
		say(f, "-ERR Authentication aborted by client.");
		return;
	case LOGIN_LOST:
		f->end = why;
		return;
	}
}

static void cmd_user(struct front *f)
{
	if (!login_plaintext_ok(&f->l)) {
		logged_in(f, LOGIN_PLAINTEXT, NULL);
		return;
	}
	if (f->c.text.n >= LOGIN_USER_MAX) {
		say(f, "-ERR [AUTH] User name too long.");
		return;
	}
	f->user = span_dup(&f->l.a, f->c.text);
	say(f, "+OK"); /* whether the user exists shows at PASS only */
}

static void cmd_pass(struct front *f)
{
	const char *why = NULL;
	struct span user = f->user;

	if (!user.n) {
		say(f, "-ERR USER comes first.");
		return;
	}
	f->user = SPAN_NONE; /* RFC 1939 section 7: PASS right behind USER */
	logged_in(f, login_password(&f->l, user, f->c.text, &why), why);
}

static void cmd_auth(struct front *f)
{
	const char *why = NULL;
	struct buf b;

	f->user = SPAN_NONE;
	if (f->c.text.n) {
		enum login_result r = login_sasl(&f->l, f->c.text, f->c.has_initial, f->c.initial, &why);

		logged_in(f, r, why);
		return;
	}
	buf_init(&b, 4096); /* the list of RFC 1734's time: clients still ask for it */
	login_mechs(&f->l, "\r\n", &b);
	stream_printf(f->l.io, "+OK%s\r\n.\r\n", buf_cstr(&b));
	buf_release(&b);
}

static void cmd_quit(struct front *f)
{
	say(f, "+OK Logging out.");
	f->end = "Aborted login by logging out";
}

static void cmd_apop(struct front *f)
{
	say(f, "-ERR APOP is not available: its passwords would have to be stored in plain text.");
}

static const struct {
	enum pop3_verb verb;
	void (*run)(struct front *f);
} commands[] = {
	{ POP3_APOP, cmd_apop }, { POP3_AUTH, cmd_auth }, { POP3_CAPA, cmd_capa }, { POP3_PASS, cmd_pass },
	{ POP3_QUIT, cmd_quit }, { POP3_STLS, cmd_stls }, { POP3_USER, cmd_user },
};

static void bad(struct front *f, const char *why)
{
	stream_printf(f->l.io, "-ERR %s.\r\n", why);
	if (++f->bad < BAD_MAX)
		return;
	say(f, "-ERR Too many bad commands.");
	f->end = "Too many bad commands";
}

static void command(struct front *f, struct span line)
{
	char copy[COMMAND_LINE_MAX]; /* the line is gone after the next wait */
	const char *why;

	memcpy(copy, line.p ? line.p : "", line.n);
	if (pop3_command_parse(span_make(copy, line.n), &f->c, &why) != RC_OK) {
		bad(f, why);
	} else {
		size_t i = 0;

		while (i < ARRAY_LEN(commands) && commands[i].verb != f->c.verb)
			i++;
		if (i < ARRAY_LEN(commands))
			commands[i].run(f);
		else
			bad(f, "Log in first");
	}
	explicit_bzero(copy, line.n);
}

static void read_commands(struct front *f)
{
	struct span line;
	struct err e;

	while (!f->end && !f->handed_over) {
		switch (stream_line(f->l.io, &line, COMMAND_LINE_MAX, NULL, f->l.until, &e)) {
		case RC_OK:
			command(f, line);
			break;
		case RC_LIMIT:
			bad(f, "Line too long");
			break;
		case RC_TIMEOUT: /* RFC 1939 section 3: without a word */
			f->end = "Inactivity";
			break;
		default:
			f->end = "Connection closed";
		}
	}
}

void front_serve(struct service_conn *c)
{
	struct front *f = xcalloc(1, sizeof(*f));

	if (login_open(&f->l, c)) {
		stream_printf(f->l.io, "+OK %s POP3 server ready.\r\n", pop3_conf.hostname);
		read_commands(f);
		login_close(&f->l, f->end);
	}
	free(f);
}
