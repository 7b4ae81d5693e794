/* FETCH (RFC 3501 6.4.5): one response line per message, put together in s->out and written in one piece;
 * bodies are written from where they lie, with CRLF line ends. */
#include "session.h"
#include "log/log.h"
#include "sections.h"

#include "mime/mime.h"

#define SECTIONS_MAX 100
#define HEAD_FIRST   16384 /* most headers are in these bytes */

#define WANT_FLAGS	   (1u << 0)
#define WANT_INTERNALDATE  (1u << 1)
#define WANT_SIZE	   (1u << 2)
#define WANT_UID	   (1u << 3)
#define WANT_ENVELOPE	   (1u << 4)
#define WANT_BODYSTRUCTURE (1u << 5)
#define WANT_BODY	   (1u << 6)
#define WANT_MODSEQ	   (1u << 7)

struct fetch {
	unsigned want;
	struct section *section;
	size_t sections, cap;
	bool sets_seen;
	uint64_t changed_since; /* UINT64_MAX: no such modifier */
};

static bool add_section(struct fetch *f, struct parse *p, const struct section *sec)
{
	if (f->sections == SECTIONS_MAX)
		return parse_fail(p, "Too many body sections");
	if (f->sections == f->cap)
		f->section = arena_grow(p->a, f->section, f->sections, &f->cap, sizeof(*f->section));
	f->section[f->sections++] = *sec;
	f->sets_seen = f->sets_seen || !sec->peek;
	return true;
}

static bool parse_body(struct fetch *f, struct parse *p, bool peek)
{
	struct section sec = { .peek = peek };
	return section_parse(p, &sec) && add_section(f, p, &sec);
}

static bool parse_item(struct fetch *f, struct parse *p)
{
	static const struct {
		const char *name;
		unsigned want;
	} plain[] = {
		{ "FLAGS", WANT_FLAGS },
		{ "INTERNALDATE", WANT_INTERNALDATE },
		{ "RFC822.SIZE", WANT_SIZE },
		{ "UID", WANT_UID },
		{ "ENVELOPE", WANT_ENVELOPE },
		{ "BODYSTRUCTURE", WANT_BODYSTRUCTURE },
		{ "MODSEQ", WANT_MODSEQ },
		{ "FAST", WANT_FLAGS | WANT_INTERNALDATE | WANT_SIZE },
		{ "ALL", WANT_FLAGS | WANT_INTERNALDATE | WANT_SIZE | WANT_ENVELOPE },
		{ "FULL", WANT_FLAGS | WANT_INTERNALDATE | WANT_SIZE | WANT_ENVELOPE | WANT_BODY },
	};
	static const struct section rfc822 = { .legacy = "RFC822" },
				    header = { .legacy = "RFC822.HEADER", .what = SEC_HEADER, .peek = true },
				    text = { .legacy = "RFC822.TEXT", .what = SEC_TEXT };
	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		if (parse_word_ci(p, plain[i].name)) {
			f->want |= plain[i].want;
			return true;
		}
	if (parse_word_ci(p, "RFC822.HEADER"))
		return add_section(f, p, &header);
	if (parse_word_ci(p, "RFC822.TEXT"))
		return add_section(f, p, &text);
	if (parse_word_ci(p, "RFC822"))
		return add_section(f, p, &rfc822);
	if (parse_word_ci(p, "BODY.PEEK") && parse_peek(p) == '[')
		return parse_body(f, p, true);
	if (parse_word_ci(p, "BODY")) {
		if (parse_peek(p) == '[')
			return parse_body(f, p, false);
		f->want |= WANT_BODY;
		return true;
	}
	return parse_fail(p, "Unknown FETCH item");
}

static bool parse_items(struct fetch *f, struct parse *p)
{
	if (!parse_is(p, '('))
		return parse_item(f, p);
	do {
		if (!parse_item(f, p))
			return false;
	} while (parse_is(p, ' '));
	return parse_char(p, ')');
}

static bool parse_fetch_modifier(struct session *s, struct fetch *f, struct parse *p)
{
	f->changed_since = UINT64_MAX;
	if (!p->rest.n)
		return true;
	if (!parse_sp(p) || !parse_char(p, '(') || !parse_word_ci(p, "CHANGEDSINCE") || !parse_sp(p) ||
	    !parse_number(p, INT64_MAX, &f->changed_since) || !parse_char(p, ')'))
		return parse_fail(p, "Unknown FETCH modifier");
	s->condstore = true;
	f->want |= WANT_MODSEQ;
	return true;
}

