/* Reading commands, finding them in the table, and the replies common to all. */
#include "session.h"
#include "log/log.h"
#include <stdarg.h>

#define IDLE_OUT_OF_COMMANDS_MAX 20 /* BAD in a row: somebody is guessing */

const char capability_after_login[] =
    "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE CHILDREN NAMESPACE UIDPLUS UNSELECT LITERAL+ "
    "LIST-STATUS SPECIAL-USE MOVE CONDSTORE";

const struct command commands[] = {
	{ "CAPABILITY", ST_ANY, 0, cmd_capability },
	{ "NOOP", ST_ANY, 0, cmd_noop },
	{ "LOGOUT", ST_ANY, CMD_NO_POLL, cmd_logout },
	{ "ID", ST_ANY, CMD_NO_POLL, cmd_id },
	{ "NAMESPACE", ST_ANY, 0, cmd_namespace },
	{ "ENABLE", ST_ANY, 0, cmd_enable },
	{ "SELECT", ST_ANY, CMD_NO_POLL, cmd_select },
	{ "EXAMINE", ST_ANY, CMD_NO_POLL, cmd_examine },
	{ "CREATE", ST_ANY, 0, cmd_create },
	{ "DELETE", ST_ANY, 0, cmd_delete },
	{ "RENAME", ST_ANY, 0, cmd_rename },
	{ "SUBSCRIBE", ST_ANY, 0, cmd_subscribe },
	{ "UNSUBSCRIBE", ST_ANY, 0, cmd_unsubscribe },
	{ "LIST", ST_ANY, 0, cmd_list },
	{ "LSUB", ST_ANY, 0, cmd_lsub },
	{ "STATUS", ST_ANY, 0, cmd_status },
	{ "APPEND", ST_ANY, 0, cmd_append },
	{ "IDLE", ST_ANY, 0, cmd_idle },
	{ "CHECK", ST_SELECTED, 0, cmd_check },
	{ "CLOSE", ST_SELECTED, CMD_NO_POLL, cmd_close },
	{ "UNSELECT", ST_SELECTED, CMD_NO_POLL, cmd_unselect },
	{ "EXPUNGE", ST_SELECTED, CMD_UID, cmd_expunge },
	{ "SEARCH", ST_SELECTED, CMD_NO_EXPUNGE | CMD_UID, cmd_search },
	{ "FETCH", ST_SELECTED, CMD_NO_EXPUNGE | CMD_UID, cmd_fetch },
	{ "STORE", ST_SELECTED, CMD_NO_EXPUNGE | CMD_UID, cmd_store },
	{ "COPY", ST_SELECTED, CMD_UID, cmd_copy },
	{ "MOVE", ST_SELECTED, CMD_UID, cmd_move },
	{ "LOGIN", ST_ANY, CMD_NO_POLL, cmd_already },
	{ "AUTHENTICATE", ST_ANY, CMD_NO_POLL, cmd_already },
	{ "STARTTLS", ST_ANY, CMD_NO_POLL, cmd_already },
	{ NULL, 0, 0, NULL },
};

/* ---- replies ---- */
static void put_line(struct session *s, struct span start, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);
static void put_line(struct session *s, struct span start, const char *fmt, va_list ap)
{
	struct buf b;
	buf_init(&b, 65536);
	buf_append(&b, start);
	buf_vprintf(&b, fmt, ap);
	for (size_t i = 0; i < b.n; i++) /* texts may carry names that a client chose */
		if (b.p[i] == '\r' || b.p[i] == '\n')
			b.p[i] = ' ';
	buf_puts(&b, "\r\n");
	stream_write(s->io, buf_span(&b));
	buf_release(&b);
}

void reply(struct session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	put_line(s, SPAN("* "), fmt, ap);
	va_end(ap);
}

static void tagged(struct session *s, const char *word, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);
static void tagged(struct session *s, const char *word, const char *fmt, va_list ap)
{
	const struct command *c = s->current;
	s->current = NULL; /* news themselves may end the session */
	if (c && s->mb && !(c->flags & CMD_NO_POLL))
		session_news(s, s->uid_command || !(c->flags & CMD_NO_EXPUNGE));
	if (s->state == ST_LOGOUT && c && c->run != cmd_logout)
		return;
	stream_write(s->io, s->tag.n ? s->tag : SPAN("*"));
	put_line(s, span_str(word), fmt, ap);
	s->done = word[1] != 'B';
}

void tagged_ok(struct session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	tagged(s, " OK ", fmt, ap);
	va_end(ap);
}

void tagged_no(struct session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	tagged(s, " NO ", fmt, ap);
	va_end(ap);
}

