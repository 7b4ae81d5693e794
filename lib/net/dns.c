/* net/dns.c - questions to the resolver process, and answers taken apart with ns_initparse(3), ns_parserr(3)
 * (RFC 1035 section 4.1). The answer is hostile input even though the resolver looked at it. */
#include "net/dns.h"
#include "ipc/ask.h"
#include "ipc/proto.h"
#include "net/idna.h"

#include <arpa/nameser.h>

#define CNAME_HOPS   16	 /* RFC 1034 section 3.6.2 asks for chains to be short */
#define ANSWERS_SEEN 500 /* records looked at in one answer */

#ifndef ns_t_tlsa
#define ns_t_tlsa 52
#endif

/* Host names as they can stand in a log line, an EHLO or a certificate: letters, digits, hyphen, underscore,
 * dots. Escapes of the presentation format ("\032") are among what is refused. */
static bool plain_name(const char *s)
{
	for (; *s != '\0'; s++)
		if (!ascii_isalnum(*s) && *s != '-' && *s != '_' && *s != '.')
			return false;
	return true;
}

/* The presentation form without its final dot. */
static struct span name_span(struct arena *a, const char *s)
{
	struct span n = span_str(s);
	if (n.n > 0 && n.p[n.n - 1] == '.')
		n.n--;
	return n.n == 0 ? SPAN("") : span_dup(a, n);
}

static enum rc read_name(const ns_msg *m, const uint8_t *at, struct arena *a, struct span *out, bool *plain)
{
	char text[NS_MAXDNAME];
	if (at >= ns_msg_end(*m) ||
	    ns_name_uncompress(ns_msg_base(*m), ns_msg_end(*m), at, text, sizeof text) < 0)
		return RC_SYNTAX;
	*plain = plain_name(text);
	*out = name_span(a, text);
	return RC_OK;
}

