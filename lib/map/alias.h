/* map/alias.h - lines of aliases(5). */
#ifndef MAP_ALIAS_H
#define MAP_ALIAS_H

#include "base/arena.h"

/* One logical line: the name without quotes, as a key; the value with its white space in standard form ("a,
 * b"). RC_SYNTAX with the story, without file and line. Both live in `a`. */
MUST_CHECK enum rc alias_parse(struct span line, bool utf8, struct arena *a, struct span *name,
			       struct span *value, struct err *e);

#endif
