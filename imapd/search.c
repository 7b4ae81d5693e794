/* Search keys: a tree of bounded depth and size, judged message by message; what needs no content is judged
 * first. */
#include "session.h"
#include "base/codec.h"
#include "bodytext.h"
#include "mime/header.h"
#include <time.h>

#define KEYS_MAX 500

enum key_kind {
	K_AND,
	K_OR,
	K_NOT,
	K_ALL,
	K_FLAG, /* flag set */
	K_NOT_FLAG,
	K_KEYWORD,
	K_NOT_KEYWORD,
	K_RECENT,
	K_OLD,
	K_NEW,
	K_BEFORE, /* INTERNALDATE, days */
	K_ON,
	K_SINCE,
	K_SENTBEFORE, /* Date: */
	K_SENTON,
	K_SENTSINCE,
	K_LARGER,
	K_SMALLER,
	K_SEQ,
	K_UID,
	K_MODSEQ,
	K_HEADER,
	K_BODY,
	K_TEXT,
};

struct search_key {
	enum key_kind kind;
	struct search_key *child, *next; /* K_AND, K_OR, K_NOT: children in a row */
	uint32_t flag;
	uint64_t number; /* size, modseq */
	int64_t day;
	struct span name, text; /* header field; what is looked for, folded */
	struct numset set;
};

static const struct {
	const char *name;
	enum key_kind kind;
	uint32_t flag;
} simple_keys[] = {
	{ "ALL", K_ALL, 0 },
	{ "ANSWERED", K_FLAG, MSG_ANSWERED },
	{ "DELETED", K_FLAG, MSG_DELETED },
	{ "DRAFT", K_FLAG, MSG_DRAFT },
	{ "FLAGGED", K_FLAG, MSG_FLAGGED },
	{ "SEEN", K_FLAG, MSG_SEEN },
	{ "UNANSWERED", K_NOT_FLAG, MSG_ANSWERED },
	{ "UNDELETED", K_NOT_FLAG, MSG_DELETED },
	{ "UNDRAFT", K_NOT_FLAG, MSG_DRAFT },
	{ "UNFLAGGED", K_NOT_FLAG, MSG_FLAGGED },
	{ "UNSEEN", K_NOT_FLAG, MSG_SEEN },
	{ "RECENT", K_RECENT, 0 },
	{ "OLD", K_OLD, 0 },
	{ "NEW", K_NEW, 0 },
};
static const struct {
	const char *name;
	enum key_kind kind;
} date_keys[] = { { "BEFORE", K_BEFORE },	  { "ON", K_ON },	  { "SINCE", K_SINCE },
		  { "SENTBEFORE", K_SENTBEFORE }, { "SENTON", K_SENTON }, { "SENTSINCE", K_SENTSINCE } };
static const char *const header_keys[] = { "BCC", "CC", "FROM", "SUBJECT", "TO" };

struct builder {
	struct session *s;
	struct parse *p;
	struct span charset;
	unsigned keys;
};
static bool parse_key(struct builder *b, unsigned depth, struct search_key **out);

static struct search_key *new_key(struct builder *b, enum key_kind kind)
{
	struct search_key *k = arena_alloc(b->p->a, sizeof(*k));
	k->kind = kind;
	return k;
}

/* Keys separated by spaces, up to ')' or the end. */
static bool parse_and(struct builder *b, unsigned depth, struct search_key **out)
{
	struct search_key **tail;
	*out = new_key(b, K_AND);
	tail = &(*out)->child;
	do {
		if (!parse_key(b, depth, tail))
			return false;
		tail = &(*tail)->next;
	} while (parse_is(b->p, ' '));
	return true;
}

static bool want_text(struct builder *b, struct search_key *k)
{
	struct span s;
	struct buf utf8;
	if (!parse_sp(b->p) || !parse_astring(b->p, &s))
		return false;
	buf_init(&utf8, 4 * s.n + 512); /* charset_to_utf8() reserves in steps */
	bool ok = charset_to_utf8(&utf8, b->charset, s);
	if (ok)
		k->text = text_fold(b->p->a, span_dup(b->p->a, buf_span(&utf8)));
	buf_release(&utf8);
	return ok || parse_fail(b->p, "Search text is not in its character set");
}

