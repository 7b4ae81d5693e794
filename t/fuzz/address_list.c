/* t/fuzz/address_list.c - any bytes as an address list: within the bounds, groups in pairs, raw inside the
 * text (RFC 5322 3.4). */
#include "mime/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct mailbox *v;
	struct arena a;
	size_t boxes;

	arena_init(&a);
	(void)address_list_parse(span_make((const char *)data, n), &a, 50, &v, &boxes);
	INVARIANT(boxes <= 50);
	for (size_t i = 0; i < boxes; i++) {
		INVARIANT(v[i].local.n + v[i].domain.n <= 2 * n);
		if (v[i].raw.n)
			INVARIANT(v[i].raw.p >= (const char *)data &&
				  v[i].raw.p + v[i].raw.n <= (const char *)data + n);
	}
	INVARIANT(a.used_bytes <= 100 * n + 20000); /* linear */
	arena_release(&a);
	return 0;
}
