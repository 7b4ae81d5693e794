/* t/fuzz/dns_answer.c - no DNS answer, whatever its bytes, does more than be refused (RFC 1035 section 4.1).
 */
#include "net/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Its text is that of this address and no other's. */
static void check_address(const struct dns_rr *rr)
{
	char text[INET_TEXT_MAX];
	struct inet_addr again;

	if (rr->type != DNS_A && rr->type != DNS_AAAA)
		return;
	inet_addr_text(&rr->addr, text);
	INVARIANT(inet_addr_parse(span_str(text), &again) == RC_OK && inet_addr_eq(&rr->addr, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const enum dns_type types[] = { DNS_A, DNS_PTR, DNS_MX, DNS_TXT, DNS_AAAA, DNS_SRV, DNS_TLSA };
	struct arena a;
	struct dns_answer out;
	struct err e;
	if (n < 1)
		return 0;
	arena_init(&a);
	enum rc rc = dns_parse(span_make((const char *)data + 1, n - 1), types[data[0] % ARRAY_LEN(types)],
			       &a, &out, &e);
	INVARIANT(rc != RC_OK || (out.n > 0 && out.n <= DNS_RR_MAX));
	for (size_t i = 0; rc == RC_OK && i < out.n; i++) {
		check_address(&out.rr[i]);
		for (size_t k = 0; k < out.rr[i].target.n; k++)
			INVARIANT(ascii_isprint(out.rr[i].target.p[k]));
	}
	arena_release(&a);
	return 0;
}
