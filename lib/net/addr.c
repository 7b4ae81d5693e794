/* net/addr.c - IP addresses and networks (RFC 4291 section 2.2 for the text of IPv6). */
#include "net/addr.h"

#include <arpa/inet.h>
#include <net/if.h>

static unsigned addr_bytes(const struct inet_addr *a)
{
	return a->family == AF_INET ? 4 : 16;
}

/* IPv4-mapped addresses are IPv4 addresses. */
static void unmap(struct inet_addr *a)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	if (a->family != AF_INET6 || memcmp(a->b, mapped, sizeof mapped) != 0)
		return;
	memmove(a->b, a->b + 12, 4);
	memset(a->b + 4, 0, 12);
	a->family = AF_INET;
	a->scope = 0;
}

static struct span without_brackets(struct span text)
{
	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		return span_make(text.p + 1, text.n - 2);
	return text;
}

/* "%2" behind a link-local address; names of interfaces are not asked for. */
static enum rc take_scope(struct span *text, uint32_t *scope)
{
	uint64_t n;
	ptrdiff_t at = span_chr(*text, '%');
	*scope = 0;
	if (at < 0)
		return RC_OK;
	enum rc rc = span_to_u64(span_skip(*text, (size_t)at + 1), UINT32_MAX, &n);
	*scope = rc == RC_OK ? (uint32_t)n : 0;
	*text = span_head(*text, (size_t)at);
	return rc;
}

enum rc inet_addr_parse(struct span text, struct inet_addr *out)
{
	char s[INET_TEXT_MAX];
	struct inet_addr a = { .family = AF_INET };
	text = without_brackets(text);
	if (span_starts_ci(text, SPAN("IPv6:"))) {
		text = span_skip(text, 5);
		a.family = AF_INET6;
	} else if (span_chr(text, ':') >= 0) {
		a.family = AF_INET6;
	}
	if (a.family == AF_INET6 && take_scope(&text, &a.scope) != RC_OK)
		return RC_SYNTAX;
	if (span_cstr(text, s, sizeof s) != RC_OK || inet_pton(a.family, s, a.b) != 1)
		return RC_SYNTAX;
	unmap(&a);
	*out = a;
	return RC_OK;
}

void inet_addr_text(const struct inet_addr *a, char out[INET_TEXT_MAX])
{
	if (inet_ntop(a->family, a->b, out, INET_TEXT_MAX) == NULL) {
		snprintf(out, INET_TEXT_MAX, "unknown");
		return;
	}
	if (a->scope != 0) {
		size_t n = strlen(out);
		snprintf(out + n, INET_TEXT_MAX - n, "%%%u", a->scope);
	}
}

void inet_addr_from_bytes(int family, const void *bytes, struct inet_addr *out)
{
	*out = (struct inet_addr){ .family = family };
	memcpy(out->b, bytes, addr_bytes(out));
	unmap(out);
}

void inet_addr_from_sockaddr(const struct sockaddr_storage *ss, struct inet_addr *out, uint16_t *port)
{
	*out = (struct inet_addr){ .family = AF_INET };
	if (port != NULL)
		*port = 0;
	if (ss->ss_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, ss, sizeof in);
		inet_addr_from_bytes(AF_INET, &in.sin_addr, out);
		if (port != NULL)
			*port = ntohs(in.sin_port);
	} else if (ss->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, ss, sizeof in6);
		inet_addr_from_bytes(AF_INET6, &in6.sin6_addr, out);
		out->scope = out->family == AF_INET6 ? in6.sin6_scope_id : 0;
		if (port != NULL)
			*port = ntohs(in6.sin6_port);
	}
}

socklen_t inet_addr_to_sockaddr(const struct inet_addr *a, uint16_t port, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof *ss);
	if (a->family == AF_INET6) {
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
					    .sin6_port = htons(port),
					    .sin6_scope_id = a->scope };
		memcpy(&in6.sin6_addr, a->b, 16);
		memcpy(ss, &in6, sizeof in6);
		return sizeof in6;
	}
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	memcpy(&in.sin_addr, a->b, 4);
	memcpy(ss, &in, sizeof in);
	return sizeof in;
}

