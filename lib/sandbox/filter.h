/* sandbox/filter.h - the tables of system calls behind the words of `rights`. Private to sandbox. */
#ifndef SANDBOX_FILTER_H
#define SANDBOX_FILTER_H

#include <stdint.h>

/* One row: `call` is granted to whoever has `word`. With cmp set only when the argument passes: (arg & mask)
 * == value. */
struct grant {
	const char *word;
	int call;
	unsigned arg; /* number of the argument + 1; 0: any arguments */
	uint64_t mask, value;
};
extern const struct grant sandbox_grants[];
extern const unsigned sandbox_grants_n;

/* What no program of this suite, and no command run for a user, needs: denied even where all else is allowed.
 */
extern const int sandbox_never[];
extern const unsigned sandbox_never_n;

#endif
