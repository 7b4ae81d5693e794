/* restrict_dnsbl.c - DNS block and allow lists: "domain", "domain=d.d.d.d" with patterns of values
 * "[1;3..5]". */
#include "restrict.h"
#include "smtp/dsn.h"

#define WHERE_S 20

struct dnsbl {
	struct span domain, filter;
	bool filtered, broken;
	uint8_t allowed[DNSBL_BYTES][32]; /* bit per value */
};

void *dnsbl_read(struct span arg)
{
	struct dnsbl *d = xcalloc(1, sizeof(*d));
	ptrdiff_t eq = span_chr(arg, '=');

	d->domain = eq >= 0 ? span_head(arg, (size_t)eq) : arg;
	if (eq < 0)
		return d;
	d->filtered = true;
	d->filter = span_skip(arg, (size_t)eq + 1);
	d->broken = dnsbl_filter_parse(d->filter, d->allowed) != RC_OK;
	if (d->broken)
		log_warning("bad DNS list filter: " SPAN_FMT, SPAN_ARG(arg));
	return d;
}

static bool counts(const struct dnsbl *d, const struct inet_addr *a)
{
	if (!d->filtered)
		return true;
	for (size_t i = 0; i < DNSBL_BYTES; i++)
		if (!(d->allowed[i][a->b[i] / 8] & (1u << (a->b[i] % 8))))
			return false;
	return true;
}

/* The name to ask for an address: reversed, without in-addr.arpa. */
static struct span reversed(struct arena *a, const struct inet_addr *ip)
{
	char name[80];
	struct span n;
	ptrdiff_t at;

	inet_addr_reverse_name(ip, name);
	n = span_str(name);
	if ((at = span_find(n, ip->family == AF_INET ? SPAN(".in-addr") : SPAN(".ip6"))) > 0)
		n.n = (size_t)at;
	return span_dup(a, n);
}

struct subject {
	struct span query; /* what stands before the list's domain; "" nothing to ask */
	struct span what, class;
	bool is_client; /* [what] is an address */
};

enum {
	RBL_CLIENT,
	DNSWL_CLIENT,
	RHSBL_CLIENT,
	RHSBL_REVERSE,
	RHSBL_HELO,
	RHSBL_SENDER,
	RHSBL_RCPT,
	RHSWL_CLIENT
};

static struct subject find_subject(struct session *s, struct check *c, int which)
{
	struct subject x = { .class = SPAN("Client host") };

	switch (which) {
	case RBL_CLIENT:
	case DNSWL_CLIENT:
		x.what = s->client.addr;
		if (s->client.ip.family == AF_INET || s->client.ip.family == AF_INET6)
			x.query = reversed(c->a, &s->client.ip);
		return x;
	case RHSBL_CLIENT:
	case RHSWL_CLIENT:
		x.what = s->client.name;
		break;
	case RHSBL_REVERSE:
		x.what = s->client.rname;
		x.class = SPAN("Unverified Client host");
		break;
	case RHSBL_HELO:
		x.what = s->client.helo;
		x.class = SPAN("Helo command");
		break;
	case RHSBL_SENDER:
		x.what = s->tx != NULL ? s->tx->sender : SPAN_NONE;
		x.class = SPAN("Sender address");
		break;
	case RHSBL_RCPT:
		x.what = c->rcpt;
		x.class = SPAN("Recipient address");
		break;
	}
	x.query = span_chr(x.what, '@') >= 0 ? address_split(x.what).domain : x.what;
	if (span_is(x.query, "unknown") || !domain_valid(x.query, false))
		x.query = SPAN_NONE;
	return x;
}

/* A list without an answer has none for the rest of the session: each of its messages would wait for it anew. */
static bool failed_before(const struct session *s, struct span name)
{
	for (size_t i = 0; i < s->failed_lists; i++)
		if (span_eq_ci(s->failed_list[i], name))
			return true;
	return false;
}

static void no_answer(struct session *s, struct span name, enum rc rc, const struct err *e)
{
	log_warning(SPAN_FMT ": RBL lookup error: %s name=" SPAN_FMT " type=A: %s", SPAN_ARG(name),
		    rc == RC_DENIED ? "Error looking up"
				    : "Host or domain name not found. Name service error for",
		    SPAN_ARG(name), rc == RC_DENIED ? e->text : "Host not found, try again");
	if (s->failed_lists < DNSBL_FAILED_MAX)
		s->failed_list[s->failed_lists++] = span_dup(&s->arena, name);
}

/* RC_OK listed; *answer is the value that counts. */
static enum rc listed(struct session *s, const struct dnsbl *d, struct span name, struct check *c,
		      struct inet_addr *answer)
{
	struct dns_answer ans;
	struct err e;
	enum rc rc = RC_AGAIN;

