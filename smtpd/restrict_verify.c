/* restrict_verify.c - reject_unverified_sender and reject_unverified_recipient: what verify(8) knows of an
 * address, or finds out while the client waits. */
#include "restrict.h"
#include "base/clock.h"
#include "smtp/probe_sender.h"

enum { DELIVERABLE = 0, UNDELIVERABLE, TROUBLE, UNKNOWN };

/* The result of a probe often comes within seconds: worth a wait, since the client would have to come again.
 */
static void ask_verify(struct session *s, struct check *c, struct verify_reply *r)
{
	struct verify_query q = { .addr = c->subject };
	struct err e;

	for (int64_t i = 1;; i++) {
		if (service_request(conf.verify_service, true, IPC_VERIFY, &q, r, c->a, deadline_s(60), &e) !=
		    RC_OK) {
			log_warning("%s service failure: %s", conf.verify_service, e.text);
			*r = (struct verify_reply){ TROUBLE, SPAN("address verification problem") };
			return;
		}
		if (r->status != UNKNOWN || i >= conf.verify_polls)
			return;
		if (i == 1)
			session_flush(s, conf.timeout_s);
		task_sleep_ms(conf.verify_delay_s * 1000);
	}
}

/* A code of success, which these parameters may have, lets pass what was found. */
static bool accepted_anyway(bool rcpt, uint16_t status)
{
	return (status == UNDELIVERABLE ? conf.unverified[rcpt].reject : conf.unverified[rcpt].defer) < 400;
}

enum outcome run_unverified(struct session *s, struct check *c, const struct rule *r)
{
	bool rcpt = r->def->which == 1, first = s->defer_if_permit.code == 0;
	const char *who = rcpt ? "Recipient" : "Sender", *dsn = rcpt ? "4.1.1" : "4.1.7", *text;
	struct verify_reply v = { .status = UNKNOWN };

	if (!rcpt && s->tx == NULL)
		return DUNNO;
	/* The sender of probes is not probed: two hosts would ask each other without end. */
	c->subject = rcpt ? c->rcpt : s->tx->sender;
	if (c->subject.n == 0 || probe_sender_is(service_conf(), c->subject, wall_s(wall_now())))
		return DUNNO;
	ask_verify(s, c, &v);
	if (v.status == DELIVERABLE || accepted_anyway(rcpt, v.status))
		return DUNNO;
	text = conf.unverified[rcpt].reason;
	text = arena_printf(c->a, "un%s address: " SPAN_FMT,
			    v.status == UNDELIVERABLE && conf.unverified[rcpt].reject >= 500 ? "deliverable"
											     : "verified",
			    SPAN_ARG(text[0] != '\0' ? span_str(text) : span_head(v.text, 250)));
	if (v.status == UNDELIVERABLE)
		return restrict_reject(s, c, conf.unverified[rcpt].reject, dsn, "%s address rejected: %s",
				       who, text);
	if (conf.unverified[rcpt].defer_action)
		return restrict_reject(s, c, conf.unverified[rcpt].defer, dsn, "%s address rejected: %s", who,
				       text);
	(void)restrict_defer_if_permit(s, c, dsn, "%s address rejected: %s", who, text);
	if (first && s->defer_if_permit.code != 0)
		s->defer_if_permit.code = (uint16_t)conf.unverified[rcpt].defer;
	return DUNNO;
}
