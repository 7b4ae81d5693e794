/* qmgr/backoff.h - when a message is tried again, and for how long (RFC 5321 section 4.5.4.1). Pure: the clock is an argument. */
#ifndef QMGR_BACKOFF_H
#define QMGR_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

/* Wall clock, microseconds. The pause is as long as the message has been in the queue, between `min_s` and `max_s`; a message from the
 * future (the clock was set back) waits for `min_s`. */
int64_t backoff_next_us(int64_t now_us, int64_t since_us, int64_t min_s, int64_t max_s);
/* Its time is over: with a lifetime of 0 after the first attempt. */
bool backoff_expired(int64_t now_us, int64_t since_us, int64_t lifetime_s);

#endif
