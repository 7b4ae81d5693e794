/* net/dns.h - DNS for daemons: asked of the resolver process (service `resolver`), parsed here with
 * ns_initparse(3). No answer is trusted: counts, lengths, names and loops are checked; at most DNS_RR_MAX
 * records of the asked type are taken. */
#ifndef NET_DNS_H
#define NET_DNS_H

#include "base/arena.h"
#include "net/addr.h"
#include "task/task.h"

#define DNS_RR_MAX 100

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_TLSA = 52
};
struct dns_rr {
	enum dns_type type;
	uint32_t ttl;
	struct span name;	     /* owner */
	uint16_t pref, weight, port; /* MX, SRV (pref = priority) */
	struct span
	    target; /* MX, NS, PTR, SRV host name without final dot ("" is the root: null MX, RFC 7505) */
	struct inet_addr addr; /* A, AAAA */
	struct span data;      /* TXT strings joined, TLSA raw */
};
struct dns_answer {
	struct dns_rr *rr;
	size_t n;
	bool secure; /* validated by the resolver we trust */
};
/* `name` may be in Unicode (net/idna.h). RC_OK with n >= 1; RC_NOTFOUND NXDOMAIN (e->sys = 0) or no data of this type (e->sys = 1); RC_AGAIN
 * temporary; RC_SYNTAX invalid name. */
MUST_CHECK enum rc dns_query(struct span name, enum dns_type type, struct arena *a, struct dns_answer *out,
			     deadline_t d, struct err *e);
/* The same from the hosts file of the host (hosts(5)), as it was when the resolver started: addresses, and the
 * first name of an address (PTR). */
MUST_CHECK enum rc dns_query_hosts(struct span name, enum dns_type type, struct arena *a,
				   struct dns_answer *out, deadline_t d, struct err *e);
/* The hosts file, then DNS: how a host looks up names for itself. */
MUST_CHECK enum rc dns_query_native(struct span name, enum dns_type type, struct arena *a,
				    struct dns_answer *out, deadline_t d, struct err *e);
/* Looks at each answer of dns_query() before the caller does, and may take records out of it; what it returns is the result.
 * The tables that it needs are a layer above (map/dns_filter.h). */
void dns_set_filter(enum rc (*filter)(struct dns_answer *ans, struct arena *a, struct err *e));
/* From a raw answer (the fuzz target's entrance). Follows CNAMEs inside the answer. */
MUST_CHECK enum rc dns_parse(struct span message, enum dns_type type, struct arena *a, struct dns_answer *out,
			     struct err *e);

#endif
