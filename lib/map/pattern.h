/* map/pattern.h - what regexp: and pcre: have in common: rules, if/endif, $number (regexp_table(5),
 * pcre_table(5)). */
#ifndef MAP_PATTERN_H
#define MAP_PATTERN_H

#include "map/driver.h"

#define PATTERN_GROUPS_MAX 99
#define PATTERN_NEST_MAX   100 /* if within if */

struct pattern_engine {
	const char *name;
	unsigned options; /* when no flags are given */
	/* Where Postfix's wording of the two differs: of an index below 1, of a pattern without end; and a flag that means nothing
	 * any more, 0 for none. */
	const char *below_range, *unclosed;
	char obsolete;
	bool (*toggle)(char flag, unsigned *options); /* false: no such flag */
	/* `groups`: how many "( )" it has. On failure the story without file and line. */
	enum rc (*compile)(const char *pattern, unsigned options, bool utf8, void **re, unsigned *groups,
			   struct err *e);
	/* RC_OK with group[0 .. n-1] (group 0: the whole; absent ones SPAN_NONE), RC_NOTFOUND, RC_LIMIT: gave
	 * up, with the story. */
	enum rc (*match)(void *re, struct span subject, struct span *group, size_t n, struct err *e);
	void (*release)(void *re);
};

enum rc pattern_open(struct map *m, const struct pattern_engine *engine, struct err *e);
enum rc pattern_lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		       struct err *e);
void pattern_close(struct map *m);
bool pattern_changed(const struct map *m);

#endif
