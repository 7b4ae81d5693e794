/* map/dns_filter.c - records of the DNS that main.cf does not want to see (dns_filter.h). */
#include "map/dns_filter.h"
#include "log/log.h"
#include "map/map.h"
#include "net/dns.h"

static struct maps *filter;
static const char *parameter;

/* "" for types that no filter is asked about. */
static const char *type_name(enum dns_type type)
{
	static const struct {
		enum dns_type type;
		const char *name;
	} names[] = { { DNS_A, "A" },
		      { DNS_AAAA, "AAAA" },
		      { DNS_MX, "MX" },
		      { DNS_TXT, "TXT" },
		      { DNS_TLSA, "TLSA" } };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].type == type)
			return names[i].name;
	return "";
}

static struct span hex_data(struct span data, struct arena *a)
{
	char *p = arena_alloc(a, 2 * data.n + 1);

	for (size_t i = 0; i < data.n; i++)
		(void)snprintf(p + 2 * i, 3, "%02X", (unsigned char)data.p[i]);
	return span_make(p, 2 * data.n);
}

static struct span value_text(const struct dns_rr *rr, struct arena *a)
{
	char addr[INET_TEXT_MAX];

	switch (rr->type) {
	case DNS_A:
	case DNS_AAAA:
		inet_addr_text(&rr->addr, addr);
		return span_printf(a, "%s", addr);
	case DNS_MX:
		return span_printf(a, "%u " SPAN_FMT ".", rr->pref, SPAN_ARG(rr->target));
	case DNS_TLSA:
		return hex_data(rr->data, a);
	case DNS_TXT:
	case DNS_NS:
	case DNS_PTR:
	case DNS_SRV:
		break;
	}
	return rr->data;
}

/* Whether the tables say IGNORE. */
static enum rc ignored(const struct dns_rr *rr, struct arena *a, bool *yes, struct err *e)
{
	struct span key = span_printf(a, SPAN_FMT ". %u IN %s " SPAN_FMT, SPAN_ARG(rr->name), rr->ttl,
				      type_name(rr->type), SPAN_ARG(value_text(rr, a))),
		    action = SPAN_NONE;
	enum rc rc = maps_lookup(filter, key, a, &action, e);

	*yes = rc == RC_OK;
	if (rc == RC_NOTFOUND || (rc == RC_OK && span_is_ci(span_trim(action), "IGNORE")))
		return RC_OK;
	if (rc == RC_OK)
		log_warning("%s: unknown action \"" SPAN_FMT "\"", parameter,
			    SPAN_ARG(span_head(action, 100)));
	else
		log_warning("%s: %s", parameter, e->text);
	return err_set(e, RC_AGAIN, "%s cannot be asked", parameter);
}

static enum rc apply(struct dns_answer *ans, struct arena *a, struct err *e)
{
	size_t kept = 0;
	bool drop;
	enum rc rc;

	for (size_t i = 0; i < ans->n; i++) {
		if (type_name(ans->rr[i].type)[0] == '\0')
			return RC_OK;
		if ((rc = ignored(&ans->rr[i], a, &drop, e)) != RC_OK)
			return rc;
		if (drop)
			log_info("ignoring DNS RR: " SPAN_FMT ". %u IN %s " SPAN_FMT,
				 SPAN_ARG(ans->rr[i].name), ans->rr[i].ttl, type_name(ans->rr[i].type),
				 SPAN_ARG(value_text(&ans->rr[i], a)));
		else
			ans->rr[kept++] = ans->rr[i];
	}
	if (ans->n > 0 && kept == 0)
		return err_set(e, RC_DENIED, "DNS reply filter drops all results");
	ans->n = kept;
	return RC_OK;
}

enum rc dns_filter_open(const char *param, struct span list, struct err *e)
{
	enum rc rc;

	if (span_trim(list).n == 0)
		return RC_OK;
	parameter = xstrdup(param);
	if ((rc = maps_open(param, list, MAP_FOLD_KEY, &filter, e)) == RC_OK)
		dns_set_filter(apply);
	return rc;
}
