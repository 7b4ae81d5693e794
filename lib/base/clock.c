/* base/clock.c - the two clocks, and the date of RFC 5322. */
#include "base/clock.h"
#include "base/rc.h"

#include <time.h>

mono_t mono_now(void)
{
	struct timespec ts;

	INVARIANT(clock_gettime(CLOCK_BOOTTIME, &ts) == 0);
	return (mono_t){ (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 };
}

wall_t wall_now(void)
{
	struct timespec ts;

	INVARIANT(clock_gettime(CLOCK_REALTIME, &ts) == 0);
	return (wall_t){ (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 };
}

/* Names by hand: strftime() would follow the locale. localtime_r() reads the zone file once, at its first
 * call, so a daemon calls this (or tzset()) before it loses sight of /etc. */
void wall_rfc5322(wall_t t, char out[DATE_MAX])
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t s = (time_t)wall_s(t);
	struct tm tm;
	long off;

	INVARIANT(localtime_r(&s, &tm) != NULL);
	off = tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff;
	snprintf(out, DATE_MAX, "%s, %d %s %d %02d:%02d:%02d %c%02d%02d (%.10s)", days[tm.tm_wday % 7],
		 tm.tm_mday, months[tm.tm_mon % 12], 1900 + tm.tm_year, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 tm.tm_gmtoff < 0 ? '-' : '+', (int)(off / 3600 % 100), (int)(off / 60 % 60), tm.tm_zone);
}
