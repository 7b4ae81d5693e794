/* limits.c - how often and how many at once: counted for all processes by anvil(8). Where anvil is not there,
 * nobody is refused, and the log says so once. */
#include "smtpd.h"

enum { CONNECT = 1, DISCONNECT = 2, NEWTLS_SEEN = 7 };

static bool excepted(const struct session *s)
{
	struct err e;

	/* Who may say XCLIENT speaks for others, each of whom is counted then. */
	return s->conn->peer_len == 0 || session_in_list(s, conf.xclient) ||
	       match_host(conf.limit_except, s->client.name, s->client.addr, &e) == RC_OK;
}

/* Whoever has a network has all its addresses: it counts as one client. */
static struct span counted_as(const struct session *s, struct arena *a)
{
	struct inet_addr ip = s->client.ip;
	unsigned bytes = ip.family == AF_INET ? 4 : 16;
	unsigned bits = (unsigned)(ip.family == AF_INET ? conf.prefix4 : conf.prefix6);
	char text[INET_TEXT_MAX];

	if ((ip.family != AF_INET && ip.family != AF_INET6) || bits >= bytes * 8)
		return s->client.addr;
	for (unsigned i = 0; i < bytes; i++)
		if (i * 8 >= bits)
			ip.b[i] = 0;
		else if (bits - i * 8 < 8)
			ip.b[i] &= (uint8_t)(0xff << (8 - (bits - i * 8)));
	inet_addr_text(&ip, text);
	return span_printf(a, "%s/%u", text, bits);
}

static bool ask(struct session *s, uint16_t kind, struct anvil_reply *r)
{
	static bool told;
	struct anvil_event q = { .service = span_str(service_name()), .kind = kind };
	struct arena a;
	struct err e;
	bool ok;

	arena_init(&a);
	q.client = counted_as(s, &a);
	ok = service_request("anvil", false, IPC_ANVIL, &q, r, &a, deadline_s(10), &e) == RC_OK;
	arena_release(&a);
	if (!ok && !told)
		log_warning("anvil: %s: client limits are not kept", e.text);
	told = !ok;
	return ok;
}

bool limit_connect(struct session *s)
{
	struct anvil_reply r;

	if ((conf.limit_connections == 0 && conf.limit_connect_rate == 0) || excepted(s) ||
	    !ask(s, CONNECT, &r))
		return true;
	s->counted = true;
	if (conf.limit_connections > 0 && r.count > (uint64_t)conf.limit_connections) {
		log_warning("Connection concurrency limit exceeded: %u from %s for service %s", r.count,
			    session_client(s), service_name());
		reply(s, "421 4.7.0 %s Error: too many connections from " SPAN_FMT, conf.myhostname,
		      SPAN_ARG(s->client.addr));
		return false;
	}
	if (conf.limit_connect_rate > 0 && r.rate > (uint64_t)conf.limit_connect_rate) {
		log_warning("Connection rate limit exceeded: %u from %s for service %s", r.rate,
			    session_client(s), service_name());
		reply(s, "421 4.7.0 %s Error: too many connections from " SPAN_FMT, conf.myhostname,
		      SPAN_ARG(s->client.addr));
		return false;
	}
	return true;
}

void limit_disconnect(struct session *s)
{
	struct anvil_reply r;

	if (s->counted)
		(void)ask(s, DISCONNECT, &r);
	s->counted = false;
}

bool limit_event(struct session *s, enum limit_kind kind)
{
	static const char *const names[] = { [LIMIT_MAIL] = "Message delivery request",
					     [LIMIT_RCPT] = "Recipient address",
					     [LIMIT_TLS] = "New TLS session",
					     [LIMIT_AUTH] = "AUTH command" };
	int64_t limit = kind == LIMIT_MAIL   ? conf.limit_mail_rate
			: kind == LIMIT_RCPT ? conf.limit_rcpt_rate
			: kind == LIMIT_TLS  ? conf.limit_tls_rate
					     : conf.limit_auth_rate;
	struct anvil_reply r;

	if (limit == 0 || excepted(s) || !ask(s, (uint16_t)kind, &r) || r.rate <= (uint64_t)limit)
		return true;
	log_warning("%s rate limit exceeded: %u from %s for service %s", names[kind], r.rate,
		    session_client(s), service_name());
	return false;
}

bool limit_tls_reached(struct session *s)
{
	struct anvil_reply r;

	if (conf.limit_tls_rate == 0 || excepted(s) || !ask(s, NEWTLS_SEEN, &r) ||
	    r.rate <= (uint64_t)conf.limit_tls_rate)
		return false;
	log_warning("Refusing STARTTLS request from %s for service %s", session_client(s), service_name());
	return true;
}
