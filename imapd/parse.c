/* Tokens of the IMAP grammar. */
#include "parse.h"
#include "names.h"
#include "store/store.h"

void parse_start(struct parse *p, struct span text, struct arena *a)
{
	*p = (struct parse){ .rest = text, .a = a };
}

bool parse_fail(struct parse *p, const char *why)
{
	if (!p->why)
		p->why = why;
	return false;
}

char parse_peek(const struct parse *p)
{
	return p->rest.n ? p->rest.p[0] : '\0';
}

bool parse_end(struct parse *p)
{
	return p->rest.n == 0 || parse_fail(p, "Unexpected text at the end of the command");
}

bool parse_is(struct parse *p, char c)
{
	if (!p->rest.n || p->rest.p[0] != c)
		return false;
	p->rest = span_skip(p->rest, 1);
	return true;
}

bool parse_char(struct parse *p, char c)
{
	return parse_is(p, c) || parse_fail(p, "Syntax error");
}

bool parse_sp(struct parse *p)
{
	return parse_is(p, ' ') || parse_fail(p, "Missing argument");
}

/* ATOM-CHAR of RFC 3501: any CHAR except atom-specials. */
static bool atom_char(char c)
{
	return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f && !strchr("(){%*\"\\]", c);
}

static struct span take_while(struct parse *p, bool (*ok)(char c))
{
	size_t n = 0;
	while (n < p->rest.n && ok(p->rest.p[n]))
		n++;
	struct span s = span_head(p->rest, n);
	p->rest = span_skip(p->rest, n);
	return s;
}

static bool tag_char(char c)
{
	return c != '+' && (atom_char(c) || c == ']');
}

bool parse_tag(struct parse *p, struct span *out)
{
	*out = take_while(p, tag_char);
	return (out->n && out->n <= 128) || parse_fail(p, "Invalid tag");
}

bool parse_atom(struct parse *p, struct span *out)
{
	*out = take_while(p, atom_char);
	return out->n || parse_fail(p, "Atom expected");
}

static bool parse_quoted(struct parse *p, struct span *out)
{
	struct span s = p->rest;
	size_t n = 0;
	char *copy = NULL;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '"') {
			*out = copy ? span_make(copy, n) : span_head(s, i);
			p->rest = span_skip(s, i + 1);
			return true;
		}
		if (c == '\r' || c == '\n' || c == '\0')
			break;
		if (c == '\\') {
			if (i + 1 >= s.n || (s.p[i + 1] != '"' && s.p[i + 1] != '\\'))
				break;
			if (!copy) { /* only now a copy is needed */
				copy = arena_alloc(p->a, s.n);
				memcpy(copy, s.p, n = i);
			}
			c = s.p[++i];
		}
		if (copy)
			copy[n++] = c;
	}
	return parse_fail(p, "Invalid quoted string");
}

static bool parse_literal(struct parse *p, struct span *out)
{
	struct span s = p->rest;
	size_t i = 0;
	uint64_t n;
	while (i < s.n && ascii_isdigit(s.p[i]))
		i++;
	if (span_to_u64(span_head(s, i), COMMAND_MAX, &n) != RC_OK)
		return parse_fail(p, "Invalid literal size");
	s = span_skip(s, i);
	if (s.n && (s.p[0] == '+' || s.p[0] == '-'))
		s = span_skip(s, 1);
	if (!span_starts(s, SPAN("}\r\n")) || s.n - 3 < n)
		return parse_fail(p, "Invalid literal");
	s = span_skip(s, 3);
	*out = span_head(s, n);
	if (n && memchr(out->p, '\0', n))
		return parse_fail(p, "NUL in a literal");
	p->rest = span_skip(s, n);
	return true;
}

bool parse_string(struct parse *p, struct span *out)
{
	if (parse_is(p, '"'))
		return parse_quoted(p, out);
	if (parse_is(p, '{'))
		return parse_literal(p, out);
	return parse_fail(p, "String expected");
}

static bool astring_char(char c)
{
	return atom_char(c) || c == ']';
}

bool parse_astring(struct parse *p, struct span *out)
{
	if (parse_peek(p) == '"' || parse_peek(p) == '{')
		return parse_string(p, out);
	*out = take_while(p, astring_char);
	return out->n || parse_fail(p, "String expected");
}

bool parse_nstring(struct parse *p, struct span *out, bool *nil)
{
	*nil = false;
	if (parse_peek(p) == '"' || parse_peek(p) == '{')
		return parse_string(p, out);
	*nil = parse_word_ci(p, "NIL");
	*out = SPAN_NONE;
	return *nil || parse_fail(p, "String or NIL expected");
}

bool parse_mailbox(struct parse *p, struct span *out)
{
	if (!parse_astring(p, out))
		return false;
	*out = name_canonical(*out, p->sep, p->a);
	return true;
}

static bool list_char(char c)
{
	return astring_char(c) || c == '%' || c == '*';
}

