/* bounce/verify_cache.h - address_verify_map: what verify(8) knows, kept across its lives. The table is asked and
 * changed through proxywrite(8), so that verify needs no right to files. Every function waits for that service; a
 * table that cannot be used is warned of and otherwise as an empty one.
 *
 * An entry's value is "status:probed:updated:text": status 0 deliverable, 1 trouble, 2 undeliverable; times in seconds
 * of the wall clock, 0 for none. Postfix's caches read the same. */
#ifndef BOUNCE_VERIFY_CACHE_H
#define BOUNCE_VERIFY_CACHE_H

#include "base/arena.h"

enum { DELIVERABLE = 0, UNDELIVERABLE, TROUBLE, UNKNOWN };
struct known {
	uint16_t status; /* one of those above, never UNKNOWN */
	int64_t updated;
	struct span text;
};

void verify_cache_prepare(void); /* reads the parameter */
bool verify_cache_used(void);
bool verify_cache_get(struct span addr, struct arena *a, struct known *out);
void verify_cache_put(struct span addr, const struct known *k, struct arena *a);
void verify_cache_forget(struct span addr, struct arena *a);
/* Removes what `dead` says is too old, once per address_verify_cache_cleanup_interval whichever process does it; never
 * ends. A task. */
void verify_cache_clean(bool (*dead)(const struct known *k, int64_t now));

/* The text of an entry; false: not one. Spans borrow from `value`. */
bool verify_cache_parse(struct span value, struct known *out);

#endif