enum rc session_structure(struct session *s, size_t seq, struct arena *a, struct structure *out,
			  struct err *e)
{
	struct span blob, message;
	struct buf b;
	if (mailbox_cache_get(s->mb, seq, &blob) == RC_OK && structure_decode(blob, out)) {
		/* The bytes are the store's until the next call: ours must last while others run. */
		out->envelope = span_dup(a, out->envelope);
		out->bodystructure = span_dup(a, out->bodystructure);
		out->body = span_dup(a, out->body);
		return RC_OK;
	}
	enum rc rc = mailbox_read(s->mb, seq, &message, e);
	if (rc != RC_OK)
		return rc;
	structure_make(message, a, out);
	buf_init(&b, 16u << 20);
	structure_encode(out, &b);
	mailbox_cache_put(s->mb, seq, buf_span(&b));
	buf_release(&b);
	return RC_OK;
}

/* What needs no content. */
static enum rc put_plain(struct session *s, const struct fetch *f, size_t seq, bool tell_flags,
			 const char **sep, struct err *e)
{
	uint64_t size = 0;
	const struct message *m;
	if (f->want & WANT_SIZE) { /* may read the message: before m is taken */
		enum rc rc = mailbox_vsize(s->mb, seq, &size, e);
		if (rc != RC_OK)
			return rc;
	}
	if (!(m = mailbox_message(s->mb, seq)))
		return err_set(e, RC_GONE, "expunged");
	buf_reset(&s->out);
	buf_printf(&s->out, "* %zu FETCH (", seq);
	if ((f->want & WANT_UID) || s->uid_command) {
		buf_printf(&s->out, "UID %u", m->uid);
		*sep = " ";
	}
	if ((f->want & WANT_FLAGS) || tell_flags) {
		buf_puts(&s->out, *sep);
		put_flags(&s->out, s, m, mailbox_recent(s->mb, seq));
		*sep = " ";
	}
	if ((f->want & WANT_MODSEQ) || (tell_flags && s->condstore)) {
		buf_printf(&s->out, "%sMODSEQ (%llu)", *sep, (unsigned long long)m->modseq);
		*sep = " ";
	}
	if (f->want & WANT_INTERNALDATE) {
		buf_printf(&s->out, "%sINTERNALDATE ", *sep);
		put_date_time(&s->out, m->date_s);
		*sep = " ";
	}
	if (f->want & WANT_SIZE) {
		buf_printf(&s->out, "%sRFC822.SIZE %llu", *sep, (unsigned long long)size);
		*sep = " ";
	}
	return RC_OK;
}

static enum rc put_structure(struct session *s, const struct fetch *f, size_t seq, struct arena *a,
			     const char **sep, struct err *e)
{
	struct structure st;
	if (!(f->want & (WANT_ENVELOPE | WANT_BODYSTRUCTURE | WANT_BODY)))
		return RC_OK;
	enum rc rc = session_structure(s, seq, a, &st, e);
	if (rc != RC_OK)
		return rc;
	const struct {
		unsigned want;
		const char *name;
		struct span text;
	} items[] = { { WANT_ENVELOPE, "ENVELOPE", st.envelope },
		      { WANT_BODY, "BODY", st.body },
		      { WANT_BODYSTRUCTURE, "BODYSTRUCTURE", st.bodystructure } };
	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		if (f->want & items[i].want) {
			buf_printf(&s->out, "%s%s ", *sep, items[i].name);
			buf_append(&s->out, items[i].text);
			*sep = " ";
		}
	return RC_OK;
}

static bool only_heads(const struct fetch *f)
{
	for (size_t i = 0; i < f->sections; i++)
		if (!section_is_root_header(&f->section[i]))
			return false;
	return true;
}

/* The content that the sections need: the head of the message when that is all. */
static enum rc read_for(struct session *s, const struct fetch *f, size_t seq, struct span *message,
			struct err *e)
{
	if (only_heads(f)) {
		enum rc rc = mailbox_read_head(s->mb, seq, HEAD_FIRST, message, e);
		if (rc != RC_OK)
			return rc;
		if (message->n < HEAD_FIRST || header_length_stored(*message) < message->n)
			return RC_OK;
	}
	return mailbox_read(s->mb, seq, message, e);
}

