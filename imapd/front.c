/* Before log-in: greeting, and the few commands that are legal (RFC 3501 6.1, 6.2). What the client sends is
 * bounded by COMMAND_MAX_LOGIN and forgotten after each command. */
#include "front.h"

#define BAD_COMMANDS_MAX 10

/* ---- replies ---- */
void front_tagged(struct front *f, const char *text)
{
	stream_write(f->l.io, f->tag);
	stream_printf(f->l.io, " %s\r\n", text);
}

void front_bad(struct front *f, const struct parse *p)
{
	f->bad++;
	stream_write(f->l.io, f->tag);
	stream_printf(f->l.io, " BAD Error in IMAP command: %s\r\n", p->why ? p->why : "Syntax error");
}

static bool bye(struct front *f, const char *why)
{
	stream_printf(f->l.io, "* BYE %s.\r\n", why);
	f->end = why;
	return false;
}

void front_put_capability(struct front *f)
{
	struct buf mechs;

	buf_init(&mechs, 2048);
	login_mechs(&f->l, " AUTH=", &mechs);
	stream_printf(f->l.io, "CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+%s%s%s",
		      login_tls_offered(&f->l) ? " STARTTLS" : "",
		      login_plaintext_ok(&f->l) ? "" : " LOGINDISABLED", mechs.n ? buf_cstr(&mechs) : "");
	buf_release(&mechs);
}

/* ---- reading ---- */
static bool read_line(struct front *f, struct span *line)
{
	struct err e;

	switch (stream_line(f->l.io, line, COMMAND_MAX_LOGIN, NULL, f->l.until, &e)) {
	case RC_OK:
		return true;
	case RC_TIMEOUT:
		return bye(f, "Inactivity");
	case RC_LIMIT:
		return bye(f, "Input line too long");
	default:
		f->end = "Connection closed";
		return false;
	}
}

static bool read_literal(struct front *f, uint64_t n, bool nonsync)
{
	struct span got;
	struct err e;

	if (n > COMMAND_MAX_LOGIN || f->cmd.n + n > COMMAND_MAX_LOGIN)
		return bye(f, "Literal too large");
	if (!nonsync)
		stream_puts(f->l.io, "+ OK\r\n");
	while (n) {
		if (stream_peek(f->l.io, &got, f->l.until, &e) != RC_OK) {
			f->end = "Connection closed";
			return false;
		}
		got = span_head(got, n);
		buf_append(&f->cmd, got);
		stream_consume(f->l.io, got.n);
		n -= got.n;
	}
	return true;
}

static bool read_command(struct front *f)
{
	struct span line;
	uint64_t n;
	bool nonsync;

	for (;;) {
		if (!read_line(f, &line))
			return false;
		buf_append(&f->cmd, line);
		if (!buf_ok(&f->cmd))
			return bye(f, "Command too long");
		if (!literal_announced(line, &n, &nonsync))
			return true;
		buf_puts(&f->cmd, "\r\n");
		if (!read_literal(f, n, nonsync))
			return false;
	}
}

/* ---- commands that need no log-in ---- */
static void cmd_capability_before(struct front *f, struct parse *p)
{
	if (!parse_end(p)) {
		front_bad(f, p);
		return;
	}
	stream_puts(f->l.io, "* ");
	front_put_capability(f);
	stream_puts(f->l.io, "\r\n");
	front_tagged(f, "OK Pre-login capabilities listed, post-login capabilities have more.");
}

static void cmd_noop_before(struct front *f, struct parse *p)
{
	if (!parse_end(p))
		front_bad(f, p);
	else
		front_tagged(f, "OK NOOP completed.");
}

static void cmd_logout_before(struct front *f, struct parse *p)
{
	if (!parse_end(p)) {
		front_bad(f, p);
		return;
	}
	stream_puts(f->l.io, "* BYE Logging out\r\n");
	front_tagged(f, "OK Logout completed.");
	f->end = "Aborted login by logging out";
}

/* RFC 2971 */
static void cmd_id_before(struct front *f, struct parse *p)
{
	if (!parse_sp(p) || !parse_id(p) || !parse_end(p)) {
		front_bad(f, p);
		return;
	}
	stream_puts(f->l.io, "* ID (\"name\" \"Postern\")\r\n");
	front_tagged(f, "OK ID completed.");
}

static const struct {
	const char *name;
	void (*run)(struct front *f, struct parse *p);
} commands_before[] = {
	{ "CAPABILITY", cmd_capability_before },
	{ "LOGIN", front_login },
	{ "AUTHENTICATE", front_authenticate },
	{ "STARTTLS", front_starttls },
	{ "ID", cmd_id_before },
	{ "NOOP", cmd_noop_before },
	{ "LOGOUT", cmd_logout_before },
};

/* False: there is no such command; p has the complaint. */
static bool run_command(struct front *f, struct parse *p)
{
	struct span name;

	parse_start(p, buf_span(&f->cmd), &f->a);
	if (memchr(f->cmd.n ? f->cmd.p : "", '\0', f->cmd.n))
		return parse_fail(p, "NUL character");
	if (!parse_tag(p, &f->tag)) {
		f->tag = SPAN("*");
		return false;
	}
	if (!parse_sp(p) || !parse_atom(p, &name))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(commands_before); i++) {
		if (!span_is_ci(name, commands_before[i].name))
			continue;
		commands_before[i].run(f, p);
		return true;
	}
	return parse_fail(p, "Unknown command.");
}

/* Clients of other protocols do not get a second try: somebody made them come here. */
static bool speaks_http(struct span text)
{
	return span_starts_ci(text, SPAN("GET /")) || span_starts_ci(text, SPAN("POST /"));
}

static void command(struct front *f)
{
	struct parse p;

	f->tag = SPAN("*");
	if (!run_command(f, &p)) {
		if (speaks_http(buf_span(&f->cmd)))
			f->end = "Not an IMAP client";
		front_bad(f, &p);
	}
	if (f->bad >= BAD_COMMANDS_MAX && !f->end)
		bye(f, "Too many invalid IMAP commands");
}

/* ---- a connection ---- */
void front_forget(struct front *f)
{
	if (f->cmd.p)
		explicit_bzero(f->cmd.p, f->cmd.cap);
	buf_release(&f->cmd);
	arena_reset(&f->a);
}

static void talk(struct front *f)
{
	stream_puts(f->l.io, "* OK [");
	front_put_capability(f);
	stream_printf(f->l.io, "] %s ready.\r\n", imap_conf.mail_name);
	while (!f->end && !f->handed_over && read_command(f)) {
		command(f);
		front_forget(f);
	}
}

void front_serve(struct service_conn *c)
{
	struct front *f = xcalloc(1, sizeof(*f));

	arena_init(&f->a);
	buf_init(&f->cmd, COMMAND_MAX_LOGIN * 2);
	if (login_open(&f->l, c)) {
		talk(f);
		login_close(&f->l, f->end);
	}
	front_forget(f);
	arena_release(&f->a);
	free(f);
}
