/* net/endpoint.c - see endpoint.h. */
#include "net/endpoint.h"
#include "net/conn.h"
#include "net/dns.h"
#include "conf/port.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 100 /* lib/service/masterproto.h: what a request to master has room for */
#define ADDRESSES      8

static char *copy(struct span s)
{
	char *p = xmalloc(s.n + 1);

	memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

static enum rc parse_inet(struct span text, struct endpoint *out, struct err *e)
{
	ptrdiff_t colon = span_rchr(text, ':');
	struct span host = colon >= 0 ? span_head(text, (size_t)colon) : SPAN("");
	struct span port = colon >= 0 ? span_skip(text, (size_t)colon + 1) : text;

	if (text.n >= NAME_MAX_BYTES - INET_TEXT_MAX || port_parse(port, &out->port) != RC_OK)
		return err_set(e, RC_SYNTAX, "bad host or port: " SPAN_FMT, SPAN_ARG(text));
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = span_make(host.p + 1, host.n - 2);
	if (span_starts_ci(host, SPAN("ipv6:")))
		host = span_skip(host, 5);
	out->text = copy(text);
	out->host = copy(host);
	return RC_OK;
}

enum rc endpoint_parse(struct span text, struct endpoint *out, struct err *e)
{
	text = span_trim(text);
	*out = (struct endpoint){ .name = copy(text) };
	if (span_starts(text, SPAN("inet:")))
		return parse_inet(span_skip(text, 5), out, e);
	if (span_starts(text, SPAN("unix:")))
		text = span_skip(text, 5);
	else if (span_chr(text, '/') < 0)
		return parse_inet(text, out, e);
	if (text.n == 0 || text.n >= 60)
		return err_set(e, RC_SYNTAX, "bad path of a socket: %s", out->name);
	out->path = copy(text);
	return RC_OK;
}

/* ---- addresses ---- */

static size_t literal(const char *host, struct inet_addr *out)
{
	if (host[0] == '\0')
		host = "127.0.0.1";
	return inet_addr_parse(span_str(host), out) == RC_OK ? 1 : 0;
}

static size_t look_up(const char *host, struct inet_addr *out, deadline_t d, struct err *e)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA };
	struct arena a;
	size_t n = 0;

	arena_init(&a);
	for (size_t t = 0; t < ARRAY_LEN(types); t++) {
		struct dns_answer ans = { .n = 0 };
		enum rc rc = dns_query_hosts(span_str(host), types[t], &a, &ans, d, e);

		if (rc != RC_OK)
			rc = dns_query(span_str(host), types[t], &a, &ans, d, e);
		for (size_t i = 0; rc == RC_OK && i < ans.n && n < ADDRESSES; i++)
			out[n++] = ans.rr[i].addr;
	}
	arena_release(&a);
	return n;
}

static enum rc reach(const struct endpoint *p, const struct inet_addr *ip, endpoint_connect_fn *via,
		     deadline_t d, int *fd, struct err *e)
{
	char request[NAME_MAX_BYTES + 40], text[INET_TEXT_MAX];
	enum rc rc;

	inet_addr_text(ip, text);
	snprintf(request, sizeof request, "inet:%s %s %u", p->text, text, p->port);
	if ((rc = via(request, fd, d, e)) == RC_OK)
		rc = conn_finish(fd, d, e);
	return rc;
}

enum rc endpoint_connect(const struct endpoint *p, endpoint_connect_fn *via, deadline_t d, int *fd,
			 struct err *e)
{
	struct inet_addr ip[ADDRESSES];
	enum rc rc = RC_AGAIN;
	size_t n;

	*fd = -1;
	if (p->path != NULL)
		return via(p->path, fd, d, e);
	if ((n = literal(p->host, ip)) == 0)
		n = look_up(p->host, ip, d, e);
	if (n == 0)
		return err_set(e, RC_AGAIN, "host %s is not found", p->host);
	for (size_t i = 0; i < n && rc != RC_OK; i++)
		rc = reach(p, &ip[i], via, d, fd, e);
	return rc;
}
