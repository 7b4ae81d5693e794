/* session.c - the TRANSACTION state and the UPDATE that QUIT leads to (RFC 1939 sections 5 and 6).
 *
 *	TRANSACTION --QUIT--> UPDATE (deletions happen here, and nowhere else)
 *	TRANSACTION --connection lost, time over--> end, nothing changes
 *
 * The list of messages is that of the moment of log-in. Sessions do not lock each other out: what another one
 * removed meanwhile is missing here, and removing it again is harmless. */
#include "command.h"
#include "log/event.h"
#include "log/log.h"
#include "multiline.h"
#include "pop3d.h"

#define BAD_MAX	   20	 /* in a row */
#define HEAD_BYTES 65536 /* read first for TOP */
#define YIELD_EACH 64	 /* messages whose size is asked for, between looks at other sessions */

struct item {
	uint64_t bytes; /* with CRLF line ends */
	bool deleted, seen;
};
struct session {
	struct login_session *l;
	struct stream *io;
	struct mailbox *mb;
	struct item *item; /* item[number - 1] */
	size_t n;
	struct pop3_command c;
	unsigned bad;
	const char *end;
	struct { /* of the log line */
		uint64_t top_bytes, retr_bytes, all_bytes;
		unsigned top, retr, deleted;
	} did;
};

static void bad(struct session *s, const char *why)
{
	stream_printf(s->io, "-ERR %s.\r\n", why);
	if (++s->bad < BAD_MAX)
		return;
	stream_puts(s->io, "-ERR Too many bad commands.\r\n");
	s->end = "Too many bad commands.";
}

/* ---- the list ---- */
static struct item *item(struct session *s)
{
	struct item *it;

	if (s->c.msg > s->n) {
		stream_printf(s->io, "-ERR There is no message %u.\r\n", s->c.msg);
		return NULL;
	}
	it = &s->item[s->c.msg - 1];
	if (it->deleted) {
		stream_puts(s->io, "-ERR Message is deleted.\r\n");
		return NULL;
	}
	return it;
}

static void totals(const struct session *s, size_t *n, uint64_t *bytes)
{
	*n = 0;
	*bytes = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (s->item[i].deleted)
			continue;
		++*n;
		*bytes += s->item[i].bytes;
	}
}

static void cmd_stat(struct session *s)
{
	uint64_t bytes;
	size_t n;

	totals(s, &n, &bytes);
	stream_printf(s->io, "+OK %zu %llu\r\n", n, (unsigned long long)bytes);
}

static void cmd_list(struct session *s)
{
	const struct item *it;
	uint64_t bytes;
	size_t n;

	if (s->c.has_msg) {
		if ((it = item(s)) != NULL)
			stream_printf(s->io, "+OK %u %llu\r\n", s->c.msg, (unsigned long long)it->bytes);
		return;
	}
	totals(s, &n, &bytes);
	stream_printf(s->io, "+OK %zu messages:\r\n", n);
	for (size_t i = 0; i < s->n; i++)
		if (!s->item[i].deleted)
			stream_printf(s->io, "%zu %llu\r\n", i + 1, (unsigned long long)s->item[i].bytes);
	stream_puts(s->io, ".\r\n");
}

static void cmd_uidl(struct session *s)
{
	char id[MAILBOX_UIDL_MAX];

	if (s->c.has_msg) {
		if (!item(s))
			return;
		mailbox_uidl(s->mb, s->c.msg, id);
		stream_printf(s->io, "+OK %u %s\r\n", s->c.msg, id);
		return;
	}
	stream_puts(s->io, "+OK\r\n");
	for (size_t i = 0; i < s->n; i++) {
		if (s->item[i].deleted)
			continue;
		mailbox_uidl(s->mb, i + 1, id);
		stream_printf(s->io, "%zu %s\r\n", i + 1, id);
	}
	stream_puts(s->io, ".\r\n");
}

/* ---- content ---- */
static void sink(void *arg, struct span bytes)
{
	stream_write(arg, bytes);
}

