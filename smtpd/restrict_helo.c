/* restrict_helo.c - restrictions that look at the name a client gives itself. */
#include "restrict.h"

static bool literal(struct span name)
{
	return name.n > 0 && name.p[0] == '[';
}

/* RFC 5321 section 4.1.3. */
static bool bad_literal(struct span name)
{
	return literal(name) && !domain_literal_valid(name);
}

static struct span without_final_dot(struct span name)
{
	return name.n > 1 && name.p[name.n - 1] == '.' ? span_head(name, name.n - 1) : name;
}

static bool valid(struct span name)
{
	struct inet_addr ip;

	name = without_final_dot(name);
	return domain_is_numeric(name) ? inet_addr_parse(name, &ip) == RC_OK : domain_valid(name, false);
}

static enum outcome refuse(struct session *s, struct check *c, int64_t code, const char *why)
{
	c->subject = s->client.helo;
	return restrict_reject(s, c, code, "5.5.2", "Helo command rejected: %s", why);
}

enum outcome run_invalid_helo(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	if (bad_literal(s->client.helo))
		return refuse(s, c, conf.code.invalid_host, "invalid ip address");
	if (s->client.helo.n == 0 || literal(s->client.helo) || valid(s->client.helo))
		return DUNNO;
	return refuse(s, c, conf.code.invalid_host, "Invalid name");
}

enum outcome run_non_fqdn_helo(struct session *s, struct check *c, const struct rule *r)
{
	struct inet_addr ip;

	(void)r;
	if (bad_literal(s->client.helo))
		return refuse(s, c, conf.code.non_fqdn, "invalid ip address");
	if (s->client.helo.n == 0 || literal(s->client.helo) ||
	    (valid(s->client.helo) && span_chr(s->client.helo, '.') > 0 &&
	     inet_addr_parse(s->client.helo, &ip) != RC_OK))
		return DUNNO;
	return refuse(s, c, conf.code.non_fqdn, "need fully-qualified hostname");
}

enum outcome run_unknown_helo(struct session *s, struct check *c, const struct rule *r)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_MX };
	struct inet_addr ip;
	bool trouble = false, name = valid(s->client.helo) && inet_addr_parse(s->client.helo, &ip) != RC_OK;

	(void)r;
	if (bad_literal(s->client.helo))
		return refuse(s, c, conf.code.invalid_host, "invalid ip address");
	if (s->client.helo.n == 0 || literal(s->client.helo))
		return DUNNO;
	c->subject = s->client.helo;
	/* A bare address is no name that could be found, nor is what no host can have. */
	for (size_t i = 0; i < ARRAY_LEN(types) && name; i++) {
		struct dns_answer ans;
		struct err e;
		enum rc rc = dns_query(s->client.helo, types[i], c->a, &ans, deadline_s(60), &e);

		if (rc == RC_DENIED) /* smtpd_dns_reply_filter */
			log_warning(SPAN_FMT ": address or MX lookup error: %s", SPAN_ARG(s->client.helo),
				    e.text);
		if (rc == RC_OK || rc == RC_DENIED)
			return DUNNO;
		trouble |= rc != RC_NOTFOUND && rc != RC_SYNTAX;
	}
	if (trouble && !conf.defer_unknown_helo)
		return restrict_defer_if_permit(s, c, "4.7.1", "Helo command rejected: Host not found");
	return restrict_reject(s, c, trouble ? 450 : conf.code.unknown_host, "4.7.1",
			       "Helo command rejected: Host not found");
}
