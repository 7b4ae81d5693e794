/* Any bytes as places to connect to: next hops of transports, servers that parameters name, and host and port as commands take them. Parts lie within the
 * text, ports are ports, and what was taken is the same when its parts are put together again. */
#include "../../lib/net/hostport.c"
#include "../../smtp/nexthop.c" /* a daemon's file: not in the archive */
#include "base/arena.h"
#include "net/endpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct span part, struct span whole)
{
	return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void as_nexthop(struct span text, struct arena *a)
{
	struct nexthop h, again;
	struct err e = { .text = "" };

	if (nexthop_parse(text, "smtp", 25, &h, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
		return;
	}
	INVARIANT(h.host.n > 0 && h.port != 0 && within(h.host, text));
	INVARIANT(h.literal == (text.p[0] == '['));
	INVARIANT(within(h.service, text) ? h.service.n > 0 : span_is(h.service, "smtp") && h.port == 25);
	INVARIANT(span_chr(h.host, h.literal ? ']' : ':') < 0);
	struct span put = span_printf(a, "%s" SPAN_FMT "%s:%u", h.literal ? "[IPv6:" : "", SPAN_ARG(h.host),
				      h.literal ? "]" : "", h.port);
	bool final =
	    h.host.p[h.host.n - 1] == '.' || span_starts_ci(h.host, SPAN("IPv6:")); /* one more would go */
	INVARIANT(final ||
		  (nexthop_parse(put, "smtp", 25, &again, &e) == RC_OK && span_eq(again.host, h.host) &&
		   again.port == h.port && again.literal == h.literal));
}

static void as_endpoint(struct span text)
{
	struct endpoint p;
	struct err e = { .text = "" };

	enum rc rc = endpoint_parse(text, &p, &e);
	INVARIANT(span_eq(span_str(p.name), span_trim(text)));
	if (rc != RC_OK)
		INVARIANT(e.text[0] != '\0');
	else if (p.path != NULL)
		INVARIANT(p.path[0] != '\0' && p.host == NULL);
	else
		INVARIANT(p.port != 0 && p.host != NULL && p.text != NULL &&
			  span_ends(span_str(p.name), span_str(p.text)));
	free((char *)(uintptr_t)p.name);
	free((char *)(uintptr_t)p.path);
	free((char *)(uintptr_t)p.text);
	free((char *)(uintptr_t)p.host);
}

static void as_hostport(struct span text)
{
	struct span rest = text, host;

	if (!split_host(&rest, &host))
		return;
	INVARIANT(within(host, text) && within(rest, text));
	INVARIANT(rest.n == 0 || rest.p[0] == ':');
	INVARIANT(host.n + rest.n == text.n || (text.p[0] == '[' && host.n + rest.n + 2 == text.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_make((const char *)data, size);
	struct arena a;

	if (size > 2000 || span_chr(text, '\0') >= 0) /* of tables, parameters and command lines */
		return 0;
	arena_init(&a);
	as_nexthop(text, &a);
	as_endpoint(text);
	as_hostport(text);
	arena_release(&a);
	return 0;
}
