/* router/resolve.c - from an address to its class, transport, next hop and recipient (ADDRESS_CLASS_README,
 * transport(5)). */
#include "router.h"
#include "base/clock.h"
#include "log/log.h"
#include "net/addr.h"
#include "net/idna.h"
#include "service/service.h"
#include "smtp/probe_sender.h"

#define STRIP_MAX 20 /* "a%b%c@here": hops taken off the local part at most */

static void trouble(struct resolved *r, struct arena *a, const char *what, const struct err *e)
{
	log_warning("%s: %s", what, e->text);
	r->code = 451;
	r->dsn = SPAN("4.3.0");
	r->text = span_str(arena_strdup(a, "Temporary lookup failure"));
}

static bool says_why(struct span transport)
{
	return span_is(transport, "error") || span_is(transport, "retry");
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

static bool names_hop(struct span local)
{
	return span_chr(local, '%') >= 0 || span_chr(local, '!') >= 0 || span_chr(local, '@') >= 0;
}

/* While the domain is ours, or none, and the local part names another hop, go there: user%other@here, other!user@. */
static enum rc strip_local_routing(struct span *addr, bool *routed, struct arena *a, struct err *e)
{
	for (int hops = 0; hops < STRIP_MAX; hops++) {
		struct address parts = address_split(*addr);
		struct span local = routing_part(parts.local, a);
		bool percent = span_chr(local, '%') >= 0, bang = span_chr(local, '!') >= 0,
		     at = span_chr(local, '@') >= 0;
		enum rc rc;

		*routed = names_hop(
		    address_unquote(a, parts.local)); /* also what we do not follow: the next host may */
		if (!at && !(percent && router.percent_hack) && !(bang && router.swap_bangpath))
			return RC_OK;
		rc = parts.domain.n > 0 ? own_is_local(&router.own, parts.domain, e) : RC_OK;
		if (rc == RC_AGAIN)
			return rc;
		if (rc != RC_OK)
			return RC_OK;
		*addr = rewrite_address(true, local, a);
	}
	return RC_OK;
}

/* sender_dependent_*: by address, then @domain; the null sender by the key that stands for it. */
static enum rc by_sender(struct maps *m, const char *null_key, struct span sender, struct arena *a,
			 struct span *value, struct err *e)
{
	struct span ext;
	enum rc rc;

	if (maps_empty(m))
		return RC_NOTFOUND;
	if (sender.n == 0)
		return maps_lookup(m, span_str(null_key), a, value, e);
	sender = rewrite_address(true, sender, a); /* a client's MAIL FROM may lack its domain */
	if ((rc = own_has(&router.own, address_split(sender).domain, e)) == RC_AGAIN)
		return rc;
	return maps_find_addr(m, address_unquote(a, sender), FORMS_ADDR, router.extensions, rc == RC_OK,
			      false, a, value, &ext, e);
}

/* Mail that leaves this host: relayhost, or the sender's, stands in for the recipient's domain. */
static enum rc route_offhost(const struct routes *v, struct span sender, struct span domain, struct arena *a,
			     struct resolved *r, struct err *e)
{
	struct span value = SPAN_NONE;
	enum rc rc;

	if (r->class == AC_DEFAULT) {
		rc = by_sender(v->sender_transport, router.null_transport_key, sender, a, &value, e);
		if (rc == RC_AGAIN)
			return rc;
		if (rc != RC_OK || span_is(value, "DUNNO"))
			value = span_str(v->default_transport);
	} else {
		value = span_str(v->relay_transport);
	}
	apply_transport(value, r, SPAN_NONE);
	if (r->nexthop.n)
		return RC_OK;
	rc = by_sender(v->sender_relayhost, router.null_relayhost_key, sender, a, &value, e);
	if (rc == RC_AGAIN)
		return rc;
	if (rc == RC_OK && !span_is(value, "DUNNO"))
		r->nexthop = value;
	else
		r->nexthop = *v->relayhost ? span_str(v->relayhost) : domain;
	return RC_OK;
}

/* A domain is the same one in Unicode and in ASCII, whichever of both the list has. */
static enum rc match_form(struct match_list *l, struct span domain, struct arena *a, struct err *e)
{
	struct span other;
	enum rc rc = match_domain(l, domain, e);

	if (rc == RC_NOTFOUND && idna_other_form(domain, a, &other))
		rc = match_domain(l, other, e);
	return rc;
}

/* Which class, and that class's transport. */
static enum rc classify(const struct routes *v, struct span sender, struct span domain, struct arena *a,
			struct resolved *r, struct err *e)
{
	enum rc rc = own_is_local(&router.own, domain, e);

	if (rc == RC_OK) {
		r->class = AC_LOCAL;
		if (span_is_ci(address_split(r->rcpt).local, router.double_bounce_sender) ||
		    probe_sender_is(service_conf(), r->rcpt, wall_s(wall_now()))) {
			r->transport = SPAN("discard"); /* where notices of notices end */
			r->nexthop = SPAN("undeliverable postmaster notification discarded");
			r->final = true;
			return RC_OK;
		}
		apply_transport(span_str(v->local_transport), r, domain);
		return RC_OK;
	}
	if (rc != RC_NOTFOUND || (rc = match_form(router.valias_domains, domain, a, e)) == RC_AGAIN)
		return rc;
	if (rc == RC_OK) {
		r->class = AC_VIRTUAL_ALIAS; /* whoever is left after alias expansion does not exist */
		r->transport = span_str(conf_str(service_conf(), "error_service_name"));
		r->nexthop = SPAN("5.1.1 User unknown in virtual alias table");
		return RC_OK;
	}
	if ((rc = match_form(router.vmailbox_domains, domain, a, e)) == RC_AGAIN)
		return rc;
	if (rc == RC_OK) {
		r->class = AC_VIRTUAL_MAILBOX;
		apply_transport(span_str(v->virtual_transport), r, domain);
		return RC_OK;
	}
	if ((rc = match_form(router.relay_domains, domain, a, e)) == RC_AGAIN)
		return rc;
	r->class = rc == RC_OK ? AC_RELAY : AC_DEFAULT;
	return route_offhost(v, sender, domain, a, r, e);
}

/* transport_maps: user+ext@domain, user@domain, domain, its parents, "*". */
static enum rc override_transport(struct maps *m, struct span addr, struct span domain, struct arena *a,
				  struct resolved *r, struct err *e)
{
	struct span value, ext;
	enum rc rc;

	if (maps_empty(m) || r->class == AC_VIRTUAL_ALIAS)
		return RC_OK; /* nobody in a virtual alias domain can be delivered to */
	rc = maps_find_addr(m, address_unquote(a, addr),
			    MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_DOMAIN | MAPS_FIND_PARENT_DOMAINS,
			    router.extensions, false, !router.transport_parents, a, &value, &ext, e);
	if (rc == RC_NOTFOUND)
		rc = maps_lookup(m, SPAN("*"), a, &value, e);
	if (rc == RC_OK) {
		ptrdiff_t colon = span_chr(value, ':');

		apply_transport(value, r, domain);
		/* the next hop of error(8) and retry(8) is what the sender is told; ":" leaves what there is */
		if (colon != 0 && says_why(r->transport) && (colon < 0 || (size_t)colon + 1 == value.n))
			r->nexthop = SPAN("Address is undeliverable");
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
	rc = own_has(&router.own, address_split(addr).domain, e);
	if (rc == RC_AGAIN)
		return rc;
	ours = rc == RC_OK;
	rc = maps_find_addr(router.relocated, address_unquote(a, addr), FORMS_ADDR, router.extensions, ours,
			    false, a, &value, &ext, e);
	if (rc == RC_OK) {
		r->moved = true;
		r->transport = span_str(conf_str(service_conf(), "error_service_name"));
		r->nexthop =
		    span_printf(a, "5.1.6 %s" SPAN_FMT, router.relocated_prefix ? "User has moved to " : "",
				SPAN_ARG(value));
	}
	return rc == RC_NOTFOUND ? RC_OK : rc;
}

static bool domain_ok(struct span domain)
{
	if (domain.n > 0 && domain.p[0] == '[')
		return domain_literal_valid(domain);
	return domain_valid(domain, true) && !domain_is_numeric(domain);
}

/* Who is meant by "", by user@ and by ""@here: somebody of this host. */
static struct span with_names(struct span addr, struct arena *a, struct err *e)
{
	struct address parts;

	if (addr.n == 0 || span_is(addr, "\"\""))
		addr = span_str(router.empty_address_recipient);
	while (router.resolve_null_domain && addr.n > 1 && addr.p[addr.n - 1] == '@')
		addr.n--;
	parts = address_split(addr);
	if (parts.domain.n == 0 && addr.p[addr.n - 1] != '@')
		return span_printf(a, SPAN_FMT "@%s", SPAN_ARG(addr), router.myhostname);
	if ((parts.local.n == 0 || span_is(parts.local, "\"\"")) && parts.domain.n > 0 &&
	    own_is_local(&router.own, parts.domain, e) == RC_OK)
		return span_printf(a, "%s@" SPAN_FMT, router.empty_address_recipient, SPAN_ARG(parts.domain));
	return addr;
}

static void bad_syntax(struct resolved *r)
{
	r->transport = span_str(conf_str(service_conf(), "error_service_name"));
	r->nexthop = SPAN("5.1.3 bad address syntax");
}

void resolve_address(struct span sender, struct span addr, bool probe, struct arena *a, struct resolved *r)
{
	const struct routes *v = probe ? &router.probe : &router.mail;
	struct err e = { .text = "" };
	struct inet_addr literal;
	struct span domain;

	*r = (struct resolved){ .class = AC_DEFAULT };
	addr = with_names(addr, a, &e);
	if (strip_local_routing(&addr, &r->routed, a, &e) != RC_OK) {
		trouble(r, a, "mydestination", &e);
		return;
	}
	addr = with_names(addr, a, &e);
	domain = address_split(addr).domain;
	if (router.resolve_numeric_domain && domain_is_numeric(domain) &&
	    inet_addr_parse(domain, &literal) == RC_OK) {
		addr = span_printf(a, SPAN_FMT "@[" SPAN_FMT "]", SPAN_ARG(address_split(addr).local),
				   SPAN_ARG(domain));
		domain = address_split(addr).domain;
	}
	r->rcpt = addr;
	if (!domain_ok(domain)) {
		bad_syntax(r);
		return;
	}
	if (classify(v, sender, domain, a, r, &e) == RC_AGAIN) {
		trouble(r, a, "address resolution", &e);
		return;
	}
	if (r->final)
		return;
	if (override_transport(v->transport, addr, domain, a, r, &e) == RC_AGAIN ||
	    check_relocated(addr, a, r, &e) == RC_AGAIN)
		trouble(r, a, "address resolution", &e);
}

void answer_resolve(struct ipc_call *call, const void *request)
{
	const struct router_resolve *q = request;
	struct resolved r;
	struct router_resolve_reply out = { .code = 0 };

	resolve_address(q->sender, q->addr, q->probe, ipc_call_arena(call), &r);
	out.code = r.code;
	out.dsn = r.dsn;
	out.text = r.text;
	out.class = (uint16_t)r.class;
	out.transport = r.transport;
	out.nexthop = r.nexthop;
	out.rcpt = r.rcpt;
	ipc_reply(call, &out);
}
