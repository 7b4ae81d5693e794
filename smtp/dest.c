/* dest.c - from the next hop to addresses (RFC 5321 section 5.1): "domain" has MX hosts, or itself; "[host]"
 * only itself; both with
 * ":port"; LMTP also knows "inet:host:port" and "unix:path", and no MX. */
#include "client.h"
#include "nexthop.h"
#include "base/codec.h"
#include "log/log.h"

#include <stdarg.h>

#define HOSTS_MAX 30 /* MX records looked at */

void why_set(struct why *w, const char *dsn, const char *fmt, ...)
{
	va_list ap;
	snprintf(w->dsn, sizeof w->dsn, "%s", dsn);
	w->best_mx_is_us = w->no_connection = false;
	w->tls[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(w->text, sizeof w->text, fmt, ap);
	va_end(ap);
}

static enum rc failed(const struct why *w)
{
	return w->dsn[0] == '5' ? RC_NOTFOUND : RC_AGAIN;
}

struct list_of {
	struct target *v;
	size_t n, cap;
	struct arena *a;
	struct span site;
	uint16_t port, best; /* best: the least preference of an MX record */
};

static void add(struct list_of *l, struct span host, const struct inet_addr *addr, uint16_t pref)
{
	if (l->n == l->cap)
		l->v = arena_grow(l->a, l->v, l->n, &l->cap, sizeof *l->v);
	l->v[l->n++] =
	    (struct target){ .host = host, .addr = *addr, .port = l->port, .pref = pref, .site = l->site };
}

/* ---- names to addresses ---- */

static enum rc add_family(struct list_of *l, struct span host, uint16_t pref, enum dns_type type, bool native,
			  struct why *w)
{
	struct dns_answer answer = { 0 };
	enum rc rc = lookup(host, type, native, l->a, &answer, w);
	for (size_t i = 0; rc == RC_OK && i < answer.n; i++)
		add(l, settings.cname_names ? answer.rr[i].name : host, &answer.rr[i].addr, pref);
	return rc;
}

/* RC_OK some, RC_NOTFOUND none, else the trouble of a family. */
static enum rc add_families(struct list_of *l, struct span host, uint16_t pref, bool native, struct why *w)
{
	const struct {
		bool want;
		enum dns_type type;
	} of[] = { { settings.want4, DNS_A }, { settings.want6, DNS_AAAA } };
	size_t before = l->n;
	enum rc trouble = RC_NOTFOUND;
	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		enum rc rc = of[i].want ? add_family(l, host, pref, of[i].type, native, w) : RC_NOTFOUND;
		trouble = rc == RC_OK || rc == RC_NOTFOUND ? trouble : rc;
	}
	return l->n > before ? RC_OK : trouble;
}

/* The addresses of a host: from DNS; from the system's own sources (hosts(5)) when DNS has none. */
static enum rc add_host(struct list_of *l, struct span host, uint16_t pref, struct why *w)
{
	struct inet_addr addr;
	struct why found = *w;
	enum rc rc = RC_NOTFOUND;
	if (inet_addr_parse(host, &addr) == RC_OK) {
		add(l, host, &addr, pref);
		return RC_OK;
	}
	if (settings.dns)
		rc = add_families(l, host, pref, false, &found);
	if (rc == RC_NOTFOUND && settings.hosts)
		rc = add_families(l, host, pref, true, &found);
	if (rc == RC_OK)
		return RC_OK;
	*w = found; /* tells more than rc */
	return failed(w);
}

/* ---- order ---- */

static void shuffle(struct target *v, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		uint32_t r;
		random_bytes(&r, sizeof r);
		size_t k = r % i;
		struct target t = v[i - 1];
		v[i - 1] = v[k];
		v[k] = t;
	}
}

static bool later(const struct target *a, const struct target *b)
{
	if (a->pref != b->pref)
		return a->pref > b->pref;
	return settings.prefer != AF_UNSPEC && a->addr.family != settings.prefer &&
	       b->addr.family == settings.prefer;
}

/* Random among equals (section 5.1), and stable. At most a few hundred. */
static void sort(struct list_of *l)
{
	if (settings.randomize)
		shuffle(l->v, l->n);
	for (size_t i = 1; i < l->n; i++) {
		struct target t = l->v[i];
		size_t k = i;
		for (; k > 0 && later(&l->v[k - 1], &t); k--)
			l->v[k] = l->v[k - 1];
		l->v[k] = t;
	}
}

/* ---- loops ---- */

bool dest_detects_loops(uint16_t port)
{
	return !settings.lmtp && port == 25;
}

static const struct target *find_self(const struct list_of *l)
{
	for (size_t i = 0; i < l->n; i++)
		for (size_t k = 0; k < settings.owns; k++)
			if (inet_addr_eq(&l->v[i].addr, &settings.own[k]))
				return &l->v[i];
	return NULL;
}