/* Whether the first `bits` bits agree. */
static bool prefix_eq(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	if (memcmp(a, b, bits / 8) != 0)
		return false;
	unsigned rest = bits % 8;
	return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

static void clear_host_bits(struct inet_addr *a, unsigned bits)
{
	for (unsigned i = 0; i < addr_bytes(a); i++)
		a->b[i] &= (uint8_t)(i < bits / 8 ? 0xff : i > bits / 8 ? 0 : 0xff00 >> (bits % 8));
}

/* "addr", "addr/mask", "[addr]/mask", "[addr/mask]". *mask.p NULL: none. */
static enum rc split_net(struct span text, struct span *addr, struct span *mask, struct err *e)
{
	struct span rest = SPAN_NONE;
	ptrdiff_t at;

	*addr = text;
	*mask = SPAN_NONE;
	if (text.n && *text.p == '[') {
		if ((at = span_chr(text, ']')) < 0)
			return err_set(e, RC_SYNTAX, "missing ']' character after \"" SPAN_FMT "\"",
				       SPAN_ARG(text));
		*addr = span_skip(span_head(text, (size_t)at), 1);
		rest = span_skip(text, (size_t)at + 1);
		if (rest.n && *rest.p != '/')
			return err_set(e, RC_SYNTAX, "garbage after \"" SPAN_FMT "\"",
				       SPAN_ARG(span_head(text, (size_t)at + 1)));
	}
	if (rest.n) {
		*mask = span_skip(rest, 1);
	} else if ((at = span_chr(*addr, '/')) >= 0) {
		*mask = span_skip(*addr, (size_t)at + 1);
		*addr = span_head(*addr, (size_t)at);
	}
	return RC_OK;
}

static enum rc parse_mask(struct span addr, struct span mask, struct inet_net *n, struct err *e)
{
	/* "::ffff:127.0.0.0/104", which Debian writes into mynetworks, is 127.0.0.0/8. */
	bool mapped = n->addr.family == AF_INET && span_chr(addr, ':') >= 0;
	uint64_t bits = n->addr.family == AF_INET && !mapped ? 32 : 128;
	enum rc rc = mask.p ? span_to_u64(mask, bits, &bits) : RC_OK;

	if (mapped && rc == RC_OK && bits < 96)
		rc = RC_LIMIT;
	else if (mapped)
		bits -= 96;
	if (rc != RC_OK)
		return err_set(e, RC_SYNTAX, "bad mask %s in \"" SPAN_FMT "/" SPAN_FMT "\"",
			       rc == RC_LIMIT ? "length" : "value", SPAN_ARG(addr), SPAN_ARG(mask));
	n->bits = (unsigned)bits;
	return RC_OK;
}

enum rc inet_net_parse(struct span text, struct inet_net *out, struct err *e)
{
	struct span addr, mask;
	struct inet_net n;
	enum rc rc = split_net(text, &addr, &mask, e);

	if (rc != RC_OK)
		return rc;
	if (inet_addr_parse(addr, &n.addr) != RC_OK)
		return mask.p
			   ? err_set(e, RC_SYNTAX, "bad network value in \"" SPAN_FMT "/" SPAN_FMT "\"",
				     SPAN_ARG(addr), SPAN_ARG(mask))
			   : err_set(e, RC_SYNTAX, "bad address pattern: \"" SPAN_FMT "\"", SPAN_ARG(addr));
	if ((rc = parse_mask(addr, mask, &n, e)) != RC_OK)
		return rc;
	struct inet_addr clean = n.addr;
	clear_host_bits(&clean, n.bits);
	if (memcmp(clean.b, n.addr.b, addr_bytes(&clean)) != 0) {
		char s[INET_TEXT_MAX];
		inet_addr_text(&clean, s);
		return err_set(e, RC_SYNTAX,
			       "non-null host address bits in \"" SPAN_FMT "/" SPAN_FMT
			       "\", perhaps you should use \"%s/%u\" instead",
			       SPAN_ARG(addr), SPAN_ARG(mask), s, n.bits);
	}
	*out = n;
	return RC_OK;
}

bool inet_net_has(const struct inet_net *n, const struct inet_addr *a)
{
	return n->addr.family == a->family && prefix_eq(n->addr.b, a->b, n->bits);
}

bool inet_addr_eq(const struct inet_addr *a, const struct inet_addr *b)
{
	return a->family == b->family && a->scope == b->scope && memcmp(a->b, b->b, addr_bytes(a)) == 0;
}

void inet_addr_reverse_name(const struct inet_addr *a, char out[80])
{
	static const char hex[] = "0123456789abcdef";
	if (a->family == AF_INET) {
		snprintf(out, 80, "%u.%u.%u.%u.in-addr.arpa", a->b[3], a->b[2], a->b[1], a->b[0]);
		return;
	}
	char *p = out;
	for (int i = 15; i >= 0; i--) {
		*p++ = hex[a->b[i] & 15];
		*p++ = '.';
		*p++ = hex[a->b[i] >> 4];
		*p++ = '.';
	}
	memcpy(p, "ip6.arpa", sizeof "ip6.arpa");
}
