/* message.c - DNS messages (RFC 1035 section 4.1, RFC 6891 for EDNS). */
#include "resolver.h"
#include "base/codec.h"

#include <arpa/nameser.h>
#include <resolv.h>

#define HEADER_BYTES	 12
#define OPT_BYTES	 11
#define TTL_POSITIVE_MAX 86400
#define TTL_NEGATIVE_MAX 3600 /* RFC 2308 section 5: one to three hours */
#define HOSTS_ANSWERS	 20
#define RECORD_HEAD	 12   /* of a record: pointer to its name, type, class, TTL, length */
#define FLAG_AD		 0x20 /* in the fourth byte */

static void add_edns(struct question *q)
{
	static const unsigned char opt[OPT_BYTES] = {
		0, 0, 41, UDP_ANSWER_MAX >> 8, UDP_ANSWER_MAX & 255, 0, 0, 0, 0, 0, 0
	};
	memcpy(q->p + q->n, opt, sizeof opt);
	q->n += sizeof opt;
	q->p[11] = 1;
}

enum rc question_make(struct span name, uint16_t qtype, bool ad, struct question *q)
{
	struct __res_state state = { .options = RES_RECURSE };
	char text[NS_MAXDNAME];
	if (name.n == 0 || span_cstr(name, text, sizeof text) != RC_OK)
		return RC_SYNTAX;
	for (size_t i = 0; i < name.n; i++) /* escapes would make other names of it */
		if (name.p[i] <= ' ' || name.p[i] == '\\' || name.p[i] == '"' || !ascii_isprint(name.p[i]))
			return RC_SYNTAX;
	int n = res_nmkquery(&state, ns_o_query, text, ns_c_in, qtype, NULL, 0, NULL, q->p,
			     sizeof q->p - OPT_BYTES);
	if (n < HEADER_BYTES + 5)
		return RC_SYNTAX;
	q->n = (size_t)n;
	q->name_end = q->n - 4;
	q->p[0] = q->p[1] = 0;
	q->p[2] |= 1; /* recursion desired */
	if (ad)	      /* RFC 6840 section 5.7 */
		q->p[3] |= FLAG_AD;
	add_edns(q);
	return RC_OK;
}

void question_new_id(struct question *q)
{
	random_bytes(q->p, 2);
}

void question_drop_edns(struct question *q)
{
	q->n = q->name_end + 4;
	q->p[11] = 0;
}

bool answer_fits(const struct question *q, struct span answer)
{
	size_t end = q->name_end + 4;
	const unsigned char *p = (const unsigned char *)answer.p;
	if (answer.n < HEADER_BYTES || p[0] != q->p[0] || p[1] != q->p[1] || (p[2] & 0xf8) != 0x80)
		return false;
	if (p[4] != 0 || p[5] != 1 || answer.n < end)
		/* Servers that refuse may leave the question out. */
		return p[4] == 0 && p[5] == 0 && (p[3] & 15) != ns_r_noerror && (p[3] & 15) != ns_r_nxdomain;
	return span_eq_ci(span_make(answer.p + HEADER_BYTES, q->name_end - HEADER_BYTES),
			  span_make((const char *)q->p + HEADER_BYTES, q->name_end - HEADER_BYTES)) &&
	       memcmp(p + q->name_end, q->p + q->name_end, 4) == 0;
}

unsigned answer_rcode(struct span answer)
{
	return (unsigned char)answer.p[3] & 15u;
}

bool answer_truncated(struct span answer)
{
	return (answer.p[2] & 2) != 0;
}

bool answer_secure(struct span answer)
{
	return (answer.p[3] & FLAG_AD) != 0;
}

/* Least time to live of the records; *have: whether one of the type is there. */
static bool scan_answers(ns_msg *m, uint16_t qtype, uint32_t *ttl_s, bool *have)
{
	*have = false;
	for (unsigned i = 0; i < ns_msg_count(*m, ns_s_an); i++) {
		ns_rr rr;
		if (ns_parserr(m, ns_s_an, (int)i, &rr) < 0)
			return false;
		*have = *have || ns_rr_type(rr) == qtype;
		if (ns_rr_ttl(rr) < *ttl_s)
			*ttl_s = ns_rr_ttl(rr);
	}
	return true;
}

