/* restrict_address.c - restrictions that look at sender and recipient. */
#include "restrict.h"

static bool use_sender(const struct session *s, struct check *c)
{
	if (s->tx == NULL)
		return false;
	c->subject = address_unquote(c->a, s->tx->sender);
	return true;
}

static bool use_rcpt(struct check *c)
{
	c->subject = address_unquote(c->a, c->rcpt);
	return c->rcpt.n > 0;
}

const struct router_validate_reply *restrict_validated(struct session *s, struct check *c)
{
	struct router_validate_reply *r;

	if (c->validated == NULL) {
		r = arena_alloc(c->a, sizeof(*r));
		if (ask_router(s->tx != NULL ? s->tx->sender : SPAN_NONE, c->rcpt, !conf.reject_unlisted_rcpt,
			       c->a, r) != RC_OK)
			*r = (struct router_validate_reply){ .code = 451,
							     .dsn = SPAN("4.3.0"),
							     .text = SPAN("Temporary lookup failure") };
		c->validated = r;
	}
	return c->validated;
}

static bool plain(struct span addr)
{
	struct address a = address_split(addr);

	return addr.n == 0 || (a.domain.n > 0 && addr.p[addr.n - 1] != '.' && span_chr(a.local, '%') < 0 &&
			       span_chr(a.local, '!') < 0 && addr.p[0] != '@');
}

struct span restrict_canonical(struct session *s, struct check *c, struct span addr)
{
	struct router_validate_reply v = { .code = 0 };

	if (plain(addr)) /* most are: no question is worth it */
		return addr;
	if (span_eq(addr, c->rcpt))
		v = *restrict_validated(s, c);
	else if (ask_router(SPAN_NONE, addr, true, c->a, &v) != RC_OK)
		return addr;
	return v.rcpt.n > 0 ? v.rcpt : addr;
}

/* ---- relaying ---- */

static enum outcome cannot_say(struct session *s, struct check *c)
{
	c->subject = c->rcpt;
	return restrict_trouble(s, c);
}

/* The recipient may be relayed to, or is here. */
static bool relay_allowed(const struct router_validate_reply *v)
{
	return v->authorized && (!v->routed || conf.untrusted_routing);
}

void restrict_tell_relay(struct session *s, struct check *c)
{
	const struct router_validate_reply *v;
	struct err e;

	if (!conf.old_no_relay_list || !use_rcpt(c) || run_sasl(s, c, NULL) == PERMIT ||
	    match_host(conf.mynetworks, s->client.name, s->client.addr, &e) == RC_OK)
		return;
	v = restrict_validated(s, c);
	if (!router_failed(v) && !relay_allowed(v))
		log_info(OLD_DEFAULT
			 "\"smtpd_relay_restrictions = (empty)\" to avoid \"Relay access denied\" "
			 "error for recipient \"" SPAN_FMT "\" from client \"%s\"",
			 SPAN_ARG(c->rcpt), session_client(s));
}

static bool destination_ok(const struct check *c, const struct router_validate_reply *v)
{
	if (!relay_allowed(v))
		return false;
	if (conf.old_relay && v->class == AC_RELAY)
		log_info(OLD_DEFAULT "relay_domains=$mydestination to accept mail for domain \"" SPAN_FMT
				     "\"",
			 SPAN_ARG(address_split(c->rcpt).domain));
	return true;
}

enum outcome run_permit_auth_destination(struct session *s, struct check *c, const struct rule *r)
{
	const struct router_validate_reply *v;

	(void)r;
	if (!use_rcpt(c))
		return DUNNO;
	v = restrict_validated(s, c);
	if (router_failed(v))
		return cannot_say(s, c);
	return destination_ok(c, v) ? PERMIT : DUNNO;
}

/* The wall that keeps this from being an open relay: whoever is not sure refuses. */
enum outcome run_unauth_destination(struct session *s, struct check *c, const struct rule *r)
{
	const struct router_validate_reply *v;

	if (!use_rcpt(c))
		return DUNNO;
	v = restrict_validated(s, c);
	if (destination_ok(c, v))
		return DUNNO;
	if (router_failed(v))
		return cannot_say(s, c);
	if (r->def->which == 1)
		return restrict_reject(s, c, 454, "4.7.1", "Relay access denied");
	return restrict_reject(s, c, conf.code.relay, "5.7.1", "Relay access denied");
}

