/* local/pass.c - mailbox_transport and its like: another agent delivers, and answers as it would answer qmgr.
 */
#include "local.h"
#include "log/log.h"
#include "service/service.h"

#define PASS_S 18000

static bool pick(const struct local *l, const struct deliver_reply *r, struct outcome *o)
{
	const struct deliver_result *v = r->results.v;

	if (r->results.n != 1 || v->status < DS_SENT || v->status > DS_PASSED)
		return false;
	*o = (struct outcome){ .status = (enum deliver_status)v->status,
			       .dsn = arena_cstr(l->a, v->dsn),
			       .reason = v->reason,
			       .relay = v->relay,
			       .unlogged = true };
	return true;
}

void local_pass(struct local *l, const struct place *p, struct span transport)
{
	struct span rest = transport, service = SPAN_NONE;
	struct deliver_rcpt rcpt = p->rcpt;
	struct deliver q = *l->m->d;
	struct deliver_reply r;
	struct outcome o;
	struct err e = { .text = "" };

	(void)span_next(&rest, ':', &service);
	if (rest.n == 0)
		rest = l->m->d->nexthop;
	if (local_seen(l, "pass", p->rcpt.addr))
		return;
	rcpt.index = agent_rcpt(l->m, l->i)->index;
	q.service = service;
	q.nexthop = rest;
	q.rcpts = (struct ipc_list){ &rcpt, 1 };
	q.active_us = l->m->d->active_us;
	if (span_eq(service, l->m->d->service))
		(void)err_set(&e, RC_DENIED, "transport " SPAN_FMT " leads back to itself",
			      SPAN_ARG(service));
	else if (service_request(arena_cstr(l->a, service), false, IPC_DELIVER, &q, &r, l->a,
				 deadline_s(PASS_S), &e) == RC_OK &&
		 pick(l, &r, &o)) {
		local_report(l, p, &o);
		return;
	}
	log_warning("transport " SPAN_FMT ": %s", SPAN_ARG(service), e.text);
	outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "mail transport unavailable");
	local_report(l, p, &o);
}
