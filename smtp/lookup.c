/* lookup.c - what the client asks DNS, with the search list where smtp_dns_resolver_options wants it. */
#include "client.h"

#include <resolv.h>

#define DNS_WAIT_S 100
#define SEARCH_MAX 8

static struct span search[SEARCH_MAX];
static size_t searches;

void lookup_prepare(void)
{
	struct __res_state r;
	static char names[SEARCH_MAX][256];
	memset(&r, 0, sizeof r);
	if ((!settings.dns_defnames && !settings.dns_search) || res_ninit(&r) != 0)
		return;
	for (size_t i = 0; i < SEARCH_MAX && i < MAXDNSRCH && r.dnsrch[i] != NULL; i++) {
		snprintf(names[i], sizeof names[i], "%s", r.dnsrch[i]);
		search[searches++] = span_str(names[i]);
	}
	res_nclose(&r);
}

static const char *type_name(enum dns_type t)
{
	switch (t) {
	case DNS_AAAA:
		return "AAAA";
	case DNS_A:
		return "A";
	case DNS_SRV:
		return "SRV";
	default:
		return "MX";
	}
}

static enum rc query(struct span name, enum dns_type type, bool hosts, struct arena *a,
		     struct dns_answer *out, struct err *e)
{
	deadline_t d = deadline_s(DNS_WAIT_S);
	return hosts ? dns_query_native(name, type, a, out, d, e) : dns_query(name, type, a, out, d, e);
}

/* resolv.conf(5): a name without dot in the domains of the list first, or in the first of them; with res_dnsrch any name,
 * when it is not there as it stands. */
static enum rc query_search(struct span name, enum dns_type type, struct arena *a, struct dns_answer *out,
			    struct err *e)
{
	bool dotted = span_chr(name, '.') >= 0;
	size_t n = settings.dns_search ? searches : !dotted && searches > 0 ? 1 : 0;
	enum rc rc = RC_NOTFOUND;
	if (dotted || n == 0)
		rc = query(name, type, false, a, out, e);
	for (size_t i = 0; rc == RC_NOTFOUND && i < n; i++)
		rc = query(span_printf(a, SPAN_FMT "." SPAN_FMT, SPAN_ARG(name), SPAN_ARG(search[i])), type,
			   false, a, out, e);
	if (rc == RC_NOTFOUND && !dotted && n > 0)
		rc = query(name, type, false, a, out, e);
	return rc;
}

/* In the words of gai_strerror(3), which is what a native look-up answers. */
static void tell_native(struct why *w, enum rc rc, struct span name, const struct err *e)
{
	bool soft = w->dsn[0] == '4' || (rc != RC_NOTFOUND && rc != RC_SYNTAX);
	bool no_data = rc == RC_NOTFOUND && e->sys != 0;
	why_set(w,
		no_data ? (soft ? "4.3.0" : "5.3.0")
		: soft	? "4.4.4"
			: "5.4.4",
		"unable to look up host " SPAN_FMT ": %s", SPAN_ARG(name),
		no_data				       ? "No address associated with hostname"
		: rc == RC_NOTFOUND || rc == RC_SYNTAX ? "Name or service not known"
						       : "Temporary failure in name resolution");
}

/* What failed for now before it keeps a failure temporary. */
static void tell(struct why *w, enum rc rc, struct span name, enum dns_type type, const struct err *e)
{
	const char *gone = w->dsn[0] == '4' ? "4.4.4" : "5.4.4";
	const char *what = rc != RC_NOTFOUND ? "Host not found, try again"
			   : e->sys == 0     ? "Host not found"
					     : "Host found but no data record of requested type";
	if (rc == RC_DENIED) /* smtp_dns_reply_filter left nothing */
		why_set(w, "4.7.0", "Error looking up name=" SPAN_FMT " type=%s: %s", SPAN_ARG(name),
			type_name(type), e->text);
	else if (rc == RC_SYNTAX)
		why_set(w, gone,
			"Name service error for name=" SPAN_FMT
			" type=%s: Malformed or unexpected name server reply",
			SPAN_ARG(name), type_name(type));
	else
		why_set(w, rc == RC_NOTFOUND ? gone : "4.4.3",
			"Host or domain name not found. Name service error for name=" SPAN_FMT " type=%s: %s",
			SPAN_ARG(name), type_name(type), what);
}

enum rc lookup(struct span name, enum dns_type type, bool hosts, struct arena *a, struct dns_answer *out,
	       struct why *w)
{
	struct err e;
	enum rc rc = hosts ? query(name, type, true, a, out, &e) : query_search(name, type, a, out, &e);
	if (rc != RC_OK && hosts)
		tell_native(w, rc, name, &e);
	else if (rc != RC_OK)
		tell(w, rc, name, type, &e);
	return rc == RC_OK || rc == RC_NOTFOUND || rc == RC_SYNTAX ? rc : RC_AGAIN;
}
