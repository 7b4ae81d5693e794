/* APPEND (RFC 3501 6.3.11, RFC 4315 APPENDUID). The message literal goes straight into the new file. */
#include "session.h"

struct append {
	struct span mailbox;
	struct flag_list flags;
	int64_t date_s;
	uint64_t bytes;
	bool nonsync;
};

static bool parse_append(struct parse *p, struct append *ap)
{
	ap->date_s = INT64_MIN;
	if (!parse_sp(p) || !parse_mailbox(p, &ap->mailbox) || !parse_sp(p))
		return false;
	if (parse_peek(p) == '(' && (!parse_flags(p, false, &ap->flags) || !parse_sp(p)))
		return false;
	if (parse_peek(p) == '"' && (!parse_date_time(p, &ap->date_s) || !parse_sp(p)))
		return false;
	if (!literal_announced(p->rest, &ap->bytes, &ap->nonsync) || p->rest.p[0] != '{')
		return parse_fail(p, "Message literal expected");
	return true;
}

static bool more(struct session *s, struct span *got)
{
	struct err e;
	if (stream_peek(s->io, got, deadline_s(s->conf->timeout_s), &e) == RC_OK)
		return true;
	session_end(s, "Connection closed in APPEND");
	return false;
}

/* The announced bytes, written while `ap` is there; after a failure they are taken and dropped. */
static bool take_literal(struct session *s, uint64_t n, struct mailbox_append **ap, struct err *e)
{
	struct span got;
	while (n) {
		if (!more(s, &got))
			return false;
		got = span_head(got, n);
		if (*ap && mailbox_append_write(*ap, got, e) != RC_OK)
			mailbox_append_abort(ap);
		stream_consume(s->io, got.n);
		n -= got.n;
	}
	return true;
}

/* Refused before the literal came: a synchronising client sends none; what a LITERAL+ client sends is
 * dropped. */
static void refuse(struct session *s, const struct append *in, const struct err *e)
{
	struct mailbox_append *none = NULL;
	struct span line;
	struct err ignored;
	if (in->nonsync) {
		if (s->conf->max_message && in->bytes > s->conf->max_message) {
			reply(s, "BYE [TOOBIG] Message too large");
			session_end(s, "APPEND too large");
			return;
		}
		if (!take_literal(s, in->bytes, &none, &ignored) || !session_line(s, &line, COMMAND_LINE_MAX))
			return;
	}
	if (e->rc == RC_NOTFOUND)
		tagged_no(s, "[TRYCREATE] %s", e->text);
	else
		tagged_failure(s, e);
}

COMMAND(cmd_append)
{
	struct append in = { .bytes = 0 };
	struct mailbox_append *ap = NULL;
	struct mailbox_appended done;
	struct span rest;
	struct err e;
	enum rc rc;
	if (!parse_append(p, &in)) {
		tagged_bad(s, p);
		return;
	}
	if (s->conf->max_message && in.bytes > s->conf->max_message)
		rc = err_set(&e, RC_LIMIT, "Message too large");
	else if (!in.bytes)
		rc = err_set(&e, RC_SYNTAX, "Can't save a zero byte message");
	else
		rc = mailbox_append_open(s->store, in.mailbox, &ap, &e);
	if (rc != RC_OK) {
		refuse(s, &in, &e);
		return;
	}
	if (!in.nonsync) {
		stream_puts(s->io, "+ OK\r\n");
		if (stream_flush(s->io, deadline_s(s->conf->timeout_s), &e) != RC_OK)
			session_end(s, "Connection closed in APPEND");
	}
	if (s->state == ST_LOGOUT || !take_literal(s, in.bytes, &ap, &e) ||
	    !session_line(s, &rest, COMMAND_LINE_MAX)) {
		mailbox_append_abort(&ap);
		return;
	}
	if (rest.n) { /* MULTIAPPEND (RFC 3502) is not offered */
		mailbox_append_abort(&ap);
		parse_fail(p, "Unexpected text after the message");
		tagged_bad(s, p);
		return;
	}
	if (ap && mailbox_append_commit(&ap, in.flags.flags, in.flags.keyword, in.flags.keywords, in.date_s,
					&done, &e) == RC_OK)
		tagged_ok(s, "[APPENDUID %u %u] Append completed.", done.uidvalidity, done.uid);
	else
		tagged_failure(s, &e);
}
