/* restrict_helo.c - restrictions that look at the name a client gives itself. */
#include "restrict.h"

static bool literal(struct span name)
{
	return name.n > 0 && name.p[0] == '[';
}

/* A bare address is no name, and an address literal must be one (RFC 5321 section 4.1.3). */
static bool valid(struct span name)
{
	struct inet_addr ip;

	if (literal(name))
		return domain_literal_valid(name);
	return domain_valid(name, conf.smtputf8) && inet_addr_parse(name, &ip) != RC_OK;
}

enum outcome run_invalid_helo(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	if (s->helo.n == 0 || valid(s->helo))
		return DUNNO;
	c->subject = s->helo;
	return restrict_reject(s, c, conf.code.invalid_host, "5.5.2", "Helo command rejected: Invalid name");
}

enum outcome run_non_fqdn_helo(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	if (s->helo.n == 0 || (literal(s->helo) && domain_literal_valid(s->helo)) ||
	    (valid(s->helo) && span_chr(s->helo, '.') > 0))
		return DUNNO;
	c->subject = s->helo;
	return restrict_reject(s, c, conf.code.non_fqdn, "5.5.2",
			       "Helo command rejected: need fully-qualified hostname");
}

enum outcome run_unknown_helo(struct session *s, struct check *c, const struct rule *r)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_MX };
	bool trouble = false;

	(void)r;
	if (s->helo.n == 0 || literal(s->helo))
		return DUNNO;
	c->subject = s->helo;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct dns_answer ans;
		struct err e;
		enum rc rc = dns_query(s->helo, types[i], c->a, &ans, deadline_s(60), &e);

		if (rc == RC_OK)
			return DUNNO;
		trouble |= rc != RC_NOTFOUND && rc != RC_SYNTAX;
	}
	if (trouble && !conf.defer_unknown_helo)
		return restrict_defer_if_permit(s, c, "4.7.1", "Helo command rejected: Host not found");
	return restrict_reject(s, c, trouble ? 450 : conf.code.unknown_host, "4.7.1",
			       "Helo command rejected: Host not found");
}
