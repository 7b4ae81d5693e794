/* t/fuzz/address.c - any bytes as a path: taken or refused, what is taken is in standard form and stays so
 * (RFC 5321 4.1.2). */
#include "mime/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span text = span_make((const char *)data, n), out, again, user, ext;
	struct arena a;
	bool routed;

	arena_init(&a);
	for (int utf8 = 0; utf8 < 2; utf8++) {
		if (address_parse_path(text, utf8, &a, &out, &routed) != RC_OK)
			continue;
		INVARIANT(out.n > 0 && out.n <= n);
		INVARIANT(span_chr(out, '\n') < 0 && span_chr(out, '\r') < 0 && span_chr(out, '\0') < 0);
		INVARIANT(address_parse_path(out, utf8, &a, &again, &routed) == RC_OK && span_eq(out, again));
		INVARIANT(!routed);
		again = address_quote(&a, address_unquote(&a, out));
		INVARIANT(span_eq(address_unquote(&a, again), address_unquote(&a, out)));
		(void)address_split_extension(address_split(out).local,
					      (struct address_extensions){ "+-", true }, &user, &ext);
		(void)address_lower_domain(&a, out);
	}
	arena_release(&a);
	return 0;
}
