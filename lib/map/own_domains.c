/* map/own_domains.c - the domains whose addresses tables may name by the local part alone. */
#include "map/own_domains.h"
#include "conf/conf.h"

struct own_domains {
	struct span myorigin;
	struct match_list *mydestination;
};

enum rc own_domains_open(const struct conf *c, struct own_domains **out, struct err *e)
{
	struct own_domains *o = xcalloc(1, sizeof *o);

	o->myorigin = span_str(conf_str(c, "myorigin"));
	*out = o;
	return match_list_open("mydestination", span_str(conf_str(c, "mydestination")), MATCH_EXACT,
			       &o->mydestination, e);
}

enum rc own_domains_have(struct own_domains *o, struct span domain, struct err *e)
{
	if (!domain.n)
		return RC_NOTFOUND;
	return span_eq_ci(domain, o->myorigin) ? RC_OK : match_domain(o->mydestination, domain, e);
}