bool parse_list_mailbox(struct parse *p, struct span *out)
{
	if (parse_peek(p) == '"' || parse_peek(p) == '{')
		return parse_string(p, out);
	*out = take_while(p, list_char);
	return out->n || parse_fail(p, "Mailbox pattern expected");
}

bool parse_number(struct parse *p, uint64_t max, uint64_t *out)
{
	size_t n = 0;
	while (n < p->rest.n && ascii_isdigit(p->rest.p[n]))
		n++;
	if (span_to_u64(span_head(p->rest, n), max, out) != RC_OK)
		return parse_fail(p, "Invalid number");
	p->rest = span_skip(p->rest, n);
	return true;
}

bool parse_word_ci(struct parse *p, const char *word)
{
	size_t n = strlen(word);
	if (p->rest.n < n || !span_is_ci(span_head(p->rest, n), word))
		return false;
	if (p->rest.n > n && atom_char(p->rest.p[n]) && p->rest.p[n] != '[')
		return false;
	p->rest = span_skip(p->rest, n);
	return true;
}

/* ---- dates ---- */
/* Days since 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t days_from(int64_t y, int64_t m, int64_t d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static bool take_date(struct parse *p, int64_t *day)
{
	static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
	uint64_t d, y;
	char mon[3];
	if (!parse_number(p, 31, &d) || !d || !parse_char(p, '-') || p->rest.n < 4)
		return parse_fail(p, "Invalid date");
	for (int i = 0; i < 3; i++)
		mon[i] = ascii_lower(p->rest.p[i]);
	p->rest = span_skip(p->rest, 3);
	for (int m = 0; m < 12; m++)
		if (memcmp(months + 3 * m, mon, 3) == 0) {
			if (!parse_char(p, '-') || !parse_number(p, 9999, &y))
				return parse_fail(p, "Invalid date");
			*day = days_from((int64_t)y, m + 1, (int64_t)d);
			return true;
		}
	return parse_fail(p, "Invalid month");
}

bool parse_date(struct parse *p, int64_t *day)
{
	bool quoted = parse_is(p, '"');
	return take_date(p, day) && (!quoted || parse_char(p, '"'));
}

bool parse_date_time(struct parse *p, int64_t *seconds)
{
	int64_t day;
	uint64_t h, m, s, zone;
	if (!parse_char(p, '"'))
		return false;
	parse_is(p, ' '); /* date-day-fixed */
	if (!take_date(p, &day) || !parse_sp(p) || !parse_number(p, 23, &h) || !parse_char(p, ':') ||
	    !parse_number(p, 59, &m) || !parse_char(p, ':') || !parse_number(p, 60, &s) || !parse_sp(p))
		return parse_fail(p, "Invalid date-time");
	bool west = parse_peek(p) == '-';
	if (!parse_is(p, west ? '-' : '+') || !parse_number(p, 9959, &zone) || !parse_char(p, '"'))
		return parse_fail(p, "Invalid date-time");
	int64_t off = (int64_t)(zone / 100 * 60 + zone % 100) * 60;
	*seconds = day * 86400 + (int64_t)(h * 3600 + m * 60 + s) - (west ? -off : off);
	return true;
}

/* ---- sets ---- */
static bool set_number(struct parse *p, uint32_t *out)
{
	uint64_t n;
	if (parse_is(p, '*')) {
		*out = UINT32_MAX;
		return true;
	}
	if (!parse_number(p, UINT32_MAX - 1, &n) || !n)
		return parse_fail(p, "Invalid message set");
	*out = (uint32_t)n;
	return true;
}

bool parse_numset(struct parse *p, struct numset *out)
{
	size_t cap = 0;
	*out = (struct numset){ NULL, 0 };
	do {
		struct range r;
		if (out->n == NUMSET_RANGES_MAX)
			return parse_fail(p, "Too many ranges in a message set");
		if (!set_number(p, &r.from))
			return false;
		r.to = r.from;
		if (parse_is(p, ':') && !set_number(p, &r.to))
			return false;
		if (out->n == cap)
			out->v = arena_grow(p->a, out->v, out->n, &cap, sizeof(*out->v));
		out->v[out->n++] = r;
	} while (parse_is(p, ','));
	return true;
}

static int by_from(const void *a, const void *b)
{
	const struct range *x = a, *y = b;
	return x->from < y->from ? -1 : x->from > y->from;
}

void numset_resolve(struct numset *s, uint32_t star)
{
	size_t kept = 0;
	for (size_t i = 0; i < s->n; i++) {
		struct range *r = &s->v[i];
		if (r->from == UINT32_MAX)
			r->from = star;
		if (r->to == UINT32_MAX)
			r->to = star;
		if (r->from > r->to) {
			uint32_t t = r->from;
			r->from = r->to;
			r->to = t;
		}
	}
	qsort(s->v, s->n, sizeof(*s->v), by_from);
	for (size_t i = 0; i < s->n; i++) {
		if (kept && s->v[i].from <= s->v[kept - 1].to) {
			if (s->v[i].to > s->v[kept - 1].to)
				s->v[kept - 1].to = s->v[i].to;
		} else {
			s->v[kept++] = s->v[i];
		}
	}
	s->n = kept;
}

