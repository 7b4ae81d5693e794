/* SELECT, EXAMINE, CLOSE, UNSELECT, CHECK, EXPUNGE. */
#include "session.h"

/* "(CONDSTORE)" of RFC 7162. */
static bool select_params(struct session *s, struct parse *p)
{
	struct span word;
	if (!p->rest.n)
		return true;
	if (!parse_sp(p) || !parse_char(p, '('))
		return false;
	do {
		if (!parse_atom(p, &word))
			return false;
		if (!span_is_ci(word, "CONDSTORE"))
			return parse_fail(p, "Unknown SELECT parameter");
		s->condstore = true;
	} while (parse_is(p, ' '));
	return parse_char(p, ')') && parse_end(p);
}

static void put_known_flags(struct session *s)
{
	buf_reset(&s->out);
	buf_puts(&s->out, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded");
	for (size_t i = 0; i < mailbox_keywords(s->mb); i++)
		buf_printf(&s->out, " %s", mailbox_keyword(s->mb, i));
	buf_puts(&s->out, ")\r\n* OK [PERMANENTFLAGS (");
	if (!s->readonly) {
		buf_puts(&s->out, "\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded ");
		for (size_t i = 0; i < mailbox_keywords(s->mb); i++)
			buf_printf(&s->out, "%s ", mailbox_keyword(s->mb, i));
		buf_puts(&s->out, "\\*");
	}
	buf_printf(&s->out, ")] %s\r\n", s->readonly ? "Read-only mailbox." : "Flags permitted.");
	stream_write(s->io, buf_span(&s->out));
}

static void greet(struct session *s)
{
	size_t n = mailbox_count(s->mb), unseen = 0;
	for (size_t i = 1; i <= n && !unseen; i++) {
		const struct message *m = mailbox_message(s->mb, i);
		if (m && !(m->flags & MSG_SEEN))
			unseen = i;
	}
	put_known_flags(s);
	reply(s, "%zu EXISTS", n);
	reply(s, "%zu RECENT", mailbox_recent_count(s->mb));
	if (unseen)
		reply(s, "OK [UNSEEN %zu] First unseen.", unseen);
	reply(s, "OK [UIDVALIDITY %u] UIDs valid", mailbox_uidvalidity(s->mb));
	reply(s, "OK [UIDNEXT %u] Predicted next UID", mailbox_uidnext(s->mb));
	reply(s, "OK [HIGHESTMODSEQ %llu] Highest", (unsigned long long)mailbox_highest_modseq(s->mb));
}

static void leave(struct session *s)
{
	mailbox_close(&s->mb);
	if (s->state == ST_SELECTED)
		s->state = ST_AUTHENTICATED;
}

static void open_box(struct session *s, struct parse *p, bool readonly)
{
	struct span name;
	struct err e;
	if (!parse_sp(p) || !parse_mailbox(p, &name) || !select_params(s, p)) {
		tagged_bad(s, p);
		return;
	}
	if (s->mb)
		reply(s, "OK [CLOSED] Previous mailbox closed.");
	leave(s); /* also when the new one cannot be opened: RFC 3501 6.3.1 */
	if (mailbox_open(s->store, name, readonly ? MAILBOX_READONLY : 0, &s->mb, &e) != RC_OK) {
		tagged_failure(s, &e);
		return;
	}
	s->readonly = readonly;
	s->state = ST_SELECTED;
	greet(s);
	tagged_ok(s, "[READ-%s] %s completed.", readonly ? "ONLY" : "WRITE", readonly ? "Examine" : "Select");
}

COMMAND(cmd_select)
{
	open_box(s, p, false);
}

COMMAND(cmd_examine)
{
	open_box(s, p, true);
}

static void count_expunged(struct session *s)
{
	for (size_t i = 1; i <= mailbox_count(s->mb); i++)
		s->expunged += mailbox_message(s->mb, i) == NULL;
}

COMMAND(cmd_close)
{
	struct err e;
	if (!parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	enum rc rc = s->readonly ? RC_OK : mailbox_expunge(s->mb, NULL, 0, false, &e);
	count_expunged(s);
	leave(s);
	if (rc == RC_OK)
		tagged_ok(s, "Close completed.");
	else
		tagged_failure(s, &e);
}

COMMAND(cmd_unselect)
{
	if (!parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	leave(s);
	tagged_ok(s, "Unselect completed.");
}

COMMAND(cmd_check)
{
	if (!parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	mailbox_cache_flush(s->mb);
	tagged_ok(s, "Check completed.");
}

/* EXPUNGE, and UID EXPUNGE of RFC 4315. */
COMMAND(cmd_expunge)
{
	struct err e;
	size_t *seq = NULL, n = 0;
	if ((s->uid_command && (!parse_sp(p) || !session_set(s, p, &seq, &n))) || !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	if (s->readonly) {
		tagged_no(s, "[READ-ONLY] Mailbox is read-only");
		return;
	}
	uint32_t *uid = arena_array(&s->a, n + 1, sizeof(*uid));
	for (size_t i = 0; i < n; i++)
		uid[i] = mailbox_uid(s->mb, seq[i]);
	if (mailbox_expunge(s->mb, uid, n, s->uid_command, &e) != RC_OK) {
		tagged_failure(s, &e);
		return;
	}
	count_expunged(s);
	tagged_ok(s, "Expunge completed.");
}
