/* t/fuzz/dns_answer.c - no DNS answer, whatever its bytes, does more than be refused (RFC 1035 section 4.1).
 */
#include "net/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
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
	for (size_t i = 0; rc == RC_OK && i < out.n; i++)
		for (size_t k = 0; k < out.rr[i].target.n; k++)
			INVARIANT(ascii_isprint(out.rr[i].target.p[k]));
	arena_release(&a);
	return 0;
}
