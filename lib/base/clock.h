/* base/clock.h - two clocks of different type, so that they cannot be mixed.
 * Timers and deadlines use mono_t only: the wall clock may jump. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	int64_t ms; /* since an arbitrary start; suspends count (CLOCK_BOOTTIME) */
} mono_t;
typedef struct {
	int64_t us; /* since 1970-01-01T00:00:00Z */
} wall_t;

mono_t mono_now(void);
wall_t wall_now(void);
static inline mono_t mono_after(mono_t t, int64_t ms)
{
	return (mono_t){ t.ms + ms };
}
static inline int64_t mono_diff_ms(mono_t later, mono_t earlier)
{
	return later.ms - earlier.ms;
}
static inline int64_t wall_s(wall_t t)
{
	return t.us / 1000000;
}
/* "Sat, 21 Nov 2026 08:52:25 +0000 (UTC)" in the local zone: RFC 5322 section 3.3. 48 bytes suffice. */
#define DATE_MAX 64
void wall_rfc5322(wall_t t, char out[DATE_MAX]);

#endif