/* The hosts at the top of the list, all within permit_mx_backup_networks. */
static bool primaries_known(const struct dns_answer *mx, struct check *c)
{
	uint16_t best = UINT16_MAX;

	for (size_t i = 0; i < mx->n; i++)
		if (mx->rr[i].pref < best)
			best = mx->rr[i].pref;
	for (size_t i = 0; i < mx->n; i++) {
		struct dns_answer ans;
		struct err e;
		bool known = false;

		if (mx->rr[i].pref != best)
			continue;
		if (dns_query(mx->rr[i].target, DNS_A, c->a, &ans, deadline_s(60), &e) != RC_OK)
			return false;
		for (size_t k = 0; k < ans.n && !known; k++) {
			char text[INET_TEXT_MAX];

			inet_addr_text(&ans.rr[k].addr, text);
			known = match_host(conf.backup_networks, SPAN_NONE, span_str(text), &e) == RC_OK;
		}
		if (!known)
			return false;
	}
	return true;
}

static bool is_own_host(struct span host, struct check *c)
{
	struct dns_answer ans;
	struct err e;

	if (dns_query(host, DNS_A, c->a, &ans, deadline_s(60), &e) != RC_OK)
		return false;
	for (size_t k = 0; k < ans.n; k++) {
		char text[INET_TEXT_MAX];

		inet_addr_text(&ans.rr[k].addr, text);
		if (match_host(conf.local_ip, SPAN_NONE, span_str(text), &e) == RC_OK)
			return true;
	}
	return false;
}

/* This host is among those that take the domain's mail. */
enum outcome run_mx_backup(struct session *s, struct check *c, const struct rule *r)
{
	const struct router_validate_reply *v;
	struct dns_answer mx;
	struct span domain;
	struct err e;
	bool own = false;

	(void)r;
	if (!use_rcpt(c))
		return DUNNO;
	v = restrict_validated(s, c);
	if (router_failed(v))
		return cannot_say(s, c);
	if (v->authorized && (!v->routed || conf.untrusted_routing))
		return PERMIT;
	domain = address_split(restrict_canonical(s, c, c->rcpt)).domain;
	if (v->routed || domain.n == 0 || domain.p[0] == '[')
		return DUNNO;
	switch (dns_query(domain, DNS_MX, c->a, &mx, deadline_s(60), &e)) {
	case RC_OK:
		break;
	case RC_NOTFOUND:
	case RC_SYNTAX:
		return DUNNO;
	default:
		return restrict_defer_if_permit(s, c, "4.4.4",
						"Unable to look up mail exchanger information");
	}
	for (size_t i = 0; i < mx.n && !own; i++)
		own = is_own_host(mx.rr[i].target, c);
	if (!own || (!match_list_empty(conf.backup_networks) && !primaries_known(&mx, c)))
		return DUNNO;
	return PERMIT;
}

/* ---- form ---- */

enum outcome run_non_fqdn_address(struct session *s, struct check *c, const struct rule *r)
{
	bool rcpt = r->def->which == 1;
	struct span domain;

	if (!(rcpt ? use_rcpt(c) : use_sender(s, c)) || c->subject.n == 0)
		return DUNNO;
	domain = address_split(rcpt ? c->rcpt : s->tx->sender).domain;
	if (domain.n > 1 && domain.p[domain.n - 1] == '.')
		domain.n--;
	if (domain.n == 0 && rcpt && span_is_ci(c->subject, "postmaster")) /* RFC 5321 section 4.5.1 */
		return DUNNO;
	if (domain.n > 0 && (domain.p[0] == '[' || span_chr(domain, '.') > 0))
		return DUNNO;
	return restrict_reject(s, c, conf.code.non_fqdn, "5.5.2",
			       "%s address rejected: need fully-qualified address",
			       rcpt ? "Recipient" : "Sender");
}

/* ---- domains that mail can be sent to ---- */

/* RC_OK exists; RC_NOTFOUND; RC_DENIED null MX (RFC 7505); RC_AGAIN. */
static enum rc find_mail_host(struct span domain, struct arena *a)
{
	static const enum dns_type types[] = { DNS_MX, DNS_A, DNS_AAAA };
	bool trouble = false;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct dns_answer ans;
		struct err e;
		enum rc rc = dns_query(domain, types[i], a, &ans, deadline_s(60), &e);

