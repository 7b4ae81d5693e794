/* Any bytes as the PROXY header of a load balancer (smtpd/proxy.h), as smtpd takes them off a connection: refused, or addresses of one plain
 * form, the same ones when they are written as a header and read again. */
#include "../../smtpd/proxy.c" /* a daemon's file: not in the archive */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plain(const struct inet_addr *a)
{
	char text[INET_TEXT_MAX];
	struct inet_addr again;

	INVARIANT(a->family == AF_INET || a->family == AF_INET6);
	inet_addr_text(a, text);
	INVARIANT(inet_addr_parse(span_str(text), &again) == RC_OK && inet_addr_eq(a, &again));
}

static bool same(const struct proxy_header *a, const struct proxy_header *b)
{
	return a->local == b->local && inet_addr_eq(&a->src, &b->src) && inet_addr_eq(&a->dst, &b->dst) &&
	       a->src_port == b->src_port && a->dst_port == b->dst_port;
}

static void check(const struct proxy_header *h)
{
	char src[INET_TEXT_MAX], dst[INET_TEXT_MAX], line[2 * INET_TEXT_MAX + 40];
	struct proxy_header again;

	if (h->local)
		return;
	plain(&h->src);
	plain(&h->dst);
	if (h->src.family != h->dst.family) /* one of both was an IPv4 address within an IPv6 one */
		return;
	inet_addr_text(&h->src, src);
	inet_addr_text(&h->dst, dst);
	(void)snprintf(line, sizeof line, "PROXY TCP%d %s %s %u %u", h->src.family == AF_INET ? 4 : 6, src,
		       dst, h->src_port, h->dst_port);
	INVARIANT(proxy_v1(span_str(line), &again) == RC_OK && same(h, &again));
}

static void as_v2(struct span text)
{
	struct span head = span_head(text, PROXY_V2_HEAD), body = span_skip(text, PROXY_V2_HEAD);
	struct proxy_header h;
	size_t n = 0;

	if (proxy_v2_length(head, &n) != RC_OK)
		return;
	INVARIANT(n <= PROXY_V2_BODY_MAX);
	if (body.n >= n && proxy_v2(head, span_head(body, n), &h) == RC_OK)
		check(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_make((const char *)data, size);
	struct proxy_header h;

	as_v2(text);
	enum rc rc = proxy_v1(text, &h);
	INVARIANT(rc != RC_OK || (text.n <= PROXY_V1_MAX && span_starts(text, SPAN("PROXY "))));
	if (rc == RC_OK)
		check(&h);
	return 0;
}
