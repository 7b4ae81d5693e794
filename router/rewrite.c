/* router/rewrite.c - addresses in standard form (the rules of ADDRESS_REWRITING: source routes, bang paths,
 * percent hack, incomplete domains), then canonical tables and masquerading. */
#include "router.h"
#include "service/service.h"

/* "@a,@b:user@c" -> "user@c" */
static struct span without_route(struct span addr)
{
	ptrdiff_t colon = addr.n && addr.p[0] == '@' ? span_chr(addr, ':') : -1;

	return colon < 0 ? addr : span_skip(addr, (size_t)colon + 1);
}

static bool is_quoted(struct span local)
{
	return local.n && local.p[0] == '"';
}

/* An address without '@': "site!user" and "user%site" name a domain in other ways. */
static struct span other_forms(struct span addr, struct arena *a)
{
	ptrdiff_t at;

	if (is_quoted(addr) || address_split(addr).domain.n)
		return addr;
	if (router.swap_bangpath && (at = span_chr(addr, '!')) > 0)
		return span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(span_skip(addr, (size_t)at + 1)),
				   SPAN_ARG(span_head(addr, (size_t)at)));
	if (router.percent_hack && (at = span_rchr(addr, '%')) > 0)
		return span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(span_head(addr, (size_t)at)),
				   SPAN_ARG(span_skip(addr, (size_t)at + 1)));
	return addr;
}

struct span rewrite_address(bool local, struct span addr, struct arena *a)
{
	const char *origin =
	    local ? (router.append_at_myorigin ? router.myorigin : "") : router.remote_domain;
	struct address parts;
	size_t n;

	if (addr.n == 0)
		return addr;
	addr = other_forms(without_route(addr), a);
	parts = address_split(addr);
	if (parts.domain.n == 0) { /* "user@" stays what it is: no address */
		if (*origin && addr.p[addr.n - 1] != '@')
			addr = span_printf(a, SPAN_FMT "@%s", SPAN_ARG(addr), origin);
		return address_external(a, addr);
	}
	n = parts.domain.n;
	if (n > 1 && parts.domain.p[n - 1] == '.' && parts.domain.p[n - 2] != '.')
		addr.n--; /* the root's dot: complete already */
	else if (local && router.append_dot_mydomain && *router.mydomain && parts.domain.p[0] != '[' &&
		 span_chr(parts.domain, '.') < 0)
		addr = span_printf(a, SPAN_FMT ".%s", SPAN_ARG(addr), router.mydomain);
	return address_external(a, addr);
}

/* The result of a canonical or virtual look-up is an address that may lack its domain ("@other" keeps the
 * local part). */
static struct span complete_result(struct span value, struct span addr, struct span ext, struct arena *a)
{
	struct address parts;

	value = span_trim(value);
	parts = address_split(value);
	if (value.n && value.p[0] == '@')
		value =
		    span_printf(a, SPAN_FMT SPAN_FMT, SPAN_ARG(address_split(addr).local), SPAN_ARG(value));
	else if (ext.n && router.ext_canonical && parts.domain.n)
		value = span_printf(a, SPAN_FMT SPAN_FMT "@" SPAN_FMT, SPAN_ARG(parts.local), SPAN_ARG(ext),
				    SPAN_ARG(parts.domain));
	else if (ext.n && router.ext_canonical)
		value = span_printf(a, SPAN_FMT SPAN_FMT, SPAN_ARG(value), SPAN_ARG(ext));
	return rewrite_address(true, value, a);
}

static enum rc map_step(struct maps *m, struct span addr, struct arena *a, struct span *out, struct err *e)
{
	struct address parts = address_split(addr);
	struct span value, ext;
	enum rc rc;
	bool ours;

