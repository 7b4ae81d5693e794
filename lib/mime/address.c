/* mime/address.c - RFC 5321 paths. Address lists of RFC 5322 are in address_list.c. */
#include "mime/address.h"
#include "base/codec.h"
#include "net/addr.h"

#define DOMAIN_MAX 253 /* RFC 1035 2.3.4 without the final dot */
#define LABEL_MAX  63

static bool is_atext(unsigned char c, bool utf8) /* RFC 5322 3.2.3, RFC 6531 3.3 */
{
	if (c >= 0x80)
		return utf8;
	return ascii_isalnum((char)c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* Length of the quoted string at the start of s, 0 when there is none. */
static size_t quoted_length(struct span s, bool utf8)
{
	if (s.n < 2 || s.p[0] != '"')
		return 0;
	for (size_t i = 1; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"')
			return i + 1;
		if (c == '\\') {
			i++; /* quoted-pairSMTP: any printable or space */
			if (i >= s.n || !ascii_isprint(s.p[i]))
				return 0;
		} else if (!(c >= 0x20 && c < 0x7f) && !(c >= 0x80 && utf8)) {
			return 0;
		}
	}
	return 0;
}

/* Length of a local part: quoted string or atoms and dots. Dots may stand anywhere ("a..b.", which some
 * networks issue and RFC 5321 forbids): Postfix takes them, and refusing would lose mail that works today. */
static size_t local_length(struct span s, bool utf8)
{
	size_t n = quoted_length(s, utf8);

	if (n > 0)
		return n;
	while (n < s.n && (is_atext((unsigned char)s.p[n], utf8) || s.p[n] == '.'))
		n++;
	return n;
}

struct address address_split(struct span addr)
{
	struct address out = { addr, SPAN_NONE };
	size_t start = 0;
	ptrdiff_t at;

	if (addr.n && addr.p[0] == '"') { /* an '@' inside quotes does not count */
		size_t q = quoted_length(addr, true);

		start = q ? q : 0;
	}
	at = span_rchr(span_skip(addr, start), '@');
	if (at < 0)
		return out;
	out.local = span_head(addr, start + (size_t)at);
	out.domain = span_skip(addr, start + (size_t)at + 1);
	return out;
}

static bool label_valid(struct span l, bool utf8)
{
	if (l.n == 0 || l.n > LABEL_MAX || l.p[0] == '-' || l.p[l.n - 1] == '-')
		return false;
	for (size_t i = 0; i < l.n; i++) {
		unsigned char c = (unsigned char)l.p[i];

		/* The underscore is no LDH character, but host names with it send mail every day. */
		if (!ascii_isalnum((char)c) && c != '-' && c != '_' && !(c >= 0x80 && utf8))
			return false;
	}
	return true;
}

bool domain_valid(struct span domain, bool utf8)
{
	struct span label;

	if (domain.n == 0 || domain.n > DOMAIN_MAX || domain.p[domain.n - 1] == '.')
		return false;
	while (span_next(&domain, '.', &label))
		if (!label_valid(label, utf8))
			return false;
	return true;
}

bool domain_is_numeric(struct span domain)
{
	for (size_t i = 0; i < domain.n; i++)
		if (!ascii_isdigit(domain.p[i]) && domain.p[i] != '.')
			return false;
	return domain.n > 0;
}

bool domain_literal_valid(struct span domain)
{
	struct inet_addr addr;
	struct span text;

	if (domain.n < 3 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
		return false;
	text = span_make(domain.p + 1, domain.n - 2);
	return inet_addr_parse(text, &addr) == RC_OK &&
	       span_starts_ci(text, SPAN("IPv6:")) == (span_chr(text, ':') >= 0);
}

static bool any_domain_valid(struct span domain, bool utf8)
{
	return domain.n && domain.p[0] == '[' ? domain_literal_valid(domain) : domain_valid(domain, utf8);
}

/* "@a,@b:" in front of the mailbox (RFC 5321 appendix C): its length, 0 none, or -1 malformed. */
static ptrdiff_t route_length(struct span text, bool utf8)
{
	ptrdiff_t colon = -1;
	bool literal = false;
	struct span rest, hop;

	if (text.n == 0 || text.p[0] != '@')
		return 0;
	for (size_t i = 0; i < text.n && colon < 0; i++) {
		if (text.p[i] == '[' || text.p[i] == ']')
			literal = text.p[i] == '[';
		else if (text.p[i] == ':' && !literal)
			colon = (ptrdiff_t)i;
	}
	if (colon < 0)
		return -1;
	rest = span_head(text, (size_t)colon);
	while (span_next(&rest, ',', &hop))
		if (hop.n < 2 || hop.p[0] != '@' || !any_domain_valid(span_skip(hop, 1), utf8))
			return -1;
	return colon + 1;
}

enum rc address_parse_path(struct span text, bool utf8, struct arena *a, struct span *out, bool *routed)
{
	ptrdiff_t route = route_length(text, utf8);
	struct span box, domain;
	size_t n;

	if (route < 0)
		return RC_SYNTAX;
	*routed = route > 0;
	box = span_skip(text, (size_t)route);
	n = local_length(box, utf8);
	if (n == 0 || (utf8 && !utf8_valid(box)))
		return RC_SYNTAX;
	if (n == box.n) { /* no domain: "postmaster" (RFC 5321 4.5.1), completed by rewriting */
		*out = span_dup(a, box);
		return RC_OK;
	}
	if (box.p[n] != '@')
		return RC_SYNTAX;
	domain = span_skip(box, n + 1);
	if (domain.n > 1 && domain.p[domain.n - 1] == '.') /* a fully qualified name written with its root */
		domain.n--;
	if (!any_domain_valid(domain, utf8))
		return RC_SYNTAX;
	*out = span_dup(a, box); /* with the dot: it says that nothing is to be appended */
	return RC_OK;
}

bool address_valid(struct span addr, bool utf8)
{
	struct address parts = address_split(addr);

	return (!utf8 || utf8_valid(addr)) && parts.domain.n && parts.local.n &&
	       local_length(parts.local, utf8) == parts.local.n && any_domain_valid(parts.domain, utf8);
}

struct span address_unquote(struct arena *a, struct span external)
{
	size_t q = quoted_length(external, true), n = 0;
	char *p;

	if (q == 0)
		return external;
	p = arena_alloc(a, external.n);
	for (size_t i = 1; i + 1 < q; i++) {
		if (external.p[i] == '\\')
			i++;
		p[n++] = external.p[i];
	}
	if (external.n > q) /* never with n == 0: span.p stays valid */
		memcpy(p + n, external.p + q, external.n - q);
	return span_make(p, n + external.n - q);
}

/* RFC 5321 4.1.2 Dot-string: what needs no quotes. */
static bool is_dot_string(struct span s)
{
	if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.' || s.p[0] == '"')
		return false;
	return local_length(s, true) == s.n && span_find(s, SPAN("..")) < 0;
}

struct span address_quote_local(struct arena *a, struct span local)
{
	size_t n = 0;
	char *p;

	if (is_dot_string(local))
		return local;
	p = arena_alloc(a, 2 * local.n + 2);
	p[n++] = '"';
	for (size_t i = 0; i < local.n; i++) {
		if (local.p[i] == '"' || local.p[i] == '\\')
			p[n++] = '\\';
		p[n++] = local.p[i];
	}
	p[n++] = '"';
	return span_make(p, n);
}

struct span address_quote(struct arena *a, struct span internal)
{
	ptrdiff_t at = span_rchr(internal, '@');
	struct span local = at < 0 ? internal : span_head(internal, (size_t)at);

	if (is_dot_string(local))
		return internal;
	local = address_quote_local(a, local);
	return at < 0 ? local
		      : span_printf(a, SPAN_FMT SPAN_FMT, SPAN_ARG(local),
				    SPAN_ARG(span_skip(internal, (size_t)at)));
}

struct address_extensions address_extensions_of(const struct conf *c)
{
	return (struct address_extensions){ .delimiters = conf_str(c, "recipient_delimiter"),
					    .owner_requests = conf_bool(c, "owner_request_special") };
}

/* Names that mail systems look up whole: a delimiter of '-' must not split them. */
static bool is_reserved_local(struct span local, bool owner_requests)
{
	return (owner_requests &&
		(span_starts_ci(local, SPAN("owner-")) || span_ends_ci(local, SPAN("-request")))) ||
	       span_is_ci(local, "mailer-daemon") || span_is_ci(local, "double-bounce") ||
	       span_is_ci(local, "postmaster");
}

bool address_split_extension(struct span local, struct address_extensions x, struct span *user,
			     struct span *ext)
{
	*user = local;
	*ext = SPAN_NONE;
	if (!*x.delimiters || (strchr(x.delimiters, '-') && is_reserved_local(local, x.owner_requests)))
		return false;
	for (size_t i = 1; i < local.n; i++) { /* not at 0: "+x" is a name */
		if (!local.p[i] || !strchr(x.delimiters, local.p[i]))
			continue;
		*user = span_head(local, i);
		*ext = span_skip(local, i + 1);
		return true;
	}
	return false;
}

struct span address_lower_domain(struct arena *a, struct span addr)
{
	struct address parts = address_split(addr);
	size_t i = parts.domain.n ? addr.n - parts.domain.n : addr.n;
	char *p;

	for (size_t k = i; k < addr.n; k++) {
		if (addr.p[k] == ascii_lower(addr.p[k]))
			continue;
		p = arena_alloc(a, addr.n);
		memcpy(p, addr.p, addr.n);
		for (; k < addr.n; k++)
			p[k] = ascii_lower(p[k]);
		return span_make(p, addr.n);
	}
	return addr;
}