		if (rc == RC_OK)
			return types[i] == DNS_MX && ans.n == 1 && ans.rr[0].target.n == 0 ? RC_DENIED
											   : RC_OK;
		if (rc ==
		    RC_DENIED) { /* smtpd_dns_reply_filter: there is something, which is not to be seen */
			log_warning(SPAN_FMT ": MX or address lookup error: %s", SPAN_ARG(domain), e.text);
			return RC_OK;
		}
		trouble |= rc != RC_NOTFOUND && rc != RC_SYNTAX;
	}
	return trouble ? RC_AGAIN : RC_NOTFOUND;
}

/* RC_OK: a domain of ours, which needs no DNS; RC_AGAIN: a table that would say so cannot be asked. */
static enum rc is_ours(struct session *s, struct check *c, struct span addr)
{
	struct router_validate_reply v;

	if (span_eq(addr, c->rcpt))
		v = *restrict_validated(s, c);
	else if (ask_router(SPAN_NONE, addr, true, c->a, &v) != RC_OK)
		return RC_AGAIN;
	if (router_failed(&v))
		return RC_AGAIN;
	return v.authorized && v.class != AC_RELAY ? RC_OK : RC_NOTFOUND;
}

enum outcome run_unknown_domain(struct session *s, struct check *c, const struct rule *r)
{
	bool rcpt = r->def->which == 1;
	const char *who = rcpt ? "Recipient" : "Sender";
	const char *dsn = rcpt ? "4.1.2" : "4.1.8";
	struct span domain, addr;
	enum rc rc;

	if (!(rcpt ? use_rcpt(c) : use_sender(s, c)) || c->subject.n == 0)
		return DUNNO;
	addr = rcpt ? c->rcpt : s->tx->sender;
	domain = address_split(restrict_canonical(s, c, addr)).domain;
	if (domain.n == 0 || domain.p[0] == '[')
		return DUNNO;
	if ((rc = is_ours(s, c, addr)) != RC_NOTFOUND)
		return rc == RC_OK ? DUNNO : restrict_trouble(s, c);
	switch (find_mail_host(domain, c->a)) {
	case RC_OK:
		return DUNNO;
	case RC_DENIED:
		return restrict_reject(s, c, rcpt ? 556 : 550, rcpt ? "5.1.10" : "5.7.27",
				       "%s address rejected: Domain " SPAN_FMT
				       " does not accept mail (nullMX)",
				       who, SPAN_ARG(span_head(domain, 255)));
	case RC_NOTFOUND:
		return restrict_reject(s, c, conf.code.unknown_address, dsn,
				       "%s address rejected: Domain not found", who);
	default:
		if (conf.defer_unknown_address)
			return restrict_reject(s, c, 450, dsn, "%s address rejected: Domain not found", who);
		return restrict_defer_if_permit(s, c, dsn, "%s address rejected: Domain not found", who);
	}
}

/* ---- existence ---- */

/* Of error(8) and retry(8): the one in their next hop, as it fits who is refused. */
static struct span transport_dsn(const struct router_validate_reply *v, bool rcpt, struct arena *a)
{
	if (v->dsn.n == 0)
		return span_printf(a, "%c.1.%c", v->code >= 500 ? '5' : '4', rcpt ? '1' : '0');
	return restrict_fitting_dsn(rcpt ? "Recipient address" : "Sender address", v->dsn, a);
}

static enum outcome say_unlisted(struct session *s, struct check *c, const struct router_validate_reply *v,
				 bool rcpt)
{
	const char *who = rcpt ? "Recipient" : "Sender";
	struct span dsn = v->dsn, text = v->text;
	ptrdiff_t in;

	if (router_failed(v))
		return cannot_say(s, c);
	if (span_is(v->transport, "error") || span_is(v->transport, "retry"))
		dsn = transport_dsn(v, rcpt, c->a);
	else if (!rcpt && span_ends(dsn, SPAN(".1.1"))) /* RFC 3463: X.1.1 is of destinations */
		dsn = span_printf(c->a, "%c.1.%c", v->code >= 500 ? '5' : '4',
				  v->class == AC_VIRTUAL_ALIAS ? '7' : '0');
	if (!conf.show_table && v->class != AC_VIRTUAL_ALIAS && span_starts(text, SPAN("User unknown in ")) &&
	    (in = span_find(text, SPAN(" in "))) > 0)
		text = span_head(text, (size_t)in);
	s->unlisted = true;
	return restrict_reject_bare(s, c, v->code, dsn,
				    span_printf(c->a, "<" SPAN_FMT ">: %s address rejected: " SPAN_FMT,
						SPAN_ARG(c->subject), who, SPAN_ARG(text)));
}

