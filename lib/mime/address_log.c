/* mime/address_log.c - addresses in log lines. */
#include "mime/address_log.h"
#include "base/arena.h"
#include "mime/address.h"

#define PER_LINE 4

static bool internal;

bool address_log_format(struct span name)
{
	if (!span_is(name, "external") && !span_is(name, "internal"))
		return false;
	internal = span_is(name, "internal");
	return true;
}

struct span address_log(struct span external)
{
	static struct arena shown[PER_LINE];
	static unsigned next;
	struct arena *a = &shown[next];

	if (!internal || external.n == 0 || external.p[0] != '"')
		return external;
	next = (next + 1) % PER_LINE;
	arena_release(a);
	return address_unquote(a, external);
}
