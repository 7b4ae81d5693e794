/* router/rewrite.c - addresses in standard form (the rules of ADDRESS_REWRITING: source routes, bang paths,
 * percent hack, incomplete domains), then canonical tables and masquerading. */
#include "router.h"
#include "log/log.h"
#include "service/service.h"

/* Is one of the places behind `from` and before `to`? */
static bool any_in(const struct address_places *p, ptrdiff_t from, ptrdiff_t to)
{
	return (p->first > from && p->first < to) || (p->last > from && p->last < to);
}

/* A name that needs nothing behind it has more than one label, or is a literal. */
static bool complete_in(const struct address_loose *l, ptrdiff_t from, ptrdiff_t to)
{
	return any_in(&l->dots, from, to) || any_in(&l->literals, from, to);
}

/* An address without '@': "site!user" and "user%site" name a domain in other ways; quotes take that meaning away.
 * *complete: of the domain. */
static void other_forms(struct address_loose *l, bool *complete)
{
	struct span all = l->local;

	*complete = complete_in(l, l->has_at ? l->at : (ptrdiff_t)l->local.n, PTRDIFF_MAX);
	if (l->has_at)
		return;
	if (router.swap_bangpath && l->bang >= 0) {
		l->local = span_skip(all, (size_t)l->bang + 1);
		l->domain = span_head(all, (size_t)l->bang);
		*complete = complete_in(l, -1, l->bang);
	} else if (router.percent_hack && l->percent >= 0) {
		l->local = span_head(all, (size_t)l->percent);
		l->domain = span_skip(all, (size_t)l->percent + 1);
		*complete = complete_in(l, l->percent, PTRDIFF_MAX);
	} else {
		return;
	}
	l->has_at = true;
}

/* What was read as a domain may hold an '@' of a quoted string or a comment: the last one parts, for all that read
 * the result. */
static void settle(struct address_loose *l, struct arena *a)
{
	ptrdiff_t at = span_rchr(l->domain, '@');

	if (at < 0)
		return;
	l->local = span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(l->local),
			       SPAN_ARG(span_head(l->domain, (size_t)at)));
	l->domain = span_skip(l->domain, (size_t)at + 1);
}

/* "user@host." is complete, "user@host" gets its domain. `parent`: of the context, "" none. */
static struct span complete_domain(struct span domain, bool complete, const char *parent, struct arena *a)
{
	size_t n = domain.n;

	if (n > 1 && domain.p[n - 1] == '.' && domain.p[n - 2] != '.')
		return span_head(domain, n - 1);
	if (n == 0 || !*parent || complete)
		return domain;
	return span_printf(a, SPAN_FMT ".%s", SPAN_ARG(domain), parent);
}

struct span rewrite_address(bool local, struct span addr, struct arena *a)
{
	const char *origin =
	    local ? (router.append_at_myorigin ? router.own.myorigin : "") : router.remote_domain;
	const char *parent =
	    local ? (router.append_dot_mydomain ? router.mydomain : "") : router.remote_domain;
	struct address_loose l;
	bool complete;

	if (addr.n == 0)
		return addr;
	address_read(addr, a, &l);
	if (l.local.n == 0 && l.domain.n == 0) /* "@", a quote, white space: nobody */
		return SPAN("\"\"");
	other_forms(&l, &complete);
	settle(&l, a);
	if (l.has_at) { /* "user@" stays what it is: no address */
		struct span domain = complete_domain(l.domain, complete, parent, a);
		if (local && router.old_append && domain.n > l.domain.n)
			log_info(OLD_DEFAULT "append_dot_mydomain=yes to rewrite \"" SPAN_FMT
					     "\" to \"" SPAN_FMT "\"%s",
				 SPAN_ARG(l.domain), SPAN_ARG(domain),
				 span_is_ci(l.domain, "localhost")
				     ? "; please add \"localhost\" to mydestination or other address class"
				     : "");
		return address_join(a, l.local, domain);
	}
	return *origin ? address_join(a, l.local, span_str(origin)) : address_quote_local(a, l.local);
}

struct span router_add_extension(struct span addr, struct span ext, struct arena *a)
{
	struct address parts = address_split(addr);
	struct span local = address_unquote(a, parts.local);

	local = span_printf(a, SPAN_FMT SPAN_FMT, SPAN_ARG(local), SPAN_ARG(ext));
	return parts.domain.n ? address_join(a, local, parts.domain) : address_quote_local(a, local);
}

/* A canonical table has one address for one; of several the first is taken. */
static struct span first_address(struct span value, struct span addr, struct arena *a)
{
	struct mailbox *box;
	size_t n;

	(void)address_list_parse(value, a, 2, &box, &n);
	if (n == 0 || box[0].group_start || box[0].group_end)
		return span_trim(value);
	if (n > 1)
		log_warning("multi-valued canonical_maps entry for " SPAN_FMT, SPAN_ARG(addr));
	return mailbox_address(a, &box[0]);
}