static enum rc read_txt(const uint8_t *p, size_t n, struct arena *a, struct span *out)
{
	char *joined = arena_alloc(a, n + 1);
	size_t len = 0, at = 0;
	while (at < n) {
		size_t piece = p[at++];
		if (piece > n - at)
			return RC_SYNTAX;
		memcpy(joined + len, p + at, piece);
		len += piece;
		at += piece;
	}
	*out = span_make(joined, len);
	return RC_OK;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* The data of one record; RC_NOTFOUND: well formed, but not to be used. */
static enum rc read_data(const ns_msg *m, const ns_rr *rr, struct arena *a, struct dns_rr *out)
{
	const uint8_t *p = ns_rr_rdata(*rr);
	size_t n = ns_rr_rdlen(*rr), skip = 0;
	bool plain;
	switch (out->type) {
	case DNS_A:
	case DNS_AAAA:
		if (n != (out->type == DNS_A ? 4 : 16))
			return RC_SYNTAX;
		inet_addr_from_bytes(out->type == DNS_A ? AF_INET : AF_INET6, p, &out->addr);
		return RC_OK;
	case DNS_TXT:
		return read_txt(p, n, a, &out->data);
	case DNS_TLSA:
		out->data = span_dup(a, span_make((const char *)p, n));
		return n >= 4 ? RC_OK : RC_SYNTAX;
	case DNS_MX:
		skip = 2;
		break;
	case DNS_SRV:
		skip = 6;
		break;
	case DNS_NS:
	case DNS_PTR:
		break;
	}
	if (n < skip + 1)
		return RC_SYNTAX;
	if (skip > 0)
		out->pref = get16(p);
	if (out->type == DNS_SRV) {
		out->weight = get16(p + 2);
		out->port = get16(p + 4);
	}
	if (read_name(m, p + skip, a, &out->target, &plain) != RC_OK)
		return RC_SYNTAX;
	return plain ? RC_OK : RC_NOTFOUND;
}

/* One step of an alias chain. */
struct alias {
	struct span from, to;
};

static enum rc collect_aliases(ns_msg *m, unsigned answers, struct arena *a, struct alias **out, size_t *n)
{
	struct alias *v = arena_array(a, CNAME_HOPS, sizeof *v);
	*n = 0;
	for (unsigned i = 0; i < answers && *n < CNAME_HOPS; i++) {
		ns_rr rr;
		bool plain;
		if (ns_parserr(m, ns_s_an, (int)i, &rr) < 0)
			return RC_SYNTAX;
		if (ns_rr_class(rr) != ns_c_in || ns_rr_type(rr) != ns_t_cname)
			continue;
		v[*n].from = name_span(a, ns_rr_name(rr));
		if (ns_rr_rdlen(rr) == 0 || read_name(m, ns_rr_rdata(rr), a, &v[*n].to, &plain) != RC_OK)
			return RC_SYNTAX;
		(*n)++;
	}
	*out = v;
	return RC_OK;
}

/* Where the aliases in this answer lead. At most as many steps as there are aliases: a loop ends, too. */
static struct span follow(struct span name, const struct alias *v, size_t n)
{
	for (size_t hop = 0; hop < n; hop++) {
		size_t i = 0;
		while (i < n && !span_eq_ci(v[i].from, name))
			i++;
		if (i == n)
			break;
		name = v[i].to;
	}
	return name;
}

static enum rc take_records(ns_msg *m, unsigned answers, struct span owner, enum dns_type type,
			    struct arena *a, struct dns_answer *out, struct err *e)
{
	size_t cap = 0;
	out->rr = NULL;
	out->n = 0;
	for (unsigned i = 0; i < answers && out->n < DNS_RR_MAX; i++) {
		ns_rr rr;
		struct dns_rr r = { .type = type };
		if (ns_parserr(m, ns_s_an, (int)i, &rr) < 0)
			return err_set(e, RC_SYNTAX, "malformed DNS answer");
		struct span name = span_str(ns_rr_name(rr));
		if (name.n > 0 && name.p[name.n - 1] == '.')
			name.n--;
		if (ns_rr_class(rr) != ns_c_in || ns_rr_type(rr) != (unsigned)type ||
		    !span_eq_ci(name, owner))
			continue;
		r.name = owner;
		r.ttl = ns_rr_ttl(rr);
		enum rc rc = read_data(m, &rr, a, &r);
		if (rc == RC_SYNTAX)
			return err_set(e, RC_SYNTAX, "malformed record in DNS answer");
		if (rc != RC_OK)
			continue;
		if (out->n == cap)
			out->rr = arena_grow(a, out->rr, out->n, &cap, sizeof *out->rr);
		out->rr[out->n++] = r;
	}
	return RC_OK;
}

static enum rc no_data(struct err *e, int sys, struct span name)
{
	err_set(e, RC_NOTFOUND,
		sys == 0 ? "Host or domain name not found: " SPAN_FMT : "no such record: " SPAN_FMT,
		SPAN_ARG(name));
	if (e != NULL)
		e->sys = sys;
	return RC_NOTFOUND;
}

enum rc dns_parse(struct span message, enum dns_type type, struct arena *a, struct dns_answer *out,
		  struct err *e)
{
	ns_msg m;
	ns_rr question;
	struct alias *aliases;
	size_t n;
	*out = (struct dns_answer){ 0 };
	if (message.n > NS_MAXMSG || ns_initparse((const uint8_t *)message.p, (int)message.n, &m) < 0)
		return err_set(e, RC_SYNTAX, "malformed DNS answer");
	if (!ns_msg_getflag(m, ns_f_qr) || ns_msg_count(m, ns_s_qd) != 1 ||
	    ns_parserr(&m, ns_s_qd, 0, &question) < 0 || ns_rr_type(question) != (unsigned)type)
		return err_set(e, RC_SYNTAX, "DNS answer to another question");
	struct span asked = name_span(a, ns_rr_name(question));
	unsigned rcode = (unsigned)ns_msg_getflag(m, ns_f_rcode);
	if (rcode == ns_r_nxdomain)
		return no_data(e, 0, asked);
	if (rcode != ns_r_noerror)
		return err_set(e, RC_AGAIN, "DNS server failure (rcode %u) for " SPAN_FMT, rcode,
			       SPAN_ARG(asked));
	unsigned answers = ns_msg_count(m, ns_s_an);
	if (answers > ANSWERS_SEEN)
		answers = ANSWERS_SEEN;
	if (collect_aliases(&m, answers, a, &aliases, &n) != RC_OK)
		return err_set(e, RC_SYNTAX, "malformed DNS answer");
	enum rc rc = take_records(&m, answers, follow(asked, aliases, n), type, a, out, e);
	if (rc == RC_OK && out->n == 0)
		return no_data(e, 1, asked);
	return rc;
}

static enum rc query(struct dns_query q, enum dns_type type, struct arena *a, struct dns_answer *out,
		     deadline_t d, struct err *e)
{
	struct span name = q.name;
	struct dns_query_reply r;
	*out = (struct dns_answer){ 0 };
	if (idna_to_ascii(name, a, &q.name) != RC_OK || q.name.n == 0 || q.name.n > 255)
		return err_set(e, RC_SYNTAX, "invalid domain name: " SPAN_FMT,
			       SPAN_ARG(span_head(name, 300)));
	enum rc rc = ipc_ask("resolver", true, IPC_DNS_QUERY, &q, &r, a, d, e);
	if (rc != RC_OK)
		return err_set(e, RC_AGAIN,
			       "Name service error for name=" SPAN_FMT ": no answer from the resolver",
			       SPAN_ARG(name));
	switch (r.status) {
	case 0:
		rc = dns_parse(r.message, type, a, out, e);
		out->secure = rc == RC_OK && r.secure;
		return rc;
	case 1:
	case 2:
		return no_data(e, r.status - 1, name);
	case 3:
		return err_set(e, RC_AGAIN, SPAN_FMT, SPAN_ARG(r.text));
	default:
		return err_set(e, RC_SYNTAX, SPAN_FMT, SPAN_ARG(r.text));
	}
}

static enum rc (*answer_filter)(struct dns_answer *ans, struct arena *a, struct err *e);

void dns_set_filter(enum rc (*filter)(struct dns_answer *ans, struct arena *a, struct err *e))
{
	answer_filter = filter;
}

enum rc dns_query(struct span name, enum dns_type type, struct arena *a, struct dns_answer *out, deadline_t d,
		  struct err *e)
{
	enum rc rc = query((struct dns_query){ .name = name, .qtype = (uint16_t)type }, type, a, out, d, e);

	return rc == RC_OK && answer_filter != NULL ? answer_filter(out, a, e) : rc;
}

enum rc dns_query_hosts(struct span name, enum dns_type type, struct arena *a, struct dns_answer *out,
			deadline_t d, struct err *e)
{
	return query((struct dns_query){ .name = name, .qtype = (uint16_t)type, .hosts = true }, type, a, out,
		     d, e);
}

enum rc dns_query_native(struct span name, enum dns_type type, struct arena *a, struct dns_answer *out,
			 deadline_t d, struct err *e)
{
	return query((struct dns_query){ .name = name, .qtype = (uint16_t)type, .hosts_first = true }, type,
		     a, out, d, e);
}
