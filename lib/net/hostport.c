/* net/hostport.c - see hostport.h. */
#include "net/hostport.h"
#include "conf/port.h"
#include <string.h>

/* Takes "[...]" or what stands before the last ":" off *rest. */
static bool split_host(struct span *rest, struct span *host)
{
	ptrdiff_t end = rest->n > 0 && rest->p[0] == '[' ? span_chr(*rest, ']') : -1;

	if (end > 0) {
		*host = span_make(rest->p + 1, (size_t)end - 1);
		*rest = span_skip(*rest, (size_t)end + 1);
		return rest->n == 0 || rest->p[0] == ':';
	}
	if ((end = span_rchr(*rest, ':')) < 0)
		end = (ptrdiff_t)rest->n;
	*host = span_head(*rest, (size_t)end);
	*rest = span_skip(*rest, (size_t)end);
	return rest->p == NULL || span_chr(*host, '[') < 0;
}

enum rc hostport_lookup(const char *text, const struct hostport_want *want, struct addrinfo **out,
			struct err *e)
{
	struct addrinfo hints = { .ai_family = want->family,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = want->listen ? AI_PASSIVE : 0 };
	struct span rest = span_str(text), host_text;
	char host[256], port[64];

	if (!split_host(&rest, &host_text))
		return err_set(e, RC_SYNTAX, "%s: not host:port", text);
	if (want->port == NULL && rest.n == 0) {
		rest = host_text;
		host_text = SPAN_NONE;
	} else {
		rest = span_skip(rest, 1);
	}
	if (host_text.n == 0)
		host_text = span_str(want->host);
	if (rest.n == 0)
		rest = span_str(want->port);
	if (rest.n == 0 || span_cstr(host_text, host, sizeof host) != RC_OK ||
	    span_cstr(rest, port, sizeof port) != RC_OK)
		return err_set(e, RC_SYNTAX, "%s: not host:port", text);
	uint16_t known;

	if (port_parse(rest, &known) == RC_OK)
		snprintf(port, sizeof port, "%u", known);
	int failed = getaddrinfo(host_text.n > 0 ? host : NULL, port, &hints, out);
	if (failed != 0)
		return err_set(e, RC_NOTFOUND, "%s: %s", text, gai_strerror(failed));
	return RC_OK;
}
