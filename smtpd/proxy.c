/* proxy.c - see proxy.h. */
#include "proxy.h"

static const char signature[12] = { '\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };

static bool port_of(struct span text, uint16_t *out)
{
	uint64_t v;

	if ((text.n > 1 && text.p[0] == '0') || span_to_u64(text, 65535, &v) != RC_OK)
		return false;
	*out = (uint16_t)v;
	return true;
}

/* The plain form alone: no brackets, no "IPv6:", no scope. An IPv4 address may stand in an IPv6 one, whose kind it is then not. */
static bool address_of(struct span text, struct span kind, struct inet_addr *out)
{
	bool six = span_is(kind, "TCP6");

	for (size_t i = 0; i < text.n; i++)
		if (memchr("0123456789abcdefABCDEF.:", text.p[i], 24) == NULL)
			return false;
	return (span_chr(text, ':') >= 0) == six && inet_addr_parse(text, out) == RC_OK;
}

/* "PROXY TCP4 source destination port port", or "PROXY UNKNOWN" and anything. What stands behind is left alone. */
enum rc proxy_v1(struct span line, struct proxy_header *out)
{
	struct span w[6];

	*out = (struct proxy_header){ .local = true };
	if (line.n > PROXY_V1_MAX)
		return RC_LIMIT;
	if (!span_starts(line, SPAN("PROXY ")))
		return RC_SYNTAX;
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		if (!span_next_word(&line, " ", &w[i]))
			return RC_SYNTAX;
		if (i == 1 && span_is(w[1], "UNKNOWN"))
			return RC_OK;
	}
	if (!span_is(w[1], "TCP4") && !span_is(w[1], "TCP6"))
		return RC_SYNTAX;
	out->local = false;
	return address_of(w[2], w[1], &out->src) && address_of(w[3], w[1], &out->dst) &&
		       port_of(w[4], &out->src_port) && port_of(w[5], &out->dst_port)
		   ? RC_OK
		   : RC_SYNTAX;
}

static uint16_t be16(const char *p)
{
	return (uint16_t)((unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1]);
}

enum rc proxy_v2_length(struct span head, size_t *body)
{
	if (head.n != PROXY_V2_HEAD || memcmp(head.p, signature, sizeof(signature)) != 0 ||
	    (unsigned char)head.p[12] >> 4 != 2)
		return RC_SYNTAX;
	*body = be16(head.p + 14);
	return *body <= PROXY_V2_BODY_MAX ? RC_OK : RC_LIMIT;
}

static void take(const char *p, int family, size_t n, struct proxy_header *out)
{
	inet_addr_from_bytes(family, p, &out->src);
	inet_addr_from_bytes(family, p + n, &out->dst);
	out->src_port = be16(p + 2 * n);
	out->dst_port = be16(p + 2 * n + 2);
}

enum rc proxy_v2(struct span head, struct span body, struct proxy_header *out)
{
	unsigned command = (unsigned char)head.p[12] & 15, kind = (unsigned char)head.p[13];

	*out = (struct proxy_header){ .local = true };
	if (command == 0)
		return RC_OK;
	if (command != 1)
		return RC_SYNTAX;
	out->local = false;
	if (kind == 0x11 && body.n >= 12)
		take(body.p, AF_INET, 4, out);
	else if (kind == 0x21 && body.n >= 36)
		take(body.p, AF_INET6, 16, out);
	else
		return RC_SYNTAX;
	return RC_OK;
}
