/* cmd/postlock/dotlock.h - FOLDER.lock. */
#ifndef POSTLOCK_DOTLOCK_H
#define POSTLOCK_DOTLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* False with errno EEXIST while somebody else has it; one older than stale_s is removed. die() when it cannot
 * be made at all. */
bool dotlock_take(const char *folder, int64_t stale_s);
void dotlock_release(const char *folder);

#endif