bool numset_has(const struct numset *s, uint32_t n)
{
	size_t lo = 0, hi = s->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->v[mid].to < n)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->n && s->v[lo].from <= n;
}

/* ---- flags ---- */
static const struct {
	const char *name;
	uint32_t flag;
} system_flags[] = { { "Seen", MSG_SEEN },
		     { "Answered", MSG_ANSWERED },
		     { "Flagged", MSG_FLAGGED },
		     { "Deleted", MSG_DELETED },
		     { "Draft", MSG_DRAFT } };

static bool one_flag(struct parse *p, struct flag_list *out, size_t *cap)
{
	struct span name;
	if (parse_is(p, '\\')) {
		if (!parse_atom(p, &name))
			return false;
		for (size_t i = 0; i < ARRAY_LEN(system_flags); i++)
			if (span_is_ci(name, system_flags[i].name)) {
				out->flags |= system_flags[i].flag;
				return true;
			}
		return parse_fail(p, "Invalid system flag");
	}
	if (!parse_atom(p, &name))
		return false;
	if (name.n > 100 || out->keywords >= STORE_KEYWORDS_MAX)
		return parse_fail(p, "Keyword too long, or too many");
	if (span_is_ci(name, "$Forwarded")) {
		out->flags |= MSG_PASSED;
		return true;
	}
	if (out->keywords == *cap)
		out->keyword = arena_grow(p->a, out->keyword, out->keywords, cap, sizeof(*out->keyword));
	out->keyword[out->keywords++] = name;
	return true;
}

bool parse_flags(struct parse *p, bool bare, struct flag_list *out)
{
	size_t cap = 0;
	memset(out, 0, sizeof(*out));
	bool list = parse_is(p, '(');
	if (!list && !bare)
		return parse_fail(p, "Flag list expected");
	if (list && parse_is(p, ')'))
		return true;
	do {
		if (!one_flag(p, out, &cap))
			return false;
	} while (parse_is(p, ' '));
	return !list || parse_char(p, ')');
}

bool parse_id(struct parse *p)
{
	struct span key, value;
	bool nil, ok;

	if (parse_word_ci(p, "NIL"))
		return true;
	ok = parse_char(p, '(');
	for (unsigned n = 0; ok && !parse_is(p, ')'); n++)
		ok = n < 30 && (!n || parse_sp(p)) && parse_string(p, &key) && parse_sp(p) &&
		     parse_nstring(p, &value, &nil);
	return ok;
}

bool literal_announced(struct span line, uint64_t *n, bool *nonsync)
{
	ptrdiff_t open = span_rchr(line, '{');
	if (open < 0 || !span_ends(line, SPAN("}")))
		return false;
	struct span s = span_skip(line, (size_t)open + 1);
	s.n--;
	*nonsync = s.n && (s.p[s.n - 1] == '+' || s.p[s.n - 1] == '-');
	if (*nonsync)
		s.n--;
	enum rc rc = span_to_u64(s, (uint64_t)1 << 40, n);
	if (rc == RC_LIMIT)
		*n = UINT64_MAX;
	return rc == RC_OK || rc == RC_LIMIT;
}

/* ---- LIST ---- */

/* The first part INBOX stands for the same mailbox in any case (RFC 3501 5.1), in patterns, too. */
static size_t caseless_part(struct span name, char sep)
{
	return span_starts(name, SPAN("INBOX")) && (name.n == 5 || name.p[5] == sep) ? 5 : 0;
}

/* One row of a dynamic program over the name: reach[j] tells whether the pattern so far matches name[0..j).
 */
bool list_match(struct span pattern, struct span name, char sep)
{
	size_t caseless = caseless_part(name, sep);

	bool reach[STORE_NAME_MAX + 2] = { true };
	if (name.n > STORE_NAME_MAX)
		return false;
	for (size_t i = 0; i < pattern.n; i++) {
		char c = pattern.p[i];
		bool any = false;
		if (c == '*' || c == '%') {
			for (size_t j = 0; j <= name.n; j++) {
				if (j && reach[j - 1] && (c == '*' || name.p[j - 1] != sep))
					reach[j] = true;
				any |= reach[j];
			}
		} else {
			for (size_t j = name.n + 1; j-- > 0;) {
				reach[j] = j && reach[j - 1] &&
					   (name.p[j - 1] == c ||
					    (j <= caseless && name.p[j - 1] == ascii_upper(c)));
				any |= reach[j];
			}
		}
		if (!any)
			return false;
	}
	return reach[name.n];
}
