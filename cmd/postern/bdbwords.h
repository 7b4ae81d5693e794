/* cmd/postern/bdbwords.h - the words of a configuration that name tables of Berkeley DB. */
#ifndef POSTERN_BDBWORDS_H
#define POSTERN_BDBWORDS_H

#include "base/arena.h"
#include "base/buf.h"

/* Types that take the place of hash: and btree:. A cache is written to while it is used, which not every type can. */
struct bdb_types {
	const char *table, *cache;
};

/* Whether the parameter names a cache: its old content is not worth keeping. */
bool bdb_is_cache(struct span param);

/* Each table in the text of an expanded value, also those in braces, behind "!", "proxy:", "name=" and within other tables. */
void bdb_tables(struct span value, void (*each)(void *arg, struct span type, struct span name), void *arg);

/* A file of the form of main.cf or master.cf with other types in place of hash: and btree:, everything else as it was. True when
 * something changed. */
bool bdb_rewrite(struct span text, const struct bdb_types *types, struct buf *out);

#endif