/* Section 5.1: hosts of our own preference and worse are not for us. */
static enum rc drop_self(struct list_of *l, struct span domain, bool *we_are_mx, struct why *w)
{
	const struct target *self = dest_detects_loops(l->port) ? find_self(l) : NULL;
	*we_are_mx = self != NULL;
	if (self == NULL)
		return RC_OK;
	uint16_t pref = self->pref;
	size_t keep = 0;
	while (keep < l->n && l->v[keep].pref < pref)
		keep++;
	l->n = keep;
	if (keep > 0)
		return RC_OK;
	if (l->best < pref) { /* there are better hosts, but none has an address now */
		why_set(w, "4.4.4", "unable to find primary relay for " SPAN_FMT, SPAN_ARG(domain));
		return RC_AGAIN;
	}
	why_set(w, "5.4.6", "mail for " SPAN_FMT " loops back to myself", SPAN_ARG(domain));
	w->best_mx_is_us = true;
	return RC_NOTFOUND;
}

/* ---- MX ---- */

static void sort_mx(struct dns_rr *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct dns_rr rr = v[i];
		size_t k = i;
		for (; k > 0 && v[k - 1].pref > rr.pref; k--)
			v[k] = v[k - 1];
		v[k] = rr;
	}
}

/* RFC 1123 section 2.1, and the underscores that are in use. NULL: well formed. */
static const char *fault_of(struct span name)
{
	struct span label;
	bool letters = false;
	while (span_next(&name, '.', &label)) {
		if (label.n == 0)
			return "misplaced delimiter";
		if (label.n > 63)
			return "hostname label too long";
		if (label.p[0] == '-' || label.p[label.n - 1] == '-')
			return "misplaced hyphen";
		for (size_t i = 0; i < label.n; i++)
			letters |= !ascii_isdigit(label.p[i]);
	}
	return letters ? NULL : "numeric hostname";
}

static bool usable(struct span host, struct span domain)
{
	struct inet_addr addr;
	bool numeric = inet_addr_parse(host, &addr) == RC_OK;
	const char *fault = numeric ? NULL : fault_of(host);
	if (fault != NULL)
		log_warning("valid_hostname: %s: " SPAN_FMT, fault, SPAN_ARG(host));
	if (numeric || fault != NULL)
		log_warning("%s domain name in resource data of MX record for " SPAN_FMT ": " SPAN_FMT,
			    numeric ? "numeric" : "malformed", SPAN_ARG(domain), SPAN_ARG(host));
	return fault == NULL;
}

static enum rc add_mx(struct list_of *l, const struct dns_answer *mx, struct span domain, struct why *w)
{
	bool any = false;
	sort_mx(mx->rr, mx->n);
	l->best = UINT16_MAX;
	for (size_t i = 0; i < mx->n; i++) {
		if (mx->rr[i].target.n == 0) { /* RFC 7505 section 3: beside another MX it should not be */
			why_set(w, "5.1.0", "Domain " SPAN_FMT " does not accept mail (nullMX)",
				SPAN_ARG(domain));
			return RC_NOTFOUND;
		}
		if (mx->rr[i].pref < l->best)
			l->best = mx->rr[i].pref;
	}
	for (size_t i = 0; i < mx->n && i < HOSTS_MAX; i++) {
		if (!usable(mx->rr[i].target, domain))
			continue;
		any = true;
		(void)add_host(l, mx->rr[i].target, mx->rr[i].pref,
			       w); /* `w`: the last one without, temporary when any was */
	}
	if (l->n > 0)
		return RC_OK;
	if (!any) {
		why_set(w, "5.4.4",
			"Name service error for name=" SPAN_FMT
			" type=MX: Malformed or unexpected name server reply",
			SPAN_ARG(domain));
		return RC_NOTFOUND;
	}
	if (settings.defer_no_mx_address && w->dsn[0] == '5')
		w->dsn[0] = '4';
	if (w->dsn[0] == '\0')
		why_set(w, "5.4.4", "no usable MX record for " SPAN_FMT, SPAN_ARG(domain));
	log_warning("no MX host for " SPAN_FMT " has a valid address record", SPAN_ARG(domain));
	return failed(w);
}

static enum rc add_domain(struct list_of *l, struct span domain, struct why *w)
{
	struct dns_answer mx;
	struct inet_addr literal;
	if (!settings.mx || inet_addr_parse(domain, &literal) == RC_OK)
		return add_host(l, domain, 0, w);
	switch (lookup(domain, DNS_MX, false, l->a, &mx, w)) {
	case RC_OK:
		return add_mx(l, &mx, domain, w);
	case RC_NOTFOUND: /* section 5.1: the implicit MX */
		return add_host(l, domain, 0, w);
	default:
		if (!settings.ignore_mx_error)
			return failed(w);
		log_info("ignoring MX lookup error: %s", w->text);
		return add_host(l, domain, 0, w);
	}
}

