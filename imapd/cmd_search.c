/* SEARCH (RFC 3501 6.4.4; MODSEQ of RFC 7162; ESEARCH is not offered). */
#include "session.h"
#include "mime/header.h"

static bool parse_charset(struct parse *p, struct span *charset, bool *refused)
{
	struct buf probe;
	if (!parse_word_ci(p, "CHARSET"))
		return true;
	if (!parse_sp(p) || !parse_astring(p, charset) || !parse_sp(p))
		return false;
	buf_init(&probe, 16);
	*refused = !charset_to_utf8(&probe, *charset, SPAN(""));
	buf_release(&probe);
	return true;
}

COMMAND(cmd_search)
{
	struct search_key *key;
	struct arena a;
	struct span charset = SPAN("UTF-8"); /* what is not told: US-ASCII is part of it */
	bool refused = false;
	uint64_t modseq = 0;
	if (!parse_sp(p) || !parse_charset(p, &charset, &refused)) {
		tagged_bad(s, p);
		return;
	}
	if (refused) {
		tagged_no(s, "[BADCHARSET (US-ASCII UTF-8)] Unknown charset");
		return;
	}
	if (!search_parse(s, p, charset, &key) || !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	bool with_modseq = search_uses_modseq(key);
	s->condstore = s->condstore || with_modseq;
	arena_init(&a);
	struct buf out; /* s->out is used by nobody below, but sizes differ */
	buf_init(&out, SIZE_MAX / 2);
	buf_puts(&out, "* SEARCH");
	for (size_t i = 1; i <= mailbox_count(s->mb); i++) {
		if (!search_match(s, key, i, &a))
			continue;
		const struct message *m = mailbox_message(s->mb, i);
		if (m && m->modseq > modseq)
			modseq = m->modseq;
		buf_printf(&out, " %u", s->uid_command ? mailbox_uid(s->mb, i) : (uint32_t)i);
	}
	if (with_modseq && modseq)
		buf_printf(&out, " (MODSEQ %llu)", (unsigned long long)modseq);
	buf_puts(&out, "\r\n");
	stream_write(s->io, buf_span(&out));
	buf_release(&out);
	arena_release(&a);
	tagged_ok(s, "Search completed.");
}