static bool parse_keyword(struct builder *b, struct search_key *k, bool positive)
{
	struct span name;
	if (!parse_sp(b->p) || !parse_atom(b->p, &name))
		return false;
	if (span_is_ci(name, "$Forwarded")) {
		k->kind = positive ? K_FLAG : K_NOT_FLAG;
		k->flag = MSG_PASSED;
		return true;
	}
	int bit = mailbox_keyword_bit(b->s->mb, name, false);
	k->kind = positive ? K_KEYWORD : K_NOT_KEYWORD;
	k->number = bit < 0 ? 0 : 1ull << bit;
	return true;
}

static void resolve(struct session *s, struct numset *set, bool uid)
{
	size_t count = mailbox_count(s->mb);
	numset_resolve(set, uid ? (count ? mailbox_uid(s->mb, count) : 1) : (uint32_t)count);
}

static bool parse_set_key(struct builder *b, struct search_key *k, bool uid)
{
	k->kind = uid ? K_UID : K_SEQ;
	if (!parse_numset(b->p, &k->set))
		return false;
	resolve(b->s, &k->set, uid);
	return true;
}

/* "MODSEQ 12" or "MODSEQ "/flags/\\draft" all 12": entry names are checked and mean nothing here (RFC
 * 7162 3.1.5). */
static bool parse_modseq(struct builder *b, struct search_key *k)
{
	struct span entry, type;
	k->kind = K_MODSEQ;
	if (!parse_sp(b->p))
		return false;
	if (parse_peek(b->p) == '"' &&
	    (!parse_string(b->p, &entry) || !parse_sp(b->p) || !parse_atom(b->p, &type) || !parse_sp(b->p)))
		return false;
	return parse_number(b->p, INT64_MAX, &k->number);
}

static bool parse_rest(struct builder *b, unsigned depth, struct search_key *k)
{
	struct parse *p = b->p;
	for (size_t i = 0; i < ARRAY_LEN(simple_keys); i++)
		if (parse_word_ci(p, simple_keys[i].name)) {
			k->kind = simple_keys[i].kind;
			k->flag = simple_keys[i].flag;
			return true;
		}
	for (size_t i = 0; i < ARRAY_LEN(date_keys); i++)
		if (parse_word_ci(p, date_keys[i].name)) {
			k->kind = date_keys[i].kind;
			return parse_sp(p) && parse_date(p, &k->day);
		}
	for (size_t i = 0; i < ARRAY_LEN(header_keys); i++)
		if (parse_word_ci(p, header_keys[i])) {
			k->kind = K_HEADER;
			k->name = span_str(header_keys[i]);
			return want_text(b, k);
		}
	if (parse_word_ci(p, "HEADER")) {
		k->kind = K_HEADER;
		return parse_sp(p) && parse_astring(p, &k->name) && want_text(b, k);
	}
	if (parse_word_ci(p, "BODY") || parse_word_ci(p, "TEXT")) {
		k->kind = ascii_lower(p->rest.p[-1]) == 'y' ? K_BODY : K_TEXT;
		return want_text(b, k);
	}
	if (parse_word_ci(p, "LARGER") || parse_word_ci(p, "SMALLER")) {
		k->kind = ascii_lower(p->rest.p[-4]) == 'r' ? K_LARGER : K_SMALLER;
		return parse_sp(p) && parse_number(p, INT64_MAX, &k->number);
	}
	if (parse_word_ci(p, "UNKEYWORD"))
		return parse_keyword(b, k, false);
	if (parse_word_ci(p, "KEYWORD"))
		return parse_keyword(b, k, true);
	if (parse_word_ci(p, "MODSEQ"))
		return parse_modseq(b, k);
	if (parse_word_ci(p, "UID"))
		return parse_sp(p) && parse_set_key(b, k, true);
	if (parse_word_ci(p, "NOT")) {
		k->kind = K_NOT;
		return parse_sp(p) && parse_key(b, depth + 1, &k->child);
	}
	if (parse_word_ci(p, "OR")) {
		k->kind = K_OR;
		return parse_sp(p) && parse_key(b, depth + 1, &k->child) && parse_sp(p) &&
		       parse_key(b, depth + 1, &k->child->next);
	}
	return parse_fail(p, "Unknown search key");
}

