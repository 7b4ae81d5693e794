/* router/resolve.c - from an address to its class, transport, next hop and recipient (ADDRESS_CLASS_README,
 * transport(5)). */
#include "router.h"
#include "log/log.h"
#include "service/service.h"

#define STRIP_MAX 20 /* "a%b%c@here": hops taken off the local part at most */

static void trouble(struct resolved *r, struct arena *a, const char *what, const struct err *e)
{
	log_warning("%s: %s", what, e->text);
	r->code = 451;
	r->dsn = SPAN("4.3.0");
	r->text = span_str(arena_strdup(a, "Temporary lookup failure"));
}

/* "transport:nexthop": either part may be empty and then leaves what was there. */
static void apply_transport(struct span value, struct resolved *r, struct span domain)
{
	ptrdiff_t colon = span_chr(value, ':');
	struct span transport = colon < 0 ? value : span_head(value, (size_t)colon);
	struct span nexthop = colon < 0 ? SPAN_NONE : span_skip(value, (size_t)colon + 1);

	if (transport.n) {
		r->transport = transport;
		r->nexthop = nexthop.n ? nexthop : domain;
	} else if (nexthop.n) {
		r->nexthop = nexthop;
	}
}

/* The local part in which routing is looked for: resolve_dequoted_address counts what is inside quotes. */
static struct span routing_part(struct span local, struct arena *a)
{
	if (!local.n || local.p[0] != '"')
		return local;
	return router.resolve_dequoted ? address_unquote(a, local) : SPAN_NONE;
}

/* While the domain is ours and the local part names another hop, go there: user%other@here, other!user@here.
 */
static enum rc strip_local_routing(struct span *addr, bool *routed, struct arena *a, struct err *e)
{
	for (int hops = 0; hops < STRIP_MAX; hops++) {
		struct address parts = address_split(*addr);
		struct span local = routing_part(parts.local, a);
		bool hop = (router.percent_hack && span_chr(local, '%') > 0) ||
			   (router.swap_bangpath && span_chr(local, '!') > 0) || span_chr(local, '@') >= 0;
		enum rc rc;

		*routed = hop;
		if (!hop)
			return RC_OK;
		rc = router_domain_local(parts.domain, e);
		if (rc == RC_AGAIN)
			return rc;
		if (rc != RC_OK)
			return RC_OK;
		*addr = rewrite_address(true, local, a);
	}
	return RC_OK;
}

/* sender_dependent_*: by address, then @domain. */
static enum rc by_sender(struct maps *m, struct span sender, struct arena *a, struct span *value,
			 struct err *e)
{
	struct span ext;

	if (maps_empty(m))
		return RC_NOTFOUND;
	if (sender.n == 0)
		sender = SPAN("<>");
	return maps_find_addr(m, address_unquote(a, sender),
			      MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_AT_DOMAIN, router.delimiter, false,
			      false, a, value, &ext, e);
}

/* Mail that leaves this host: relayhost, or the sender's, stands in for the recipient's domain. */
static enum rc route_offhost(struct span sender, struct span domain, struct arena *a, struct resolved *r,
			     struct err *e)
{
	struct span value = SPAN_NONE;
	enum rc rc;

	if (r->class == AC_DEFAULT) {
		rc = by_sender(router.sender_transport, sender, a, &value, e);
		if (rc == RC_AGAIN)
			return rc;
		if (rc != RC_OK || span_is(value, "DUNNO"))
			value = span_str(router.default_transport);
	} else {
		value = span_str(router.relay_transport);
	}
	apply_transport(value, r, SPAN_NONE);
	if (r->nexthop.n)
		return RC_OK;
	rc = by_sender(router.sender_relayhost, sender, a, &value, e);
	if (rc == RC_AGAIN)
		return rc;
	if (rc == RC_OK && !span_is(value, "DUNNO"))
		r->nexthop = value;
	else
		r->nexthop = *router.relayhost ? span_str(router.relayhost) : domain;
	return RC_OK;
}

/* Which class, and that class's transport. */
static enum rc classify(struct span sender, struct span domain, struct arena *a, struct resolved *r,
			struct err *e)
{
	enum rc rc = router_domain_local(domain, e);

	if (rc == RC_OK) {
		r->class = AC_LOCAL;
		if (span_is_ci(address_split(r->rcpt).local, router.double_bounce_sender)) {
			r->transport = SPAN("discard"); /* where notices of notices end */
			r->nexthop = SPAN("undeliverable postmaster notification discarded");
			return RC_OK;
		}
		apply_transport(span_str(router.local_transport), r, domain);
		return RC_OK;
	}
	if (rc != RC_NOTFOUND || (rc = match_domain(router.valias_domains, domain, e)) == RC_AGAIN)
		return rc;
	if (rc == RC_OK) {
		r->class = AC_VIRTUAL_ALIAS; /* whoever is left after alias expansion does not exist */
		r->transport = SPAN("error");
		r->nexthop = SPAN("5.1.1 User unknown in virtual alias table");
		return RC_OK;
	}
	if ((rc = match_domain(router.vmailbox_domains, domain, e)) == RC_AGAIN)
		return rc;
	if (rc == RC_OK) {
		r->class = AC_VIRTUAL_MAILBOX;
		apply_transport(span_str(router.virtual_transport), r, domain);
		return RC_OK;
	}
	if ((rc = match_domain(router.relay_domains, domain, e)) == RC_AGAIN)
		return rc;
	r->class = rc == RC_OK ? AC_RELAY : AC_DEFAULT;
	return route_offhost(sender, domain, a, r, e);
}

