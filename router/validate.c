/* router/validate.c - may this recipient be accepted? One question per RCPT: class, relay authority,
 * existence (LOCAL_RECIPIENT_README, smtpd_reject_unlisted_recipient). */
#include "router.h"
#include "base/clock.h"
#include "service/service.h"
#include "smtp/dsn.h"
#include "smtp/probe_sender.h"

static enum rc known_in(const struct view *v, struct maps *m, struct span addr, bool ours, struct arena *a,
			struct err *e)
{
	struct span value, ext;

	if (maps_empty(m))
		return RC_NOTFOUND;
	return maps_find_addr(m, address_unquote(a, addr), FORMS_ADDR, v->extensions, ours, false, a, &value,
			      &ext, e);
}

/* The table that says who exists in a class, and what to say of others. An empty table: everybody. */
struct listed {
	const char *name;
	struct maps *table;
	uint16_t code;
};

static struct listed listed_in(const struct view *v, enum addr_class class)
{
	switch (class) {
	case AC_LOCAL:
		return (struct listed){ "local recipient", v->local_rcpt, v->unknown_local_code };
	case AC_VIRTUAL_ALIAS:
		return (struct listed){ "virtual alias", v->valias, v->unknown_valias_code };
	case AC_VIRTUAL_MAILBOX:
		return (struct listed){ "virtual mailbox", v->vmailbox, v->unknown_vmailbox_code };
	case AC_RELAY:
		return (struct listed){ "relay recipient", v->relay_rcpt, v->unknown_relay_code };
	case AC_DEFAULT:
		break;
	}
	return (struct listed){ "", NULL, 550 };
}

/* Mail that error(8) or retry(8) would return is refused where it comes in. That unknown aliases go there says
 * nothing: their table decides. */
static bool to_error(const struct resolved *r)
{
	return r->moved || (r->class != AC_VIRTUAL_ALIAS &&
			    (span_is(r->transport, "error") || span_is(r->transport, "retry")));
}

/* The next hop says why; without a status in it there is none in the answer. */
static void refuse_by_transport(const struct resolved *r, struct router_validate_reply *out)
{
	out->code = span_is(r->transport, "retry") ? 450 : 550;
	out->dsn = SPAN_NONE;
	out->text = r->nexthop;
	(void)dsn_take(&out->text, "45", &out->dsn);
}

/* RC_OK known or not to be checked, RC_NOTFOUND unknown, RC_AGAIN. */
static enum rc find_recipient(const struct view *v, const struct resolved *r,
			      struct router_validate_reply *out, struct arena *a, struct err *e)
{
	struct address parts = address_split(r->rcpt);
	struct maps *any[] = { v->rcpt_canonical, v->canonical, v->valias };
	struct maps *table = listed_in(v, r->class).table;
	bool ours;
	enum rc rc;

	if (r->class == AC_DEFAULT && !to_error(r)) /* most mail: no table is worth it */
		return RC_OK;
	/* Who answers for the system always exists (RFC 5321 section 4.5.1). */
	if (r->class == AC_LOCAL &&
	    (span_is_ci(parts.local, router.double_bounce_sender) || span_is_ci(parts.local, "postmaster") ||
	     span_is_ci(parts.local, "mailer-daemon") ||
	     probe_sender_is(service_conf(), r->rcpt, wall_s(wall_now()))))
		return RC_OK;
	if ((rc = own_has(&v->own, parts.domain, e)) == RC_AGAIN)
		return rc;
	ours = rc == RC_OK;
	for (size_t i = 0; i < ARRAY_LEN(any); i++)
		if ((rc = known_in(v, any[i], r->rcpt, ours, a, e)) != RC_NOTFOUND)
			return rc;
	if (to_error(r)) {
		refuse_by_transport(r, out);
		return RC_OK;
	}
	if (r->class != AC_VIRTUAL_ALIAS && maps_empty(table))
		return RC_OK;
	return known_in(v, table, r->rcpt, ours, a, e);
}

void answer_validate(struct ipc_call *call, const void *request)
{
	const struct router_validate *q = request;
	struct arena *a = ipc_call_arena(call);
	const struct view *v = view_of_call(call);
	struct router_validate_reply out = { .code = 0 };
	struct resolved r;
	struct err e = { .text = "" };
	enum rc rc;

	resolve_address(q->sender, rewrite_address(true, q->addr, a), false, a, &r);
	out.code = r.code;
	out.dsn = r.dsn;
	out.text = r.text;
	out.class = (uint16_t)r.class;
	out.routed = r.routed && !router.allow_untrusted_routing;
	out.authorized = r.class != AC_DEFAULT;
	out.rcpt = r.rcpt;
	out.transport = r.transport;
	out.nexthop = r.nexthop;
	if (r.code == 0 && span_is(r.transport, conf_str(service_conf(), "error_service_name")) &&
	    r.class != AC_VIRTUAL_ALIAS && span_starts(r.nexthop, SPAN("5.1.3"))) {
		out.code = 501;
		out.dsn = SPAN("5.1.3");
		out.text = SPAN("Bad recipient address syntax");
	} else if (r.code == 0 && !q->skip_known) {
		rc = v->fault ? RC_AGAIN : find_recipient(v, &r, &out, a, &e);
		if (rc == RC_NOTFOUND) {
			out.code = listed_in(v, r.class).code;
			out.dsn = out.code >= 500 ? SPAN("5.1.1") : SPAN("4.1.1");
			out.text = span_printf(a, "User unknown in %s table", listed_in(v, r.class).name);
		} else if (rc == RC_AGAIN) {
			out.code = 451;
			out.dsn = SPAN("4.3.0");
			out.text = SPAN("Temporary lookup failure");
		}
	}
	ipc_reply(call, &out);
}
