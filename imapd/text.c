/* Pieces of responses (RFC 3501 section 9), and message numbers. */
#include "session.h"
#include <time.h>

/* A quoted string may hold any 7-bit TEXT-CHAR; all else goes as a literal. */
static bool quotable(struct span s)
{
	if (s.n > 1000)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80 || s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
			return false;
	return true;
}

void put_string(struct buf *b, struct span s)
{
	if (!quotable(s)) {
		buf_printf(b, "{%zu}\r\n", s.n);
		for (ptrdiff_t nul; (nul = span_chr(s, '\0')) >= 0; s = span_skip(s, (size_t)nul + 1)) {
			buf_append(b, span_head(s, (size_t)nul));
			buf_putc(b, '\x80'); /* RFC 3501 9, CHAR8: no NUL in a literal */
		}
		buf_append(b, s);
		return;
	}
	buf_putc(b, '"');
	if (!s.n || (!memchr(s.p, '"', s.n) && !memchr(s.p, '\\', s.n))) {
		buf_append(b, s);
	} else {
		for (size_t i = 0; i < s.n; i++) {
			if (s.p[i] == '"' || s.p[i] == '\\')
				buf_putc(b, '\\');
			buf_putc(b, s.p[i]);
		}
	}
	buf_putc(b, '"');
}

void put_nstring(struct buf *b, struct span s)
{
	if (!s.p)
		buf_puts(b, "NIL");
	else
		put_string(b, s);
}

void put_mailbox(struct buf *b, struct span name)
{
	bool atom = name.n > 0;
	for (size_t i = 0; i < name.n; i++)
		if (!ascii_isalnum(name.p[i]) && !strchr("._-/&+,=@", name.p[i]))
			atom = false;
	if (atom && !span_is_ci(name, "NIL"))
		buf_append(b, name);
	else
		put_string(b, name);
}

void put_flags(struct buf *b, const struct session *s, const struct message *m, bool recent)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = { { MSG_ANSWERED, "\\Answered" }, { MSG_FLAGGED, "\\Flagged" },
		      { MSG_DELETED, "\\Deleted" },   { MSG_SEEN, "\\Seen" },
		      { MSG_DRAFT, "\\Draft" },	      { MSG_PASSED, "$Forwarded" } };
	const char *sep = "";
	buf_puts(b, "FLAGS (");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (m->flags & names[i].flag) {
			buf_puts(b, sep);
			buf_puts(b, names[i].name);
			sep = " ";
		}
	if (recent) {
		buf_puts(b, sep);
		buf_puts(b, "\\Recent");
		sep = " ";
	}
	for (size_t i = 0; m->keywords >> i && i < STORE_KEYWORDS_MAX; i++) {
		const char *k = m->keywords & (1ull << i) ? mailbox_keyword(s->mb, i) : NULL;
		if (k) {
			buf_puts(b, sep);
			buf_puts(b, k);
			sep = " ";
		}
		if (i == 63)
			break;
	}
	buf_putc(b, ')');
}

void put_date_time(struct buf *b, int64_t seconds)
{
	char text[64];
	time_t t = (time_t)seconds;
	struct tm tm;
	localtime_r(&t, &tm);
	strftime(text, sizeof(text), "\"%d-%b-%Y %H:%M:%S %z\"", &tm);
	buf_puts(b, text);
}

void put_numset(struct buf *b, const uint32_t *v, size_t n)
{
	const char *sep = "";
	for (size_t i = 0; i < n;) {
		size_t j = i;
		while (j + 1 < n && v[j + 1] == v[j] + 1)
			j++;
		if (j == i)
			buf_printf(b, "%s%u", sep, v[i]);
		else
			buf_printf(b, "%s%u:%u", sep, v[i], v[j]);
		sep = ",";
		i = j + 1;
	}
}

size_t session_numbers(struct session *s, struct numset *set, size_t **seq)
{
	size_t count = mailbox_count(s->mb), n = 0, total = 0;
	numset_resolve(set, s->uid_command ? (count ? mailbox_uid(s->mb, count) : 1) : (uint32_t)count);
	size_t *first = arena_array(&s->a, set->n + 1, sizeof(size_t)),
	       *last = arena_array(&s->a, set->n + 1, sizeof(size_t));
	for (size_t i = 0; i < set->n; i++) {
		const struct range *r = &set->v[i];
		first[i] = s->uid_command ? mailbox_seq_from(s->mb, r->from) : r->from;
		last[i] = s->uid_command
			      ? (r->to == UINT32_MAX ? count : mailbox_seq_from(s->mb, r->to + 1) - 1)
			      : r->to;
		if (last[i] > count)
			last[i] = count;
		if (first[i] && last[i] >= first[i])
			total += last[i] - first[i] + 1;
	}
	*seq = arena_array(&s->a, total + 1, sizeof(size_t));
	for (size_t i = 0; i < set->n; i++)
		for (size_t k = first[i]; k && k <= last[i]; k++)
			(*seq)[n++] = k;
	return n;
}

bool session_set(struct session *s, struct parse *p, size_t **seq, size_t *n)
{
	struct numset set;
	if (!parse_numset(p, &set))
		return false;
	*n = session_numbers(s, &set, seq);
	if (!s->uid_command)
		for (size_t i = 0; i < set.n; i++)
			if (set.v[i].to > mailbox_count(s->mb) || !set.v[i].from)
				return parse_fail(p, "Invalid messageset");
	return true;
}