static void unreadable(struct session *s, const struct err *e)
{
	if (e->rc == RC_GONE || e->rc == RC_NOTFOUND) {
		stream_puts(s->io, "-ERR [SYS/TEMP] The message was removed meanwhile.\r\n");
		return;
	}
	log_error("%s: message %u: %s", s->l->who, s->c.msg, e->text);
	stream_puts(s->io, "-ERR [SYS/TEMP] The message cannot be read now.\r\n");
}

static void cmd_retr(struct session *s)
{
	struct item *it = item(s);
	struct span content;
	struct err e;

	if (!it)
		return;
	if (mailbox_read(s->mb, s->c.msg, &content, &e) != RC_OK) {
		unreadable(s, &e);
		return;
	}
	stream_printf(s->io, "+OK %llu octets\r\n", (unsigned long long)it->bytes);
	s->did.retr_bytes += multiline_send(content, MULTILINE_ALL, sink, s->io);
	s->did.retr++;
	it->seen = true;
	mailbox_read_done(s->mb);
}

static void cmd_top(struct session *s)
{
	struct span content;
	struct err e;
	enum rc rc;

	if (!item(s))
		return;
	rc = mailbox_read_head(s->mb, s->c.msg, HEAD_BYTES, &content, &e);
	if (rc == RC_OK && content.n >= HEAD_BYTES && multiline_needs(content, s->c.lines) > content.n)
		rc = mailbox_read(s->mb, s->c.msg, &content, &e);
	if (rc != RC_OK) {
		unreadable(s, &e);
		return;
	}
	stream_puts(s->io, "+OK\r\n");
	s->did.top_bytes += multiline_send(content, s->c.lines, sink, s->io);
	s->did.top++;
	mailbox_read_done(s->mb);
}

/* ---- changes ---- */
static void cmd_dele(struct session *s)
{
	struct item *it = item(s);

	if (!it)
		return;
	it->deleted = true;
	stream_puts(s->io, "+OK Marked to be deleted.\r\n");
}

static void cmd_rset(struct session *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->item[i].deleted = s->item[i].seen = false;
	stream_puts(s->io, "+OK\r\n");
}

/* What was fetched and stays has been seen: an IMAP client shows it so. */
static void mark_seen(struct session *s)
{
	size_t *seq = xcalloc(s->n ? s->n : 1, sizeof(*seq)), n = 0;
	struct err e;

	for (size_t i = 0; i < s->n; i++)
		if (s->item[i].seen && !s->item[i].deleted)
			seq[n++] = i + 1;
	if (n && mailbox_flags(s->mb, seq, n, FLAGS_ADD, MSG_SEEN, 0, true, UINT64_MAX, NULL, &e) != RC_OK)
		log_warning("%s: %s", s->l->who, e.text);
	free(seq);
}

static enum rc remove_deleted(struct session *s, struct err *e)
{
	uint32_t *uid = xcalloc(s->n ? s->n : 1, sizeof(*uid));
	size_t n = 0;
	enum rc rc = RC_OK;

	for (size_t i = 0; i < s->n; i++)
		if (s->item[i].deleted)
			uid[n++] = mailbox_uid(s->mb, i + 1);
	if (n)
		rc = mailbox_remove(s->mb, uid, n, e);
	if (rc == RC_OK)
		s->did.deleted = (unsigned)n;
	free(uid);
	return rc;
}

static void cmd_quit(struct session *s)
{
	struct err e;

	s->end = "Logged out";
	mark_seen(s);
	if (remove_deleted(s, &e) == RC_OK) {
		stream_printf(s->io, "+OK Logging out%s.\r\n", s->did.deleted ? ", messages deleted" : "");
		return;
	}
	log_error("%s: %s", s->l->who, e.text); /* RFC 1939 section 6 */
	stream_puts(s->io, "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n");
}

static void cmd_noop(struct session *s)
{
	stream_puts(s->io, "+OK\r\n");
}

