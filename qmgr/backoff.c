/* qmgr/backoff.c - the next attempt. */
#include "backoff.h"

#define SECOND INT64_C(1000000)

int64_t backoff_next_us(int64_t now_us, int64_t since_us, int64_t min_s, int64_t max_s)
{
	int64_t pause = now_us - since_us;

	if (pause < min_s * SECOND)
		pause = min_s * SECOND;
	if (pause > max_s * SECOND)
		pause = max_s * SECOND;
	return now_us + pause;
}

bool backoff_expired(int64_t now_us, int64_t since_us, int64_t lifetime_s)
{
	return now_us - since_us >= lifetime_s * SECOND;
}
