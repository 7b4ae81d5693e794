/* smtp/probe_sender.c - the sender of probes. */
#include "smtp/probe_sender.h"
#include "mime/address.h"

#define BASE 31 /* digits, then consonants: no words come of it */

/* The part that depends on time; "" when there is none. */
static void stamp(const struct conf *c, int64_t now_s, int shift, char out[16])
{
	static const char digits[] = "0123456789BCDFGHJKLMNPQRSTVWXYZ";
	int64_t ttl = conf_int(c, "address_verify_sender_ttl");
	uint64_t v = ttl > 0 ? (uint64_t)(now_s / ttl + shift) : 0;
	char text[16];
	size_t n = 0;

	for (; v > 0 && n < sizeof(text); v /= BASE)
		text[n++] = digits[v % BASE];
	for (size_t i = 0; i < n && i < 15; i++)
		out[i] = text[n - 1 - i];
	out[n < 15 ? n : 15] = '\0';
}

struct span probe_sender(const struct conf *c, int64_t now_s, struct arena *a)
{
	struct span base = span_str(conf_str(c, "address_verify_sender"));
	struct address parts = address_split(base);
	char time_part[16];

	if (base.n == 0 || span_is(base, "<>"))
		return SPAN("");
	stamp(c, now_s, 0, time_part);
	if (parts.domain.n > 0)
		return span_printf(a, SPAN_FMT "%s@" SPAN_FMT, SPAN_ARG(parts.local), time_part,
				   SPAN_ARG(parts.domain));
	return span_printf(a, SPAN_FMT "%s@%s", SPAN_ARG(parts.local), time_part, conf_str(c, "myorigin"));
}

bool probe_sender_is(const struct conf *c, struct span addr, int64_t now_s)
{
	struct span base = span_str(conf_str(c, "address_verify_sender"));
	struct address own = address_split(base), theirs = address_split(addr);
	struct span rest;

	if (base.n == 0 || span_is(base, "<>") || !span_starts_ci(theirs.local, own.local) ||
	    (own.domain.n > 0 && !span_eq_ci(own.domain, theirs.domain)))
		return false;
	rest = span_skip(theirs.local, own.local.n);
	for (int shift = -1; shift <= 1; shift++) {
		char time_part[16];

		stamp(c, now_s, shift, time_part);
		if (span_is_ci(rest, time_part))
			return true;
	}
	return false;
}
