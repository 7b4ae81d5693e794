/* net/hostname.c - the verified name of a client. A PTR record is what the client's network claims; only a
 * name whose address records lead back to the client is believed. */
#include "net/hostname.h"

#include <netdb.h>

#define PTR_NAMES_TRIED 3

/* Labels of letters, digits, hyphens and underscores (RFC 1123 section 2.1; the underscore is in use), at
 * most 253 bytes. */
static bool host_name_ok(struct span name)
{
	struct span rest = name, label;
	if (name.n == 0 || name.n > 253 || name.p[name.n - 1] == '.')
		return false;
	while (span_next(&rest, '.', &label)) {
		if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!ascii_isalnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
				return false;
	}
	return true;
}

static uint16_t code_of(enum rc rc)
{
	switch (rc) {
	case RC_OK:
		return 2;
	case RC_NOTFOUND:
	case RC_SYNTAX:
		return 5;
	default:
		return 4;
	}
}

static const char *trouble(enum rc rc, const struct err *e)
{
	if (rc == RC_NOTFOUND && e->sys == 1)
		return gai_strerror(EAI_NODATA);
	return gai_strerror(code_of(rc) == 4 ? EAI_AGAIN : EAI_NONAME);
}

static enum rc leads_back(struct span name, const struct inet_addr *addr, struct arena *a, deadline_t d,
			  const char **why)
{
	struct dns_answer f;
	struct err e;
	enum rc rc = dns_query_native(name, addr->family == AF_INET ? DNS_A : DNS_AAAA, a, &f, d, &e);
	*why = rc != RC_OK ? trouble(rc, &e) : NULL;
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < f.n; i++)
		if (memcmp(f.rr[i].addr.b, addr->b, addr->family == AF_INET ? 4 : 16) == 0)
			return RC_OK;
	return RC_NOTFOUND;
}

void client_name_find(const struct inet_addr *addr, struct arena *a, struct client_name *out, deadline_t d)
{
	char ptr[80];
	struct dns_answer names;
	struct err e;
	*out = (struct client_name){ SPAN("unknown"), SPAN("unknown"), 5, 5, SPAN_NONE, NULL };
	inet_addr_reverse_name(addr, ptr);
	enum rc rc = dns_query_native(span_str(ptr), DNS_PTR, a, &names, d, &e);
	out->name_code = out->reverse_code = code_of(rc);
	if (rc != RC_OK)
		return;
	out->name_code = out->reverse_code = 5;
	for (size_t i = 0, tried = 0; i < names.n && tried < PTR_NAMES_TRIED; i++) {
		struct span name = names.rr[i].target;
		struct inet_addr literal;
		/* A name that reads as an address would lie in every log line. */
		if (!host_name_ok(name) || inet_addr_parse(name, &literal) == RC_OK)
			continue;
		tried++;
		if (out->reverse_code != 2) {
			out->reverse = name;
			out->reverse_code = 2;
		}
		rc = leads_back(name, addr, a, d, &out->forged_why);
		if (rc == RC_OK) {
			out->name = name;
			out->name_code = 2;
			out->forged = SPAN_NONE;
			return;
		}
		out->forged = name;
		if (code_of(rc) == 4)
			out->name_code = 4;
	}
}
