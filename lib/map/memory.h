/* map/memory.h - pairs in memory: what inline: and texthash: are once they are read. A driver's state begins
 * with struct map_memory. */
#ifndef MAP_MEMORY_H
#define MAP_MEMORY_H

#include "base/table.h"
#include "map/driver.h"

struct map_memory {
	struct arena arena;
	struct table *table; /* values: struct span in the arena */
};
void memory_init(struct map_memory *t);
void memory_release(struct map_memory *t);
/* Folds the key when the map does. False: the key is there already, and stays as it was. */
bool memory_add(struct map_memory *t, const struct map *m, struct span key, struct span value);
/* Likewise, but the new value counts. */
bool memory_set(struct map_memory *t, const struct map *m, struct span key, struct span value);
enum rc memory_lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e);
enum rc memory_next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e);

#endif
