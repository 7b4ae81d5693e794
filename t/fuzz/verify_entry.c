/* Any bytes as the value of an entry of address_verify_map, which Postfix's verify(8), postmap(1) or a broken disk may have left: what is taken holds in
 * numbers, and says the same when it is written anew. */
#include "../../bounce/verify_cache.c" /* a daemon's file: not in the archive */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span value = span_make((const char *)data, size);
	struct known k, again;
	struct arena a;

	if (!verify_cache_parse(value, &k))
		return 0;
	INVARIANT(k.status == DELIVERABLE || k.status == TROUBLE || k.status == UNDELIVERABLE);
	INVARIANT(k.updated >= 0 && k.text.n < size && span_ends(value, k.text));
	if (span_chr(k.text, '\0') >= 0)
		return 0; /* such text ends there when it is written */
	arena_init(&a);
	INVARIANT(verify_cache_parse(entry_text(&k, &a), &again));
	INVARIANT(again.status == k.status && again.updated == k.updated && span_eq(again.text, k.text));
	arena_release(&a);
	return 0;
}
