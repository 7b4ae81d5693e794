/* restrict_server.c - check_..._mx_access, check_..._ns_access, check_..._a_access: an access table asked about the hosts
 * behind a name: those that take its mail, those that serve its zone, or its own addresses. */
#include "restrict.h"

#define WAIT_S	  60
#define HOSTS_MAX 100 /* looked at for one name */

enum kind { KIND_A, KIND_MX, KIND_NS };
static const char *const kind_names[] = { [KIND_A] = "A", [KIND_MX] = "MX", [KIND_NS] = "NS" };
enum about { OF_CLIENT, OF_REVERSE, OF_HELO, OF_SENDER, OF_RCPT };

struct inquiry {
	struct session *s;
	struct check *c;
	struct maps *maps;
	enum kind kind;
	struct span name;    /* a domain, or a literal with brackets; "" nothing to ask about */
	struct span asked;   /* the same, or the whole address: for the log */
	struct span subject; /* of replies */
	const char *class;
};

static void find_name(struct inquiry *q, enum about about)
{
	struct session *s = q->s;

	switch (about) {
	case OF_CLIENT:
		q->name = s->client.name_code == 2 ? s->client.name : SPAN_NONE;
		q->subject = span_printf(q->c->a, "%s", session_client(s));
		q->class = "Client host";
		return;
	case OF_REVERSE:
		q->name = s->client.rname_code == 2 ? s->client.rname : SPAN_NONE;
		q->subject = s->client.rname;
		q->class = "Unverified Client host";
		return;
	case OF_HELO:
		q->name = q->subject = s->client.helo;
		q->class = "Helo command";
		return;
	case OF_SENDER:
		q->subject = s->tx != NULL ? s->tx->sender : SPAN_NONE;
		q->class = "Sender address";
		break;
	case OF_RCPT:
		q->subject = q->c->rcpt;
		q->class = "Recipient address";
		break;
	}
	q->asked = q->subject;
	if (q->subject.n > 0)
		q->name = address_split(q->subject).domain;
	q->subject = address_unquote(q->c->a, q->subject);
}

/* What a table says of a host. OK would let everything pass that such a host stands behind: refused as a mistake. */
static enum outcome told(struct inquiry *q, struct span value)
{
	const char *table = map_name(maps_at(q->maps, 0));
	enum outcome o;

	q->c->subject = q->subject;
	o = access_result(q->s, q->c, value, table, q->subject, q->class);
	if (o != PERMIT)
		return o;
	log_warning("%s: an access table about hosts behind " SPAN_FMT " must not say OK: use DUNNO", table,
		    SPAN_ARG(span_head(q->name, 255)));
	return restrict_config_error(q->c);
}

static enum outcome found(struct inquiry *q, enum rc rc, struct span value)
{
	if (rc == RC_NOTFOUND)
		return DUNNO;
	q->c->subject = q->subject;
	return rc == RC_OK ? told(q, value) : restrict_table_error(q->c, q->class);
}

static enum outcome ask_address(struct inquiry *q, const struct inet_addr *ip)
{
	char text[INET_TEXT_MAX];
	struct span value = SPAN_NONE;
	enum rc rc;

	inet_addr_text(ip, text);
	rc = access_find_addr(q->maps, span_dup(q->c->a, span_str(text)), q->c->a, &value);
	return found(q, rc, value);
}

static enum outcome ask_host(struct inquiry *q, struct span host)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA };
	struct span value = SPAN_NONE;
	enum rc rc = access_find_name(q->maps, host, q->c->a, &value);
	enum outcome o = found(q, rc, value);
	bool exists = false, any = false;

	for (size_t t = 0; t < ARRAY_LEN(types) && o == DUNNO; t++) {
		struct dns_answer ans;
		struct err e;

		rc = dns_query(host, types[t], q->c->a, &ans, deadline_s(WAIT_S), &e);
		exists |= rc == RC_NOTFOUND && e.sys == 1;
		if (rc != RC_OK)
			continue;
		any |= ans.n > 0;
		for (size_t i = 0; i < ans.n && o == DUNNO; i++)
			o = ask_address(q, &ans.rr[i].addr);
	}
	if (o == DUNNO && !any && q->kind != KIND_A)
		log_warning("Unable to look up %s host " SPAN_FMT " for %s " SPAN_FMT ": %s",
			    kind_names[q->kind], SPAN_ARG(span_head(host, 255)), q->class,
			    SPAN_ARG(span_head(q->subject, 255)),
			    exists ? "No address associated with hostname" : "Name or service not known");
	return o;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" */
static enum outcome ask_literal(struct inquiry *q)
{
	struct span inside = span_make(q->name.p + 1, q->name.n >= 2 ? q->name.n - 2 : 0);
	struct inet_addr ip;

	if (span_starts_ci(inside, SPAN("IPv6:")))
		inside = span_skip(inside, 5);
	return inet_addr_parse(inside, &ip) == RC_OK ? ask_address(q, &ip) : DUNNO;
}

/* The records of a zone stand at its top: parents are asked, but no top-level domain. */
static enum rc find_servers(struct inquiry *q, struct dns_answer *ans, struct err *e)
{
	struct span zone = q->name;
	ptrdiff_t dot;

	for (;;) {
		enum rc rc = dns_query(zone, DNS_NS, q->c->a, ans, deadline_s(WAIT_S), e);

		if (rc != RC_NOTFOUND || (dot = span_chr(zone, '.')) < 0)
			return rc;
		zone = span_skip(zone, (size_t)dot + 1);
		if (span_chr(zone, '.') < 0)
			return rc;
	}
}

enum outcome run_server_access(struct session *s, struct check *c, const struct rule *r)
{
	enum kind kind = (unsigned)r->def->which / 10;
	struct inquiry q = { .s = s, .c = c, .maps = r->maps, .kind = kind };
	struct dns_answer ans = { .n = 0 };
	enum outcome o = DUNNO;
	struct err e = { .sys = 0 };
	enum rc rc;

	find_name(&q, (unsigned)r->def->which % 10);
	if (q.name.n == 0 || maps_empty(r->maps))
		return DUNNO;
	if (q.name.p[0] == '[')
		return ask_literal(&q);
	if (!domain_valid(q.name, conf.smtputf8))
		return DUNNO;
	if (kind == KIND_A)
		return ask_host(&q, q.name);
	rc = kind == KIND_NS ? find_servers(&q, &ans, &e)
			     : dns_query(q.name, DNS_MX, c->a, &ans, deadline_s(WAIT_S), &e);
	if (kind == KIND_MX && rc == RC_NOTFOUND) /* RFC 5321 section 5.1: its own mail host */
		return ask_host(&q, q.name);
	if (rc != RC_OK)
		log_warning("Unable to look up %s host for " SPAN_FMT ": %s", kind_names[kind],
			    SPAN_ARG(span_head(rc == RC_NOTFOUND && q.asked.n > 0 ? q.asked : q.name, 255)),
			    rc == RC_NOTFOUND ? "Host found but no data record of requested type"
					      : "Host not found, try again");
	for (size_t i = 0; i < ans.n && i < HOSTS_MAX && o == DUNNO; i++)
		if (ans.rr[i].target.n > 0) /* "" is the null MX */
			o = ask_host(&q, ans.rr[i].target);
	return o;
}
