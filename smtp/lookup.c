/* lookup.c - what the client asks DNS: with the search list where smtp_dns_resolver_options wants it, and without the
 * records that smtp_dns_reply_filter ignores. */
#include "client.h"
#include "log/log.h"

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

/* ---- the filter ---- */

/* The record as smtp_dns_reply_filter is asked: "name. ttl IN type [preference] value". */
static struct span record_text(const struct dns_rr *rr, struct arena *a)
{
	char addr[INET_TEXT_MAX];
	struct span head =
	    span_printf(a, SPAN_FMT ". %u IN %s", SPAN_ARG(rr->name), rr->ttl, type_name(rr->type));
	switch (rr->type) {
	case DNS_MX:
		return span_printf(a, SPAN_FMT " %u " SPAN_FMT ".", SPAN_ARG(head), rr->pref,
				   SPAN_ARG(rr->target));
	case DNS_SRV:
		return span_printf(a, SPAN_FMT " %u %u %u " SPAN_FMT ".", SPAN_ARG(head), rr->pref,
				   rr->weight, rr->port, SPAN_ARG(rr->target));
	default:
		inet_addr_text(&rr->addr, addr);
		return span_printf(a, SPAN_FMT " %s", SPAN_ARG(head), addr);
	}
}

/* RC_OK: stays; RC_NOTFOUND: ignored; RC_AGAIN: the table failed, or says what nobody understands. */
static enum rc filter_one(const struct dns_rr *rr, struct arena *a)
{
	struct span text = record_text(rr, a), value, word;
	struct err e;
	switch (maps_lookup(settings.dns_filter, text, a, &value, &e)) {
	case RC_NOTFOUND:
		return RC_OK;
	case RC_OK:
		break;
	default:
		log_warning("%s", e.text);
		return RC_AGAIN;
	}
	if (span_next_word(&value, " \t", &word) && span_is_ci(word, "IGNORE")) {
		log_info("ignoring DNS RR: " SPAN_FMT, SPAN_ARG(text));
		return RC_NOTFOUND;
	}
	log_warning("DNS reply filter: unknown action for " SPAN_FMT, SPAN_ARG(text));
	return RC_AGAIN;
}

static enum rc filter(struct dns_answer *answer, struct arena *a)
{
	size_t keep = 0;
	if (maps_empty(settings.dns_filter))
		return RC_OK;
	for (size_t i = 0; i < answer->n; i++) {
		enum rc rc = filter_one(&answer->rr[i], a);
		if (rc == RC_AGAIN)
			return rc;
		if (rc == RC_OK)
			answer->rr[keep++] = answer->rr[i];
	}
	answer->n = keep;
	return keep > 0 ? RC_OK : RC_NOTFOUND;
}

/* ---- the question ---- */

static enum rc query(struct span name, enum dns_type type, bool hosts, struct arena *a,
		     struct dns_answer *out, struct err *e)
{
	deadline_t d = deadline_s(DNS_WAIT_S);
	return hosts ? dns_query_hosts(name, type, a, out, d, e) : dns_query(name, type, a, out, d, e);
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

static void tell(struct why *w, enum rc rc, struct span name, enum dns_type type, const struct err *e)
{
	const char *what = rc != RC_NOTFOUND ? "Host not found, try again"
			   : e->sys == 0     ? "Host not found"
					     : "Host found but no data record of requested type";
	if (rc == RC_SYNTAX)
		why_set(w, "5.4.4",
			"Name service error for name=" SPAN_FMT
			" type=%s: Malformed or unexpected name server reply",
			SPAN_ARG(name), type_name(type));
	else
		why_set(w, rc == RC_NOTFOUND ? "5.4.4" : "4.4.3",
			"Host or domain name not found. Name service error for name=" SPAN_FMT " type=%s: %s",
			SPAN_ARG(name), type_name(type), what);
}

enum rc lookup(struct span name, enum dns_type type, bool hosts, struct arena *a, struct dns_answer *out,
	       struct why *w)
{
	struct err e;
	enum rc rc = hosts ? query(name, type, true, a, out, &e) : query_search(name, type, a, out, &e);
	if (rc != RC_OK) {
		tell(w, rc, name, type, &e);
		return rc == RC_NOTFOUND || rc == RC_SYNTAX ? rc : RC_AGAIN;
	}
	if (hosts || (rc = filter(out, a)) == RC_OK)
		return RC_OK;
	why_set(w, "4.7.0", "Error looking up name=" SPAN_FMT " type=%s: %s", SPAN_ARG(name), type_name(type),
		rc == RC_NOTFOUND ? "DNS reply filter drops all results" : "DNS reply filter error");
	return RC_AGAIN;
}