static void cmd_capa(struct session *s)
{
	stream_puts(s->io, "+OK\r\n" POP3_CAPABILITIES ".\r\n");
}

static const struct {
	enum pop3_verb verb;
	void (*run)(struct session *s);
} commands[] = {
	{ POP3_CAPA, cmd_capa }, { POP3_DELE, cmd_dele }, { POP3_LIST, cmd_list }, { POP3_NOOP, cmd_noop },
	{ POP3_QUIT, cmd_quit }, { POP3_RETR, cmd_retr }, { POP3_RSET, cmd_rset }, { POP3_STAT, cmd_stat },
	{ POP3_TOP, cmd_top },	 { POP3_UIDL, cmd_uidl },
};

static void command(struct session *s, struct span line)
{
	const char *why;

	if (pop3_command_parse(line, &s->c, &why) != RC_OK) {
		bad(s, why);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (commands[i].verb != s->c.verb)
			continue;
		s->bad = 0;
		commands[i].run(s);
		return;
	}
	bad(s, "Already logged in");
}

/* ---- life ---- */
static enum rc open_mailbox(struct session *s, struct err *e)
{
	enum rc rc = mailbox_open(s->l->store, SPAN("INBOX"), 0, &s->mb, e);

	if (rc != RC_OK)
		return rc;
	s->n = mailbox_count(s->mb);
	s->item = xcalloc(s->n ? s->n : 1, sizeof(*s->item));
	for (size_t i = 0; i < s->n; i++) {
		if (i % YIELD_EACH == YIELD_EACH - 1)
			task_yield();
		rc = mailbox_vsize(s->mb, i + 1, &s->item[i].bytes, e);
		if (rc != RC_OK && rc != RC_GONE &&
		    rc != RC_NOTFOUND) /* gone: the number stays, as 0 bytes */
			return rc;
		s->did.all_bytes += s->item[i].bytes;
	}
	return RC_OK;
}

static void read_commands(struct session *s)
{
	struct span line;
	struct err e;

	while (!s->end) {
		switch (
		    stream_line(s->io, &line, COMMAND_LINE_MAX, NULL, deadline_s(pop3_conf.timeout_s), &e)) {
		case RC_OK:
			command(s, line);
			break;
		case RC_LIMIT:
			bad(s, "Line too long");
			break;
		case RC_TIMEOUT: /* RFC 1939 section 3: no word, no deletion */
			s->end = "Inactivity";
			break;
		default:
			s->end = "Connection closed";
		}
	}
}

void session_serve(struct login_session *l)
{
	struct session s = { .l = l, .io = l->io };
	struct err e;

	stream_set_write_timeout(l->io, pop3_conf.timeout_s);
	if (open_mailbox(&s, &e) == RC_OK) {
		stream_puts(s.io, "+OK Logged in.\r\n");
		read_commands(&s);
	} else {
		log_error("%s: INBOX: %s", l->who, e.text);
		stream_puts(s.io, e.rc == RC_AGAIN ? "-ERR [IN-USE] The mailbox is locked.\r\n"
						   : "-ERR [SYS/TEMP] The mailbox cannot be opened.\r\n");
		s.end = "Mailbox cannot be opened";
		l->unusable = e.rc != RC_AGAIN;
	}
	if (stream_flush(s.io, deadline_s(30), &e) != RC_OK)
		log_debug("%s: %s", l->who, e.text);
	log_info("%s: Disconnected: %s top=%u/%llu, retr=%u/%llu, del=%u/%zu, size=%llu", l->who, s.end,
		 s.did.top, (unsigned long long)s.did.top_bytes, s.did.retr,
		 (unsigned long long)s.did.retr_bytes, s.did.deleted, s.n,
		 (unsigned long long)s.did.all_bytes);
	EVENT("logout", EV_CSTR("protocol", "pop3"), EV_CSTR("session", l->who),
	      EV_NUMBER("retrieved", s.did.retr), EV_NUMBER("deleted", s.did.deleted));
	mailbox_close(&s.mb);
	free(s.item);
}
