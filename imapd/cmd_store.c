/* STORE (RFC 3501 6.4.6), with UNCHANGEDSINCE (RFC 7162 3.1.3). */
#include "session.h"

struct store_args {
	enum flags_op op;
	bool silent;
	uint64_t unchanged_since;
	struct flag_list flags;
};

static bool parse_modifier(struct session *s, struct parse *p, struct store_args *a)
{
	a->unchanged_since = UINT64_MAX;
	if (!parse_is(p, '('))
		return true;
	s->condstore = true;
	return (parse_word_ci(p, "UNCHANGEDSINCE") || parse_fail(p, "Unknown STORE modifier")) &&
	       parse_sp(p) && parse_number(p, INT64_MAX, &a->unchanged_since) && parse_char(p, ')') &&
	       parse_sp(p);
}

static bool parse_item(struct parse *p, struct store_args *a)
{
	struct span word;
	a->op = parse_is(p, '+') ? FLAGS_ADD : parse_is(p, '-') ? FLAGS_REMOVE : FLAGS_SET;
	if (!parse_atom(p, &word))
		return false;
	a->silent = span_is_ci(word, "FLAGS.SILENT");
	if (!a->silent && !span_is_ci(word, "FLAGS"))
		return parse_fail(p, "Invalid STORE item");
	return parse_sp(p) && parse_flags(p, true, &a->flags);
}

static void put_failed(struct session *s, const size_t *seq, const bool *failed, size_t n)
{
	uint32_t *v = arena_array(&s->a, n + 1, sizeof(*v));
	size_t k = 0;
	for (size_t i = 0; i < n; i++)
		if (failed[i])
			v[k++] = s->uid_command ? mailbox_uid(s->mb, seq[i]) : (uint32_t)seq[i];
	if (!k) {
		tagged_ok(s, "Store completed.");
		return;
	}
	buf_reset(&s->out);
	put_numset(&s->out, v, k);
	struct span set = span_dup(&s->a, buf_span(&s->out));
	session_news(s, s->uid_command);
	stream_write(s->io, s->tag);
	stream_puts(s->io, " OK [MODIFIED ");
	stream_write(s->io, set);
	stream_puts(s->io, "] Conditional STORE failed.\r\n");
	s->done = true;
}

/* What the client asked for is told for each message of the set, changed or not. */
static void tell(struct session *s, const size_t *seq, const bool *failed, size_t n, bool only_modseq)
{
	for (size_t i = 0; i < n; i++) {
		const struct message *m = failed[i] ? NULL : mailbox_message(s->mb, seq[i]);
		if (!m)
			continue;
		buf_reset(&s->out);
		buf_printf(&s->out, "* %zu FETCH (", seq[i]);
		const char *sep = "";
		if (s->uid_command) {
			buf_printf(&s->out, "UID %u", m->uid);
			sep = " ";
		}
		if (s->condstore) {
			buf_printf(&s->out, "%sMODSEQ (%llu)", sep, (unsigned long long)m->modseq);
			sep = " ";
		}
		if (!only_modseq) {
			buf_puts(&s->out, sep);
			put_flags(&s->out, s, m, mailbox_recent(s->mb, seq[i]));
		}
		buf_puts(&s->out, ")\r\n");
		stream_write(s->io, buf_span(&s->out));
	}
}

COMMAND(cmd_store)
{
	struct store_args a = { 0 };
	size_t *seq, n;
	struct err e;
	if (!parse_sp(p) || !session_set(s, p, &seq, &n) || !parse_sp(p) || !parse_modifier(s, p, &a) ||
	    !parse_item(p, &a) || !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	if (s->readonly) {
		tagged_no(s, "[READ-ONLY] Mailbox is read-only");
		return;
	}
	uint64_t bits = 0;
	size_t known = mailbox_keywords(s->mb);
	for (size_t i = 0; i < a.flags.keywords; i++) {
		int bit = mailbox_keyword_bit(s->mb, a.flags.keyword[i], a.op != FLAGS_REMOVE);
		if (bit < 0 && a.op != FLAGS_REMOVE) {
			tagged_no(s, "[LIMIT] Too many keywords in this mailbox");
			return;
		}
		if (bit >= 0)
			bits |= 1ull << bit;
	}
	if (mailbox_keywords(s->mb) != known) { /* the client learns new keywords before it meets them */
		buf_reset(&s->out);
		buf_puts(&s->out, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded");
		for (size_t i = 0; i < mailbox_keywords(s->mb); i++)
			buf_printf(&s->out, " %s", mailbox_keyword(s->mb, i));
		buf_puts(&s->out, ")\r\n");
		stream_write(s->io, buf_span(&s->out));
	}
	bool *failed = arena_array(&s->a, n + 1, sizeof(*failed));
	if (a.op != FLAGS_REMOVE && (a.flags.flags & MSG_DELETED))
		s->deleted += (uint32_t)n;
	/* All are told here: nothing is left for the news. */
	if (mailbox_flags(s->mb, seq, n, a.op, a.flags.flags, bits, true, a.unchanged_since, failed, &e) !=
	    RC_OK) {
		tagged_failure(s, &e);
		return;
	}
	if (!a.silent || s->condstore)
		tell(s, seq, failed, n, a.silent);
	put_failed(s, seq, failed, n);
}
