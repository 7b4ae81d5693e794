/* map/own_domains.c - the domains whose addresses tables may name by the local part alone. */
#include "map/own_domains.h"
#include "conf/conf.h"
#include "net/interfaces.h"

struct own_domains {
	struct span myorigin;
	struct match_list *mydestination, *addresses;
};

static enum rc open_addresses(const struct conf *c, struct match_list **out, struct err *e)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	own_addresses(c, &b);
	proxy_addresses(c, &b);
	enum rc rc = match_list_open("inet_interfaces", buf_span(&b), 0, out, e);
	buf_release(&b);
	return rc;
}

enum rc own_domains_open(const struct conf *c, struct own_domains **out, struct err *e)
{
	struct own_domains *o = xcalloc(1, sizeof *o);

	o->myorigin = span_str(conf_str(c, "myorigin"));
	*out = o;
	enum rc rc = open_addresses(c, &o->addresses, e);
	if (rc != RC_OK)
		return rc;
	return match_list_open("mydestination", span_str(conf_str(c, "mydestination")), MATCH_EXACT,
			       &o->mydestination, e);
}

enum rc own_domains_have(struct own_domains *o, struct span domain, struct err *e)
{
	if (!domain.n)
		return RC_NOTFOUND;
	if (domain.n > 2 && domain.p[0] == '[') {
		struct span ip = span_make(domain.p + 1, domain.n - 2);

		return match_host(o->addresses, SPAN_NONE,
				  span_starts_ci(ip, SPAN("ipv6:")) ? span_skip(ip, 5) : ip, e);
	}
	return span_eq_ci(domain, o->myorigin) ? RC_OK : match_domain(o->mydestination, domain, e);
}