static bool parse_key(struct builder *b, unsigned depth, struct search_key **out)
{
	if (depth > PARSE_DEPTH_MAX || ++b->keys > KEYS_MAX)
		return parse_fail(b->p, "Search too complex");
	if (parse_is(b->p, '('))
		return parse_and(b, depth + 1, out) && parse_char(b->p, ')');
	*out = new_key(b, K_ALL);
	char c = parse_peek(b->p);
	if (ascii_isdigit(c) || c == '*')
		return parse_set_key(b, *out, false);
	return parse_rest(b, depth, *out);
}

bool search_parse(struct session *s, struct parse *p, struct span charset, struct search_key **out)
{
	struct builder b = { s, p, charset, 0 };
	return parse_and(&b, 0, out);
}

bool search_uses_modseq(const struct search_key *k)
{
	for (; k; k = k->next)
		if (k->kind == K_MODSEQ || (k->child && search_uses_modseq(k->child)))
			return true;
	return false;
}

/* ---- judging ---- */
struct judge {
	struct session *s;
	size_t seq;
	struct arena *a;
	struct span message;
	bool read, gone;
	struct span decoded; /* text of all parts, folded: made once per message */
	bool have_decoded;
};

static int64_t local_day(int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	localtime_r(&t, &tm);
	int64_t off = tm.tm_gmtoff;
	int64_t v = seconds + off;
	return v >= 0 ? v / 86400 : -((-v + 86399) / 86400);
}

static bool content(struct judge *j)
{
	struct err e;
	if (!j->read) {
		j->read = true;
		j->gone = mailbox_read(j->s->mb, j->seq, &j->message, &e) != RC_OK;
	}
	return !j->gone;
}

static bool head(struct judge *j, struct span *out)
{
	struct err e;
	if (!j->read) {
		if (mailbox_read_head(j->s->mb, j->seq, 16384, out, &e) != RC_OK)
			return false;
		size_t n = header_length_stored(*out);
		if (out->n < 16384 || n < out->n) {
			*out = span_skip(span_head(*out, n), header_mbox_line(*out));
			return true;
		}
	}
	if (!content(j))
		return false;
	*out = span_head(j->message, header_length_stored(j->message));
	*out = span_skip(*out, header_mbox_line(*out));
	return true;
}

/* The Date: field's own day, zone ignored (RFC 3501 6.4.4). */
static bool sent_day(struct judge *j, int64_t *day)
{
	struct span h, w, rest;
	struct header_field f;
	struct parse p;
	char text[40];
	if (!head(j, &h) || header_find(h, "Date", &f) != RC_OK)
		return false;
	rest = header_unfold(j->a, span_head(f.body, 200));
	ptrdiff_t comma = span_chr(rest, ',');
	if (comma >= 0)
		rest = span_skip(rest, (size_t)comma + 1);
	struct span part[3];
	for (int i = 0; i < 3; i++) {
		if (!span_next_word(&rest, " \t", &w) || w.n > 9)
			return false;
		part[i] = w;
	}
	uint64_t year;
	if (span_to_u64(part[2], 9999, &year) != RC_OK || part[1].n < 3)
		return false;
	if (part[2].n < 4)
		year += part[2].n == 2 && year < 50 ? 2000 : 1900; /* RFC 5322 4.3 */
	int n = snprintf(text, sizeof(text), SPAN_FMT "-%.3s-%llu", SPAN_ARG(part[0]), part[1].p,
			 (unsigned long long)year);
	parse_start(&p, span_make(text, (size_t)n), j->a);
	return parse_date(&p, day) && parse_end(&p);
}

static bool match_header(struct judge *j, const struct search_key *k)
{
	struct span h;
	struct header_field f;
	if (!head(j, &h))
		return false;
	while (header_next(&h, &f) == RC_OK) {
		if (!span_eq_ci(f.name, k->name))
			continue;
		if (!k->text.n)
			return true;
		struct span v = text_fold(j->a, header_decode(j->a, header_unfold(j->a, f.body)));
		if (span_find(v, k->text) >= 0)
			return true;
	}
	return false;
}