static void tagged_badf(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void tagged_badf(struct session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	s->current = NULL;
	tagged(s, " BAD ", fmt, ap);
	va_end(ap);
}

void tagged_bad(struct session *s, const struct parse *p)
{
	tagged_badf(s, "Error in IMAP command: %s", p->why ? p->why : "Syntax error");
}

void tagged_failure(struct session *s, const struct err *e)
{
	switch (e->rc) {
	case RC_NOTFOUND:
		tagged_no(s, "[NONEXISTENT] %s", e->text);
		break;
	case RC_SYNTAX:
		tagged_no(s, "[CANNOT] %s", e->text);
		break;
	case RC_DENIED:
		tagged_no(s, "%s%s", strstr(e->text, "exists") ? "[ALREADYEXISTS] " : "[CANNOT] ", e->text);
		break;
	case RC_LIMIT:
		tagged_no(s, "[LIMIT] %s", e->text);
		break;
	case RC_GONE:
		tagged_no(s, "[EXPUNGEISSUED] %s", e->text);
		break;
	case RC_AGAIN:
		tagged_no(s, "[INUSE] %s", e->text);
		break;
	default: /* paths and errno texts are for the administrator */
		log_error("%s: %s", s->who, e->text);
		tagged_no(s,
			  "[SERVERBUG] Internal error occurred. Refer to server log for more information.");
	}
}

void session_end(struct session *s, const char *why)
{
	if (s->state != ST_LOGOUT)
		s->why_ended = why;
	s->state = ST_LOGOUT;
}

/* ---- news ---- */
static void tell_expunge(void *arg, size_t seq, uint32_t uid)
{
	(void)uid;
	reply(arg, "%zu EXPUNGE", seq);
}

static void tell_flags(void *arg, size_t seq)
{
	struct session *s = arg;
	const struct message *m = mailbox_message(s->mb, seq);
	if (!m)
		return;
	buf_reset(&s->out);
	buf_printf(&s->out, "* %zu FETCH (", seq);
	if (s->uid_command || s->condstore)
		buf_printf(&s->out, "UID %u ", m->uid);
	if (s->condstore)
		buf_printf(&s->out, "MODSEQ (%llu) ", (unsigned long long)m->modseq);
	put_flags(&s->out, s, m, mailbox_recent(s->mb, seq));
	buf_puts(&s->out, ")\r\n");
	stream_write(s->io, buf_span(&s->out));
}

static void tell_exists(void *arg, size_t count, size_t recent)
{
	reply(arg, "%zu EXISTS", count);
	reply(arg, "%zu RECENT", recent);
}

void session_news(struct session *s, bool expunge)
{
	struct err e;
	struct mailbox_sink sink = { expunge ? tell_expunge : NULL, tell_flags, tell_exists };
	if (!s->mb)
		return;
	enum rc rc = mailbox_poll(s->mb, &e);
	if (rc == RC_NOTFOUND) {
		reply(s, "BYE Mailbox was deleted under you");
		session_end(s, "Mailbox deleted");
		return;
	}
	if (rc != RC_OK)
		log_warning("%s: %s", s->who, e.text);
	mailbox_news(s->mb, &sink, s);
}

/* ---- reading ---- */
bool session_line(struct session *s, struct span *line, size_t max)
{
	struct err e;
	enum rc rc = stream_line(s->io, line, max, NULL, deadline_s(s->conf->timeout_s), &e);
	switch (rc) {
	case RC_OK:
		return true;
	case RC_LIMIT:
		reply(s, "BAD Error in IMAP command received by server: line too long.");
		return session_line(s, line, max);
	case RC_TIMEOUT:
		reply(s, "BYE Disconnected for inactivity.");
		session_end(s, "Inactivity");
		return false;
	default:
		session_end(s, "Connection closed");
		return false;
	}
}

enum rc session_literal(struct session *s, uint64_t n, bool nonsync, struct buf *into)
{
	struct err e;
	struct span got;
	if (!nonsync) {
		stream_puts(s->io, "+ OK\r\n");
		if (stream_flush(s->io, deadline_s(s->conf->timeout_s), &e) != RC_OK) {
			session_end(s, "Connection closed");
			return RC_EOF;
		}
	}
	while (n) {
		enum rc rc = stream_peek(s->io, &got, deadline_s(s->conf->timeout_s), &e);
		if (rc != RC_OK) {
			session_end(s, "Connection closed");
			return rc;
		}
		got = span_head(got, n);
		n -= got.n;
		buf_append(into, got);
		stream_consume(s->io, got.n);
	}
	return RC_OK;
}

/* "tag APPEND mailbox [flags] [date] {n}": the literal is the message, which cmd_append() takes from the
 * stream. */
static bool is_append_message(struct session *s, struct span text)
{
	struct parse p;
	struct span word, mailbox;
	parse_start(&p, text, &s->a);
	if (!parse_tag(&p, &word) || !parse_is(&p, ' ') || !parse_atom(&p, &word) ||
	    !span_is_ci(word, "APPEND"))
		return false;
	return parse_is(&p, ' ') && parse_mailbox(&p, &mailbox) && parse_is(&p, ' ');
}

/* Whole command into s->cmd. False: none (end, or it was refused here). */
static bool read_command(struct session *s)
{
	struct span line;
	uint64_t n;
	bool nonsync;
	buf_reset(&s->cmd);
	for (;;) {
		if (!session_line(s, &line, COMMAND_LINE_MAX))
			return false;
		buf_append(&s->cmd, line);
		if (!literal_announced(line, &n, &nonsync) || is_append_message(s, buf_span(&s->cmd)))
			return buf_ok(&s->cmd);
		if (n > COMMAND_MAX / 2 || s->cmd.n + n > COMMAND_MAX - COMMAND_LINE_MAX) {
			struct parse p;
			parse_start(&p, buf_span(&s->cmd), &s->a);
			if (!parse_tag(&p, &s->tag))
				s->tag = SPAN("*");
			if (nonsync) { /* its bytes would be taken for commands */
				reply(s, "BYE [TOOBIG] Literal too large");
				session_end(s, "Literal too large");
			} else {
				tagged_no(s, "[TOOBIG] Literal too large");
			}
			return false;
		}
		buf_puts(&s->cmd, "\r\n");
		if (session_literal(s, n, nonsync, &s->cmd) != RC_OK)
			return false;
	}
}

static const struct command *find(struct span name)
{
	for (const struct command *c = commands; c->name; c++)
		if (span_is_ci(name, c->name))
			return c;
	return NULL;
}

static const struct command *parse_command(struct session *s, struct parse *p)
{
	struct span name;
	s->uid_command = false;
	if (!parse_tag(p, &s->tag)) {
		s->tag = SPAN("*");
		return NULL;
	}
	if (!parse_sp(p) || !parse_atom(p, &name))
		return NULL;
	bool uid = span_is_ci(name, "UID");
	if (uid && (!parse_sp(p) || !parse_atom(p, &name)))
		return NULL;
	const struct command *c = find(name);
	if (!c || (uid && !(c->flags & CMD_UID))) {
		parse_fail(p, "Unknown command.");
		return NULL;
	}
	if (!(c->legal_in & s->state)) {
		parse_fail(p, "No mailbox selected");
		return NULL;
	}
	s->uid_command = uid;
	return c;
}

static bool one_command(struct session *s)
{
	struct parse p;
	s->done = false;
	s->tag = SPAN("*");
	if (!read_command(s))
		return true;
	if (memchr(s->cmd.p ? s->cmd.p : "", '\0', s->cmd.n)) {
		parse_start(&p, SPAN_NONE, &s->a);
		parse_fail(&p, "NUL character");
		tagged_bad(s, &p);
		return false;
	}
	parse_start(&p, buf_span(&s->cmd), &s->a);
	p.sep = store_separator(s->store);
	const struct command *c = parse_command(s, &p);
	if (!c) {
		tagged_bad(s, &p);
		return false;
	}
	s->current = c;
	c->run(s, &p);
	s->current = NULL;
	return s->state == ST_LOGOUT || s->done;
}

void session_run(struct session *s, struct span first_tag)
{
	unsigned bad = 0;
	struct err e;
	arena_init(&s->a);
	buf_init(&s->cmd, COMMAND_MAX + 4 * COMMAND_LINE_MAX);
	buf_init(&s->out, SIZE_MAX / 2);
	s->state = ST_AUTHENTICATED;
	s->tag = first_tag;
	if (first_tag.n)
		tagged_ok(s, "[CAPABILITY %s] Logged in", capability_after_login);
	while (s->state != ST_LOGOUT) {
		bad = one_command(s) ? 0 : bad + 1;
		if (bad >= IDLE_OUT_OF_COMMANDS_MAX) {
			reply(s, "BYE Too many invalid IMAP commands.");
			session_end(s, "Too many invalid IMAP commands.");
		}
		arena_reset(&s->a);
		if (!stream_has_input(s->io)) { /* going to wait: an idle session holds little */
			if (stream_flush(s->io, deadline_s(300), &e) != RC_OK)
				session_end(s, "Connection closed");
			buf_reset(&s->cmd);
			buf_trim_memory(&s->cmd);
			buf_reset(&s->out);
			buf_trim_memory(&s->out);
			if (s->mb)
				mailbox_read_done(s->mb);
		}
	}
	if (stream_flush(s->io, deadline_s(30), &e) != RC_OK)
		log_debug("%s: %s", s->who, e.text);
	mailbox_close(&s->mb);
	buf_release(&s->cmd);
	buf_release(&s->out);
	arena_release(&s->a);
}