	if (maps_empty(m))
		return RC_NOTFOUND;
	rc = router_domain_is_ours(parts.domain, e);
	if (rc == RC_AGAIN)
		return rc;
	ours = rc == RC_OK;
	rc = maps_find_addr(m, address_unquote(a, addr),
			    MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT | MAPS_FIND_LOCALPART |
				MAPS_FIND_AT_DOMAIN,
			    router.delimiter, ours, false, a, &value, &ext, e);
	if (rc != RC_OK)
		return rc;
	*out = complete_result(value, addr, ext, a);
	return RC_OK;
}

#define CANONICAL_STEPS_MAX 1000

/* A result is looked up again until it has none of its own, or is the same (canonical(5)). */
static enum rc map_once(struct maps *m, struct span addr, struct arena *a, struct span *out, struct err *e)
{
	enum rc rc = RC_OK;

	for (int i = 0; i < CANONICAL_STEPS_MAX; i++) {
		struct span was = addr;

		if ((rc = map_step(m, addr, a, out, e)) != RC_OK)
			return rc == RC_NOTFOUND && i > 0 ? RC_OK : rc;
		addr = *out;
		if (span_eq_ci(was, addr))
			return RC_OK;
	}
	return err_set(e, RC_AGAIN, "unreasonable canonical map nesting for " SPAN_FMT, SPAN_ARG(addr));
}

/* masquerade_domains: "host.example.com" -> "example.com"; "!sub" domains are left alone;
 * masquerade_exceptions name users. */
static struct span masquerade(struct span addr, struct arena *a)
{
	struct address parts = address_split(addr);

	for (size_t i = 0; i < router.masq_exceptions; i++)
		if (span_eq_ci(parts.local, router.masq_exception[i]))
			return addr;
	for (size_t i = 0; i < router.masq_domains && parts.domain.n; i++) {
		struct span d = router.masq_domain[i];
		bool keep = d.n && d.p[0] == '!';

		d = span_skip(d, keep ? 1 : 0);
		if (span_eq_ci(parts.domain, d) ||
		    (parts.domain.n > d.n + 1 && span_ends_ci(parts.domain, d) &&
		     parts.domain.p[parts.domain.n - d.n - 1] == '.'))
			return keep ? addr
				    : span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(parts.local),
						  SPAN_ARG(d));
	}
	return addr;
}

enum rc rewrite_mapped(unsigned role, struct span addr, struct arena *a, struct span *out, struct err *e)
{
	*out = addr;
	if (addr.n == 0)
		return RC_OK;
	if ((role & router.sender_canonical_roles) &&
	    map_once(router.sender_canonical, *out, a, out, e) == RC_AGAIN)
		return RC_AGAIN;
	if ((role & router.rcpt_canonical_roles) &&
	    map_once(router.rcpt_canonical, *out, a, out, e) == RC_AGAIN)
		return RC_AGAIN;
	if ((role & router.canonical_roles) && map_once(router.canonical, *out, a, out, e) == RC_AGAIN)
		return RC_AGAIN;
	if (role & router.masquerade_roles)
		*out = masquerade(*out, a);
	return RC_OK;
}

void answer_rewrite(struct ipc_call *call, const void *request)
{
	const struct router_rewrite *q = request;
	struct arena *a = ipc_call_arena(call);
	struct router_rewrite_reply r = { .code = 0 };
	struct addr_item *out = arena_array(a, q->addrs.n + 1, sizeof(*out));
	struct err e = { .rc = RC_OK };

	for (size_t i = 0; i < q->addrs.n; i++) {
		out[i].addr = rewrite_address(q->local, ((const struct addr_item *)q->addrs.v)[i].addr, a);
		if (q->role && rewrite_mapped(q->role, out[i].addr, a, &out[i].addr, &e) == RC_AGAIN) {
			r.code = 451;
			r.text = span_printf(a, "4.3.0 Temporary lookup failure: %s", e.text);
		}
	}
	r.addrs = (struct ipc_list){ out, q->addrs.n };
	ipc_reply(call, &r);
}