static bool match_body(struct judge *j, const struct search_key *k)
{
	if (!k->text.n)
		return true;
	if (!content(j))
		return false;
	if (!j->have_decoded) {
		j->decoded = body_text(j->message, j->a);
		j->have_decoded = true;
	}
	return span_find(j->decoded, k->text) >= 0;
}

static bool match_any_header(struct judge *j, const struct search_key *k)
{
	struct span h;
	if (!head(j, &h))
		return false;
	struct span v = text_fold(j->a, header_decode(j->a, header_unfold(j->a, h)));
	return span_find(v, k->text) >= 0;
}

static bool match_date(struct judge *j, const struct search_key *k, const struct message *m)
{
	int64_t day;
	if (k->kind == K_SENTBEFORE || k->kind == K_SENTON || k->kind == K_SENTSINCE) {
		if (!sent_day(j, &day))
			return false;
	} else {
		day = local_day(m->date_s);
	}
	if (k->kind == K_BEFORE || k->kind == K_SENTBEFORE)
		return day < k->day;
	return k->kind == K_ON || k->kind == K_SENTON ? day == k->day : day >= k->day;
}

static bool match_size(struct judge *j, const struct search_key *k)
{
	uint64_t size;
	struct err e;
	if (mailbox_vsize(j->s->mb, j->seq, &size, &e) != RC_OK)
		return false;
	return k->kind == K_LARGER ? size > k->number : size < k->number;
}

static bool costly(const struct search_key *k)
{
	for (; k; k = k->next)
		if (k->kind >= K_HEADER || (k->kind >= K_SENTBEFORE && k->kind <= K_SENTSINCE) ||
		    (k->child && costly(k->child)))
			return true;
	return false;
}

static bool match(struct judge *j, const struct search_key *k);

/* Depth is bounded by the parser. Cheap keys first: most messages need not be opened. */
static bool match_and(struct judge *j, const struct search_key *k)
{
	for (int pass = 0; pass < 2; pass++)
		for (const struct search_key *c = k->child; c; c = c->next) {
			struct search_key alone = *c;
			alone.next = NULL;
			if (costly(&alone) == (pass == 1) && !match(j, c))
				return false;
		}
	return true;
}

static bool match(struct judge *j, const struct search_key *k)
{
	struct mailbox *mb = j->s->mb;
	const struct message *m = mailbox_message(mb, j->seq);
	if (!m)
		return false;
	switch (k->kind) {
	case K_AND:
		return match_and(j, k);
	case K_OR:
		return match(j, k->child) || match(j, k->child->next);
	case K_NOT:
		return !match(j, k->child);
	case K_ALL:
		return true;
	case K_FLAG:
		return (m->flags & k->flag) != 0;
	case K_NOT_FLAG:
		return (m->flags & k->flag) == 0;
	case K_KEYWORD:
		return (m->keywords & k->number) != 0;
	case K_NOT_KEYWORD:
		return (m->keywords & k->number) == 0;
	case K_RECENT:
		return mailbox_recent(mb, j->seq);
	case K_OLD:
		return !mailbox_recent(mb, j->seq);
	case K_NEW:
		return mailbox_recent(mb, j->seq) && !(m->flags & MSG_SEEN);
	case K_BEFORE:
	case K_ON:
	case K_SINCE:
	case K_SENTBEFORE:
	case K_SENTON:
	case K_SENTSINCE:
		return match_date(j, k, m);
	case K_LARGER:
	case K_SMALLER:
		return match_size(j, k);
	case K_SEQ:
		return numset_has(&k->set, (uint32_t)j->seq);
	case K_UID:
		return numset_has(&k->set, m->uid);
	case K_MODSEQ:
		return m->modseq >= k->number;
	case K_HEADER:
		return match_header(j, k);
	case K_BODY:
		return match_body(j, k);
	case K_TEXT:
		return match_any_header(j, k) || match_body(j, k);
	}
	return false;
}

bool search_match(struct session *s, struct search_key *k, size_t seq, struct arena *a)
{
	struct judge j = { .s = s, .seq = seq, .a = a };
	bool yes = match(&j, k);
	arena_reset(a);
	return yes;
}
