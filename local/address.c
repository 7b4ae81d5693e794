/* local/address.c - addresses of expansions: trivial-rewrite(8) says what they are in full and who delivers
 * them. */
#include "local.h"
#include "service/service.h"

#define ASK_S 100

static enum rc rewrite(struct local *l, struct span addr, struct span *out, struct err *e)
{
	struct addr_item item = { addr };
	struct router_rewrite q = { .local = true, .addrs = { &item, 1 } };
	struct router_rewrite_reply r;
	enum rc rc = service_request(conf_str(service_conf(), "rewrite_service_name"), true,
				     IPC_ROUTER_REWRITE, &q, &r, l->a, deadline_s(ASK_S), e);

	if (rc != RC_OK)
		return RC_AGAIN;
	if (r.code != 0 || r.addrs.n != 1)
		return err_set(e, RC_AGAIN, SPAN_FMT, SPAN_ARG(r.text));
	*out = ((const struct addr_item *)r.addrs.v)[0].addr;
	return RC_OK;
}

enum rc local_resolve(struct local *l, const struct place *p, struct span addr, struct span *out, bool *ours,
		      struct err *e)
{
	struct router_resolve q = { .sender = p->sender };
	struct router_resolve_reply r;
	enum rc rc = rewrite(l, addr, &q.addr, e);

	if (rc != RC_OK)
		return rc;
	*out = q.addr;
	rc = service_request(conf_str(service_conf(), "rewrite_service_name"), true, IPC_ROUTER_RESOLVE, &q,
			     &r, l->a, deadline_s(ASK_S), e);
	if (rc != RC_OK || (r.code >= 400 && r.code < 500))
		return rc != RC_OK ? RC_AGAIN : err_set(e, RC_AGAIN, SPAN_FMT, SPAN_ARG(r.text));
	*ours = r.code == 0 && span_eq(r.transport, l->m->d->service);
	if (r.code == 0)
		*out = r.rcpt;
	return RC_OK;
}