	if (failed_before(s, name))
		return rc;
	rc = dns_query(name, DNS_A, c->a, &ans, deadline_s(WHERE_S), &e);
	if (rc != RC_OK && rc != RC_NOTFOUND)
		no_answer(s, name, rc, &e);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < ans.n; i++)
		if (counts(d, &ans.rr[i].addr)) {
			*answer = ans.rr[i].addr;
			return RC_OK;
		}
	return RC_NOTFOUND;
}

struct words {
	struct words_of session;
	const struct dnsbl *d;
	struct subject x;
	struct span reason, code, name;
};

static bool rbl_word(void *arg, struct span name, struct span *value)
{
	struct words *w = arg;
	const struct {
		const char *name;
		struct span value;
	} known[] = { { "rbl_code", w->code },	 { "rbl_domain", w->d->domain }, { "rbl_reason", w->reason },
		      { "rbl_what", w->x.what }, { "rbl_class", w->x.class },	 { "rbl_txt", w->reason } };

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (span_is(name, known[i].name)) {
			*value = expansion_filter(&w->session.s->tx_arena, known[i].value);
			return true;
		}
	return session_word(&w->session, name, value);
}

/* The list's own words (TXT), at most a line of them. */
static struct span reason_of(struct span name, struct check *c)
{
	struct dns_answer ans;
	struct err e;

	enum rc rc = dns_query(name, DNS_TXT, c->a, &ans, deadline_s(WHERE_S), &e);

	if (rc == RC_DENIED) /* smtpd_dns_reply_filter */
		log_warning(SPAN_FMT ": TXT lookup error: %s", SPAN_ARG(name), e.text);
	if (rc != RC_OK || ans.n == 0)
		return SPAN_NONE;
	return span_head(ans.rr[0].data, 300);
}

static enum outcome reject_listed(struct session *s, struct check *c, struct words *w)
{
	struct span template = span_str(conf.rbl_reply), text, code, own, dsn;
	uint64_t number = (uint64_t)conf.code.rbl;
	struct err e;

	if (!maps_empty(conf.rbl_reply_maps) &&
	    maps_lookup(conf.rbl_reply_maps, w->name, c->a, &own, &e) == RC_OK)
		template = own;
	w->code = span_printf(c->a, "%lld", (long long)conf.code.rbl);
	if (conf_expand_with(service_conf(), template, rbl_word, w, c->a, &text, &e) != RC_OK) {
		log_warning("default_rbl_reply: %s", e.text);
		return restrict_reject_bare(s, c, 451, SPAN("4.3.5"), SPAN("Server configuration error"));
	}
	if (!span_next_word(&text, " \t", &code) || span_to_u64(code, 599, &number) != RC_OK ||
	    number < 400) {
		log_warning("bad reply for DNS list " SPAN_FMT, SPAN_ARG(w->name));
		return restrict_reject_bare(s, c, 450, SPAN("4.7.1"), SPAN("Service unavailable"));
	}
	dsn = number >= 500 ? SPAN("5.7.1") : SPAN("4.7.1");
	(void)dsn_take(&text, number >= 500 ? "5" : "4", &dsn);
	return restrict_reject_bare(s, c, (int64_t)number, dsn, span_trim(text));
}

enum outcome run_dnsbl(struct session *s, struct check *c, const struct rule *r)
{
	const struct dnsbl *d = r->state;
	struct words w = { .session = { s, c->rcpt }, .d = d, .x = find_subject(s, c, r->def->which) };
	struct inet_addr answer;
	struct span name;

	if (w.x.query.n == 0)
		return DUNNO;
	if (d == NULL || d->broken)
		return restrict_reject_bare(s, c, 451, SPAN("4.3.5"), SPAN("Server configuration error"));
	name = span_printf(c->a, SPAN_FMT "." SPAN_FMT, SPAN_ARG(w.x.query), SPAN_ARG(d->domain));
	switch (listed(s, d, name, c, &answer)) {
	case RC_OK:
		break;
	case RC_NOTFOUND:
		return DUNNO;
	default:
		/* An allow list that cannot be asked must not lead to a refusal for good. */
		if ((r->def->which == DNSWL_CLIENT || r->def->which == RHSWL_CLIENT) &&
		    s->defer_if_reject.code == 0)
			s->defer_if_reject = (struct verdict){ 450, SPAN("4.7.1"),
							       SPAN("Service unavailable; try again later") };
		return DUNNO;
	}
	if (r->def->which == DNSWL_CLIENT || r->def->which == RHSWL_CLIENT)
		return PERMIT;
	w.reason = reason_of(name, c);
	w.name = r->arg;
	if (r->def->which <= DNSWL_CLIENT)
		w.x.what = s->client.addr;
	return reject_listed(s, c, &w);
}
