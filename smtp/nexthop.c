/* nexthop.c - see nexthop.h. */
#include "nexthop.h"
#include "conf/ports.h"

/* Takes the host off *rest. */
static bool take_host(struct span *rest, struct nexthop *out)
{
	ptrdiff_t end;
	out->literal = rest->n > 0 && rest->p[0] == '[';
	end = span_chr(*rest, out->literal ? ']' : ':');
	if (out->literal && end < 0)
		return false;
	if (end < 0)
		end = (ptrdiff_t)rest->n;
	out->host = span_skip(span_head(*rest, (size_t)end), out->literal ? 1 : 0);
	*rest = span_skip(*rest, (size_t)end + (out->literal ? 1 : 0));
	if (span_starts_ci(out->host, SPAN("IPv6:")))
		out->host = span_skip(out->host, 5);
	if (out->host.n > 0 && out->host.p[out->host.n - 1] == '.')
		out->host.n--;
	return out->host.n > 0 && (rest->n == 0 || rest->p[0] == ':');
}

enum rc nexthop_parse(struct span text, const char *service, uint16_t port, struct nexthop *out,
		      struct err *e)
{
	struct span rest = text;
	*out = (struct nexthop){ .port = port, .service = span_str(service) };
	if (!take_host(&rest, out))
		return err_set(e, RC_SYNTAX, "bad next hop: " SPAN_FMT, SPAN_ARG(text));
	if (rest.n <= 1)
		return RC_OK;
	out->service = span_skip(rest, 1);
	if (!port_parse(out->service, &out->port) || out->port == 0)
		return err_set(e, RC_SYNTAX, "unknown port in next hop: " SPAN_FMT, SPAN_ARG(out->service));
	return RC_OK;
}
