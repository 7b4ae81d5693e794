/* t/fuzz/address_loose.c - any bytes as an address that somebody wrote: what comes out is read again as the same
 * parts, and no '@' is left in a domain. */
#include "mime/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span text = span_make((const char *)data, n);
	struct address_loose first, again;
	struct arena a;

	for (size_t i = 0; i < n; i++)
		if (data[i] < 0x20)
			return 0;
	arena_init(&a);
	address_read(text, &a, &first);
	INVARIANT(first.local.n + first.domain.n <= 2 * n + 2);
	INVARIANT(span_chr(first.domain, '@') < 0);
	address_read(address_join(&a, first.local, first.domain), &a, &again);
	INVARIANT(span_eq(first.local, again.local) && again.has_at);
	INVARIANT(a.used_bytes <= 100 * n + 20000);
	arena_release(&a);
	return 0;
}