/* The result of a canonical look-up is an address that may lack its domain ("@other" keeps the local part). */
static struct span complete_result(const struct view *v, struct span value, struct span addr, struct span ext,
				   struct arena *a)
{
	value = first_address(value, addr, a);
	if (value.n && value.p[0] == '@')
		value =
		    span_printf(a, SPAN_FMT SPAN_FMT, SPAN_ARG(address_split(addr).local), SPAN_ARG(value));
	else if (ext.n && v->ext_canonical)
		value = router_add_extension(value, ext, a);
	return rewrite_address(true, value, a);
}

static enum rc map_step(const struct view *v, struct maps *m, struct span addr, struct arena *a,
			struct span *out, struct err *e)
{
	struct address parts = address_split(addr);
	struct span value, ext;
	enum rc rc;
	bool ours;

	if (maps_empty(m))
		return RC_NOTFOUND;
	rc = own_has(&v->own, parts.domain, e);
	if (rc == RC_AGAIN)
		return rc;
	ours = rc == RC_OK;
	rc = maps_find_addr(m, address_unquote(a, addr),
			    MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT | MAPS_FIND_LOCALPART |
				MAPS_FIND_AT_DOMAIN,
			    v->extensions, ours, false, a, &value, &ext, e);
	if (rc != RC_OK)
		return rc;
	*out = complete_result(v, value, addr, ext, a);
	return RC_OK;
}

#define CANONICAL_STEPS_MAX 1000

/* A result is looked up again until it has none of its own, or is the same (canonical(5)). */
static enum rc map_once(const struct view *v, struct maps *m, struct span addr, struct arena *a,
			struct span *out, struct err *e)
{
	enum rc rc = RC_OK;

	for (int i = 0; i < CANONICAL_STEPS_MAX; i++) {
		struct span was = addr;

		if ((rc = map_step(v, m, addr, a, out, e)) != RC_OK)
			return rc == RC_NOTFOUND && i > 0 ? RC_OK : rc;
		addr = *out;
		if (span_eq_ci(was, addr))
			return RC_OK;
	}
	return err_set(e, RC_AGAIN, "unreasonable canonical map nesting for " SPAN_FMT, SPAN_ARG(addr));
}

/* masquerade_domains: "host.example.com" -> "example.com"; "!sub" domains are left alone;
 * masquerade_exceptions name users. */
static struct span masquerade(const struct view *v, struct span addr, struct arena *a)
{
	struct address parts = address_split(addr);

	for (size_t i = 0; i < v->masq_exceptions; i++)
		if (span_eq_ci(parts.local, v->masq_exception[i]))
			return addr;
	for (size_t i = 0; i < v->masq_domains && parts.domain.n; i++) {
		struct span d = v->masq_domain[i];
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

enum rc rewrite_mapped(const struct view *v, unsigned role, struct span addr, struct arena *a,
		       struct span *out, struct err *e)
{
	*out = addr;
	if (v->fault)
		return err_set(e, RC_AGAIN, "%s", v->fault);
	if (addr.n == 0)
		return RC_OK;
	if ((role & v->sender_canonical_roles) &&
	    map_once(v, v->sender_canonical, *out, a, out, e) == RC_AGAIN)
		return RC_AGAIN;
	if ((role & v->rcpt_canonical_roles) && map_once(v, v->rcpt_canonical, *out, a, out, e) == RC_AGAIN)
		return RC_AGAIN;
	if ((role & v->canonical_roles) && map_once(v, v->canonical, *out, a, out, e) == RC_AGAIN)
		return RC_AGAIN;
	if (role & v->masquerade_roles)
		*out = masquerade(v, *out, a);
	return RC_OK;
}

void answer_rewrite(struct ipc_call *call, const void *request)
{
	const struct router_rewrite *q = request;
	struct arena *a = ipc_call_arena(call);
	const struct view *v = view_of_call(call);
	struct router_rewrite_reply r = { .code = 0 };
	struct addr_item *out = arena_array(a, q->addrs.n + 1, sizeof(*out));
	struct err e = { .rc = RC_OK };

	for (size_t i = 0; i < q->addrs.n; i++) {
		out[i].addr = rewrite_address(q->local, ((const struct addr_item *)q->addrs.v)[i].addr, a);
		if (q->role && rewrite_mapped(v, q->role, out[i].addr, a, &out[i].addr, &e) == RC_AGAIN) {
			r.code = 451;
			r.text = span_printf(a, "4.3.0 Temporary lookup failure: %s", e.text);
		}
	}
	r.addrs = (struct ipc_list){ out, q->addrs.n };
	ipc_reply(call, &r);
}
