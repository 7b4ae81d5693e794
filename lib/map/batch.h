/* map/batch.h - pairs in memory on their way to a table whose file is made fastest in the order of its keys (btree:, lmdb:): pages then
 * are filled one after the other, and never touched again. */
#ifndef MAP_BATCH_H
#define MAP_BATCH_H

#include "base/rc.h"
#include "base/span.h"

struct batch;
struct batch *batch_new(void);
void batch_free(struct batch **b); /* NULL is fine */
/* Copies neither: both live until batch_drain(). Each is shorter than 4 GiB. */
void batch_add(struct batch *b, struct span key, struct span value);
size_t batch_count(const struct batch *b);
/* Gives the pairs to put(), keys in ascending order of their bytes, until it fails; then `b` is empty. Of pairs with one key the
 * first that was added counts, or, with `last`, the last. again() is told the key of each pair after the first one with that key, in
 * the order of keys, before anything is put. */
MUST_CHECK enum rc batch_drain(struct batch *b, bool last, void (*again)(void *arg, struct span key),
			       enum rc (*put)(void *arg, struct span key, struct span value), void *arg);

#endif