enum outcome run_unlisted(struct session *s, struct check *c, const struct rule *r)
{
	bool rcpt = r->def->which == 1;
	struct router_validate_reply v;

	if (conf.takes_unlisted || !(rcpt ? use_rcpt(c) : use_sender(s, c)) || c->subject.n == 0)
		return DUNNO;
	if (rcpt && conf.reject_unlisted_rcpt)
		v = *restrict_validated(s, c);
	else if (!rcpt && span_is_ci(s->tx->sender, "postmaster")) /* always there: RFC 5321 section 4.5.1 */
		return DUNNO;
	else if (ask_router(SPAN_NONE, rcpt ? c->rcpt : s->tx->sender, false, c->a, &v) != RC_OK)
		return restrict_trouble(s, c);
	return v.code == 0 ? DUNNO : say_unlisted(s, c, &v, rcpt);
}

/* ---- who owns a sender address ---- */

static bool owner_is(struct span owners, struct span login)
{
	struct span word;

	while (span_next_word(&owners, ", \t\r\n", &word))
		if (span_eq_ci(word, login))
			return true;
	return false;
}

static enum outcome login_mismatch(struct session *s, struct check *c, struct span owners, bool known)
{
	if (s->client.sasl_user.n > 0 && !(known ? owner_is(owners, s->client.sasl_user) : false))
		return restrict_reject(s, c, 553, "5.7.1",
				       "Sender address rejected: not owned by user " SPAN_FMT,
				       SPAN_ARG(span_head(s->client.sasl_user, 200)));
	if (s->client.sasl_user.n == 0 && known)
		return restrict_reject(s, c, 553, "5.7.1", "Sender address rejected: not logged in");
	return DUNNO;
}

enum outcome run_login_mismatch(struct session *s, struct check *c, const struct rule *r)
{
	enum { BOTH, KNOWN, AUTHENTICATED, UNAUTHENTICATED } which = (unsigned)r->def->which;
	struct span owners = SPAN_NONE, ext;
	struct err e;
	bool logged_in = s->client.sasl_user.n > 0;
	enum rc rc;

	if (!conf.auth || !use_sender(s, c) || c->subject.n == 0 || (which == AUTHENTICATED && !logged_in) ||
	    (which == UNAUTHENTICATED && logged_in))
		return DUNNO;
	if ((rc = own_domains_have(conf.own, address_split(c->subject).domain, &e)) == RC_AGAIN)
		return restrict_trouble(s, c);
	rc = maps_find_addr(conf.login_maps, c->subject,
			    MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT | MAPS_FIND_LOCALPART |
				MAPS_FIND_AT_DOMAIN,
			    conf.extensions, rc == RC_OK, false, c->a, &owners, &ext, &e);
	if (rc != RC_OK && rc != RC_NOTFOUND)
		return restrict_trouble(s, c);
	if (which == KNOWN && rc == RC_NOTFOUND)
		return DUNNO;
	if (which == BOTH && !logged_in && rc == RC_NOTFOUND)
		return DUNNO;
	return login_mismatch(s, c, owners, rc == RC_OK);
}

/* A bounce has one recipient (RFC 5321 section 4.5.5 and its answer to backscatter). */
enum outcome run_multi_bounce(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	if (s->tx == NULL || s->tx->sender.n > 0)
		return DUNNO;
	if (c->stage < AT_DATA ? s->tx->rcpts == 0 : s->tx->rcpts < 2)
		return DUNNO;
	return restrict_reject(s, c, conf.code.multi_bounce, "5.5.3", "%s rejected: Multi-recipient bounce",
			       c->class);
}
