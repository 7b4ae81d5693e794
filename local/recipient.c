/* local/recipient.c - a recipient of this host: alias, then account, then nobody we know. */
#include "local.h"
#include "log/log.h"
#include "mime/address.h"
#include "service/service.h"

static void split_recipient(struct local *l, struct place *p)
{
	struct address ad = address_split(address_unquote(l->a, p->rcpt.addr));

	p->domain = local_lower(l->a, ad.domain);
	p->local = local_lower(l->a, ad.local);
	(void)address_split_extension(p->local, local_conf.extensions, &p->user, &p->ext);
	p->ext_left = p->ext;
	if (p->up == NULL || !local_conf.frozen_delivered)
		p->delivered = local_lower(l->a, p->rcpt.addr);
}

static void bounce(struct local *l, const struct place *p, const char *dsn, const char *text)
{
	struct outcome o;

	outcome_set(&o, DS_BOUNCED, dsn, l->a, "%s", text);
	local_report(l, p, &o);
}

/* Mail for postmaster must not come back to its sender as undeliverable when nobody made the alias: it would
 * loop. */
static void unknown(struct local *l, const struct place *p)
{
	const char *luser = conf_raw(service_conf(), "luser_relay");
	struct span transport = SPAN_NONE, to;
	struct err e = { .text = "" };
	struct outcome o;
	enum rc rc = maps_lookup(local_conf.fallbacks, p->user, l->a, &transport, &e);

	if (rc == RC_AGAIN) {
		outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "table lookup failure");
		local_report(l, p, &o);
		return;
	}
	if (rc != RC_OK)
		transport = span_str(conf_str(service_conf(), "fallback_transport"));
	if (transport.n > 0) {
		local_pass(l, p, transport);
	} else if (luser != NULL && luser[0] != '\0' &&
		   local_expand(l, p, NULL, span_str(luser),
				conf_str(service_conf(), "forward_expansion_filter"), &to, &e) == RC_OK &&
		   to.n > 0 && !local_seen(l, "luser", to)) {
		/* An address, whatever it looks like: the stranger's name is in it. */
		struct dest d = { .kind = DEST_ADDRESS, .text = to };
		struct place *q = local_place(l, p);
		q->from = FROM_ALIAS;
		q->as = NULL;
		local_add(l, q, &d);
	} else if (local_alias_loop(l, p)) {
		return;
	} else if (span_is_ci(p->user, "mailer-daemon") || span_is_ci(p->user, "postmaster")) {
		log_warning("required alias not found: " SPAN_FMT, SPAN_ARG(p->user));
		outcome_set(&o, DS_SENT, "2.0.0", l->a, "discarded");
		local_report(l, p, &o);
	} else {
		outcome_set(&o, DS_BOUNCED, "5.1.1", l->a, "unknown user: \"" SPAN_FMT "\"",
			    SPAN_ARG(p->user));
		local_report(l, p, &o);
	}
}

/* Whether mailbox_transport takes all mail, accounts or not. True: it was passed on or deferred. */
static bool by_transport(struct local *l, const struct place *p)
{
	struct span transport = SPAN_NONE;
	struct err e = { .text = "" };
	struct outcome o;
	enum rc rc = maps_lookup(local_conf.transports, p->user, l->a, &transport, &e);

	if (rc == RC_AGAIN) {
		outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "table lookup failure");
		local_report(l, p, &o);
		return true;
	}
	if (rc != RC_OK)
		transport = span_str(conf_str(service_conf(), "mailbox_transport"));
	if (transport.n == 0)
		return false;
	local_pass(l, p, transport);
	return true;
}

static void by_account(struct local *l, struct place *p, bool plain)
{
	struct account *u = NULL;
	struct err e = { .text = "" };
	struct outcome o;
	enum rc rc = account_by_name(p->user, l->a, &u, &e);

	if (rc == RC_AGAIN) {
		log_warning("error looking up passwd info for " SPAN_FMT ": %s", SPAN_ARG(p->user), e.text);
		outcome_set(&o, DS_DEFERRED, "4.0.0", l->a, "user lookup error");
		local_report(l, p, &o);
		return;
	}
	p->as = u;
	if (u != NULL && !plain && local_forward_file(l, p, u))
		return;
	if (by_transport(l, p))
		return;
	if (u == NULL)
		unknown(l, p);
	else
		local_mailbox(l, p);
}

void local_recipient(struct local *l, struct place *p, bool plain)
{
	split_recipient(l, p);
	if (p->local.n == 0 || p->user.n == 0) {
		bounce(l, p, "5.1.3",
		       arena_printf(l->a, "null username in \"" SPAN_FMT "\"", SPAN_ARG(p->rcpt.addr)));
		return;
	}
	if (p->depth > LOCAL_DEPTH_MAX) {
		bounce(l, p, "5.4.6",
		       arena_printf(l->a, "alias database loop for " SPAN_FMT, SPAN_ARG(p->rcpt.addr)));
		return;
	}
	if (agent_was_delivered(l->header, local_lower(l->a, p->rcpt.addr))) {
		bounce(l, p, "5.4.6",
		       arena_printf(l->a, "mail forwarding loop for " SPAN_FMT, SPAN_ARG(p->rcpt.addr)));
		return;
	}
	if (p->local.p[0] == '\\' && p->local.n > 1) { /* as sendmail(1) -bs users write it */
		plain = true;
		p->user = span_skip(p->user, 1);
	}
	if (plain || !local_alias(l, p))
		by_account(l, p, plain);
}