static enum rc put_sections(struct session *s, const struct fetch *f, size_t seq, struct arena *a,
			    const char **sep, struct err *e)
{
	struct span message;
	struct mime_part *root = NULL;
	if (!f->sections)
		return RC_OK;
	enum rc rc = read_for(s, f, seq, &message, e);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < f->sections; i++) {
		const struct section *sec = &f->section[i];
		if (sec->depth && !root)
			root = mime_parse(message, a);
		buf_puts(&s->out, *sep);
		*sep = " ";
		section_put_name(&s->out, sec);
		buf_putc(&s->out, ' ');
		uint64_t n = section_put_content(s, sec, message, root, a);
		if (section_is_root_header(sec)) {
			s->hdr_count++;
			s->hdr_bytes += n;
		} else {
			s->body_count++;
			s->body_bytes += n;
		}
	}
	return RC_OK;
}

static enum rc fetch_one(struct session *s, const struct fetch *f, size_t seq, bool tell_flags,
			 struct arena *a, struct err *e)
{
	const char *sep = "";
	enum rc rc = put_plain(s, f, seq, tell_flags, &sep, e);
	if (rc == RC_OK)
		rc = put_structure(s, f, seq, a, &sep, e);
	if (rc == RC_OK)
		rc = put_sections(s, f, seq, a, &sep, e);
	if (rc != RC_OK) /* nothing of the line has gone out: sections write only after they have all */
		return rc;
	buf_puts(&s->out, ")\r\n");
	stream_write(s->io, buf_span(&s->out));
	return RC_OK;
}

static size_t drop_unchanged(struct session *s, const struct fetch *f, size_t *seq, size_t n)
{
	size_t kept = 0;
	if (f->changed_since == UINT64_MAX)
		return n;
	for (size_t i = 0; i < n; i++) {
		const struct message *m = mailbox_message(s->mb, seq[i]);
		if (m && m->modseq > f->changed_since)
			seq[kept++] = seq[i];
	}
	return kept;
}

/* \Seen is set for all in one step before; the responses then carry the new flags (RFC 3501 6.4.5). */
static enum rc mark_seen(struct session *s, const size_t *seq, size_t n, bool *changed, struct err *e)
{
	size_t *unseen = arena_array(&s->a, n + 1, sizeof(*unseen)), k = 0;
	for (size_t i = 0; i < n; i++) {
		const struct message *m = mailbox_message(s->mb, seq[i]);
		changed[i] = m && !(m->flags & MSG_SEEN);
		if (changed[i])
			unseen[k++] = seq[i];
	}
	return k ? mailbox_flags(s->mb, unseen, k, FLAGS_ADD, MSG_SEEN, 0, true, UINT64_MAX, NULL, e) : RC_OK;
}

COMMAND(cmd_fetch)
{
	struct fetch f = { 0 };
	struct arena a;
	struct err e;
	size_t *seq, n, gone = 0;
	if (!parse_sp(p) || !session_set(s, p, &seq, &n) || !parse_sp(p) || !parse_items(&f, p) ||
	    !parse_fetch_modifier(s, &f, p) || !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	if (f.want & WANT_MODSEQ)
		s->condstore = true;
	n = drop_unchanged(s, &f, seq, n);
	bool *changed = arena_array(&s->a, n + 1, sizeof(*changed));
	enum rc rc = f.sets_seen && !s->readonly ? mark_seen(s, seq, n, changed, &e) : RC_OK;
	arena_init(&a);
	for (size_t i = 0; i < n && rc == RC_OK; i++) {
		rc = fetch_one(s, &f, seq[i], changed[i], &a, &e);
		arena_reset(&a);
		if (rc == RC_GONE) {
			gone++;
			rc = RC_OK;
		}
	}
	arena_release(&a);
	mailbox_cache_flush(s->mb);
	if (rc != RC_OK)
		tagged_failure(s, &e);
	else if (gone) /* RFC 2180 4.1.2 */
		tagged_no(s, "[EXPUNGEISSUED] Some of the requested messages no longer exist.");
	else
		tagged_ok(s, "Fetch completed.");
}