/* transport_maps: user+ext@domain, user@domain, domain, its parents, "*". */
static enum rc override_transport(struct span addr, struct span domain, struct arena *a, struct resolved *r,
				  struct err *e)
{
	struct span value, ext;
	enum rc rc;

	if (maps_empty(router.transport) || r->class == AC_VIRTUAL_ALIAS)
		return RC_OK; /* nobody in a virtual alias domain can be delivered to */
	rc = maps_find_addr(router.transport, address_unquote(a, addr),
			    MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_DOMAIN | MAPS_FIND_PARENT_DOMAINS,
			    router.delimiter, false, !router.transport_parents, a, &value, &ext, e);
	if (rc == RC_NOTFOUND)
		rc = maps_lookup(router.transport, SPAN("*"), a, &value, e);
	if (rc == RC_OK) {
		ptrdiff_t colon = span_chr(value, ':');

		if (colon == 0 && value.n > 1) /* ":nexthop" overrides relayhost only */
			r->nexthop = span_skip(value, 1);
		else
			apply_transport(value, r, domain);
	}
	return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc check_relocated(struct span addr, struct arena *a, struct resolved *r, struct err *e)
{
	struct span value, ext;
	enum rc rc;
	bool ours;

	if (maps_empty(router.relocated))
		return RC_OK;
	rc = router_domain_local(address_split(addr).domain, e);
	if (rc == RC_AGAIN)
		return rc;
	ours = rc == RC_OK || span_is_ci(address_split(addr).domain, router.myorigin);
	rc = maps_find_addr(router.relocated, address_unquote(a, addr),
			    MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART | MAPS_FIND_AT_DOMAIN,
			    router.delimiter, ours, false, a, &value, &ext, e);
	if (rc == RC_OK) {
		r->transport = SPAN("error");
		r->nexthop = span_printf(a, "5.1.6 User has moved to " SPAN_FMT, SPAN_ARG(value));
	}
	return rc == RC_NOTFOUND ? RC_OK : rc;
}

void resolve_address(struct span sender, struct span addr, struct arena *a, struct resolved *r)
{
	struct err e = { .text = "" };
	struct span domain;

	*r = (struct resolved){ .class = AC_DEFAULT };
	if (addr.n == 0)
		addr = span_str(router.empty_address_recipient);
	if (address_split(addr).domain.n == 0 &&
	    addr.p[addr.n - 1] != '@') /* written by hand, or append_at_myorigin off */
		addr = span_printf(a, SPAN_FMT "@%s", SPAN_ARG(addr), router.myorigin);
	if (strip_local_routing(&addr, &r->routed, a, &e) != RC_OK) {
		trouble(r, a, "mydestination", &e);
		return;
	}
	domain = address_split(addr).domain;
	if (domain_is_numeric(
		domain)) { /* "user@192.0.2.1": no name of a host; meant is the literal, if anything */
		domain = router.resolve_numeric_domain ? span_printf(a, "[" SPAN_FMT "]", SPAN_ARG(domain))
						       : SPAN_NONE;
		addr = span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(address_split(addr).local),
				   SPAN_ARG(domain.n ? domain : address_split(addr).domain));
	}
	r->rcpt = addr;
	if (domain.n == 0 || address_split(addr).local.n == 0 ||
	    (!router.allow_min_user && addr.p[0] == '-') ||
	    (domain.p[0] != '[' && !domain_valid(domain, true))) {
		r->transport = SPAN("error");
		r->nexthop = SPAN("5.1.3 Bad recipient address syntax");
		return;
	}
	if (classify(sender, domain, a, r, &e) == RC_AGAIN ||
	    override_transport(addr, domain, a, r, &e) == RC_AGAIN ||
	    check_relocated(addr, a, r, &e) == RC_AGAIN)
		trouble(r, a, "address resolution", &e);
}

void answer_resolve(struct ipc_call *call, const void *request)
{
	const struct router_resolve *q = request;
	struct resolved r;
	struct router_resolve_reply out = { .code = 0 };

	resolve_address(q->sender, q->addr, ipc_call_arena(call), &r);
	out.code = r.code;
	out.dsn = r.dsn;
	out.text = r.text;
	out.class = (uint16_t)r.class;
	out.transport = r.transport;
	out.nexthop = r.nexthop;
	out.rcpt = r.rcpt;
	ipc_reply(call, &out);
}