/* ---- SRV (RFC 2782) ---- */

static bool wants_srv(struct span service)
{
	struct span rest = span_str(settings.use_srv), w;
	while (span_next_word(&rest, ", \t\r\n", &w))
		if (span_eq_ci(w, service))
			return true;
	return false;
}

/* Picks one of the records of the least priority, by weight, and takes it out of the list. */
static struct dns_rr pick(struct dns_rr *v, size_t *n)
{
	uint32_t sum = 0, r;
	size_t at = 0;
	uint16_t least = UINT16_MAX;
	for (size_t i = 0; i < *n; i++)
		least = v[i].pref < least ? v[i].pref : least;
	for (size_t i = 0; i < *n; i++)
		if (v[i].pref == least)
			sum += v[i].weight + 1U; /* those of weight 0 have a small chance */
	random_bytes(&r, sizeof r);
	r %= sum;
	for (size_t i = 0; i < *n; i++) {
		if (v[i].pref != least)
			continue;
		at = i;
		if (r < v[i].weight + 1U)
			break;
		r -= v[i].weight + 1U;
	}
	struct dns_rr out = v[at];
	v[at] = v[--*n];
	return out;
}

static enum rc add_srv_hosts(struct list_of *l, struct dns_answer *srv, struct span name, struct why *w)
{
	struct why temporary = { 0 };
	if (srv->n == 1 && srv->rr[0].target.n == 0) {
		why_set(w, "5.4.4", "the service " SPAN_FMT " is not offered", SPAN_ARG(name));
		return RC_NOTFOUND;
	}
	for (uint16_t rank = 0; srv->n > 0 && rank < HOSTS_MAX; rank++) {
		struct dns_rr rr = pick(srv->rr, &srv->n);
		l->port = rr.port;
		if (rr.target.n > 0 && add_host(l, rr.target, rank, w) == RC_AGAIN)
			temporary = *w;
	}
	if (l->n > 0)
		return RC_OK;
	if (temporary.dsn[0] != '\0')
		*w = temporary;
	else if (w->dsn[0] == '\0')
		why_set(w, "5.4.4", "no usable SRV record for " SPAN_FMT, SPAN_ARG(name));
	return failed(w);
}

static enum rc add_domain_srv(struct list_of *l, struct span domain, struct span service, struct why *w)
{
	struct span name =
	    span_printf(l->a, "_" SPAN_FMT "._tcp." SPAN_FMT, SPAN_ARG(service), SPAN_ARG(domain));
	struct dns_answer srv;
	enum rc rc = lookup(name, DNS_SRV, false, l->a, &srv, w);
	if (rc == RC_OK)
		return add_srv_hosts(l, &srv, name, w);
	if (rc == RC_NOTFOUND ? !settings.srv_fallback : !settings.srv_ignore_error)
		return failed(w);
	log_info("skipping SRV lookup: %s", w->text);
	return add_domain(l, domain, w);
}

/* ---- the next hop ---- */

static void unix_target(struct span path, struct arena *a, struct target **out, size_t *n)
{
	struct target *t = arena_alloc(a, sizeof *t);
	t->host = t->site = span_str(settings.myhostname);
	t->path = arena_cstr(a, path);
	*out = t;
	*n = 1;
}

enum rc dest_find(struct span nexthop, struct arena *a, struct target **out, size_t *n, bool *we_are_mx,
		  struct why *w)
{
	struct list_of l = { .a = a };
	struct nexthop to;
	struct err e;
	w->dsn[0] = '\0';
	*we_are_mx = false;
	if (settings.lmtp && span_starts(nexthop, SPAN("unix:"))) {
		unix_target(span_skip(nexthop, 5), a, out, n);
		return RC_OK;
	}
	if (span_starts(nexthop, SPAN("inet:")))
		nexthop = span_skip(nexthop, 5);
	if (!settings.want4 && !settings.want6) {
		why_set(w, "4.4.4", "all network protocols are disabled");
		return failed(w);
	}
	if (nexthop_parse(nexthop, settings.service, settings.port, &to, &e) != RC_OK) {
		why_set(w, "4.3.5", "%s", e.text);
		return RC_AGAIN;
	}
	enum rc rc;
	l.port = to.port;
	l.site = to.host;
	if (!to.literal && settings.mx && wants_srv(to.service))
		rc = add_domain_srv(&l, to.host, to.service, w);
	else
		rc = to.literal || settings.lmtp ? add_host(&l, to.host, 0, w) : add_domain(&l, to.host, w);
	if (rc != RC_OK)
		return rc;
	sort(&l);
	if ((rc = drop_self(&l, to.host, we_are_mx, w)) != RC_OK)
		return rc;
	*out = l.v;
	*n = l.n;
	return RC_OK;
}