/* RFC 2308 section 5: the lesser of the SOA's own time to live and its last field; without a SOA nothing is
 * kept. */
static uint32_t negative_ttl(ns_msg *m)
{
	for (unsigned i = 0; i < ns_msg_count(*m, ns_s_ns); i++) {
		ns_rr rr;
		if (ns_parserr(m, ns_s_ns, (int)i, &rr) < 0)
			return 0;
		if (ns_rr_type(rr) != ns_t_soa || ns_rr_rdlen(rr) < 22)
			continue;
		uint32_t minimum = (uint32_t)ns_get32(ns_rr_rdata(rr) + ns_rr_rdlen(rr) - 4);
		return ns_rr_ttl(rr) < minimum ? ns_rr_ttl(rr) : minimum;
	}
	return 0;
}

uint16_t answer_status(struct span answer, uint16_t qtype, uint32_t *ttl_s)
{
	ns_msg m;
	bool have = false;
	unsigned rcode = answer_rcode(answer);
	*ttl_s = 0;
	if (rcode != ns_r_noerror && rcode != ns_r_nxdomain)
		return 3;
	uint32_t ttl = TTL_POSITIVE_MAX;
	if (ns_initparse((const unsigned char *)answer.p, (int)answer.n, &m) < 0 ||
	    !scan_answers(&m, qtype, &ttl, &have))
		return 4;
	if (rcode == ns_r_noerror && have) {
		*ttl_s = ttl;
		return 0;
	}
	ttl = negative_ttl(&m);
	*ttl_s = ttl < TTL_NEGATIVE_MAX ? ttl : TTL_NEGATIVE_MAX;
	return rcode == ns_r_nxdomain ? 1 : 2;
}

/* The head of a record whose owner is the name in the question. */
static size_t record_head(unsigned char *p, uint16_t qtype, size_t bytes)
{
	const unsigned char head[RECORD_HEAD] = { 0xc0,
						  HEADER_BYTES,
						  (unsigned char)(qtype >> 8),
						  (unsigned char)qtype,
						  0,
						  ns_c_in,
						  0,
						  0,
						  0,
						  0,
						  (unsigned char)(bytes >> 8),
						  (unsigned char)bytes };
	memcpy(p, head, sizeof head);
	return sizeof head;
}

static struct span name_from_hosts(struct span reverse, struct arena *a)
{
	struct question q, name;
	if (question_make(reverse, ns_t_ptr, false, &q) != RC_OK ||
	    question_make(setup_host_name(reverse), ns_t_ptr, false, &name) != RC_OK)
		return SPAN_NONE;
	question_drop_edns(&q);
	size_t n = q.n, bytes = name.name_end - HEADER_BYTES;
	unsigned char *p = arena_alloc(a, n + RECORD_HEAD + bytes);
	memcpy(p, q.p, n);
	n += record_head(p + n, ns_t_ptr, bytes);
	memcpy(p + n, name.p + HEADER_BYTES, bytes);
	p[2] |= 0x80; /* an answer */
	p[7] = 1;
	return span_make((const char *)p, n + bytes);
}

struct span answer_from_hosts(struct span name, uint16_t qtype, struct arena *a)
{
	struct question q;
	struct inet_addr addr;
	int family = qtype == ns_t_a ? AF_INET : AF_INET6;
	unsigned char bytes = qtype == ns_t_a ? 4 : 16;
	size_t count = 0;
	if (qtype == ns_t_ptr)
		return name_from_hosts(name, a);
	if ((qtype != ns_t_a && qtype != ns_t_aaaa) || question_make(name, qtype, false, &q) != RC_OK)
		return SPAN_NONE;
	question_drop_edns(&q);
	unsigned char *p = arena_alloc(a, q.n + HOSTS_ANSWERS * (RECORD_HEAD + 16));
	size_t n = q.n;
	memcpy(p, q.p, n);
	for (; count < HOSTS_ANSWERS && setup_host(name, family, count, &addr); count++) {
		n += record_head(p + n, qtype, bytes);
		memcpy(p + n, addr.b, bytes);
		n += bytes;
	}
	p[2] |= 0x80; /* an answer */
	p[7] = (unsigned char)count;
	return count > 0 ? span_make((const char *)p, n) : SPAN_NONE;
}
