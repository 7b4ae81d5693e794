/* master/backoff.c - how soon a program that keeps dying is started again. One death: at once. The third
 * within ten seconds, or a death before the program was ready, holds it back for a second, then for twice as
 * long each time, up to service_throttle_time. A program that stays up for that long starts with a clean
 * slate. */
#include "master.h"
#include "log/log.h"

static void note_death(struct backoff *b)
{
	for (size_t i = 1; i < DEATHS_COUNTED; i++)
		b->death[i - 1] = b->death[i];
	b->death[DEATHS_COUNTED - 1] = loop_now();
	if (b->deaths < DEATHS_COUNTED)
		b->deaths++;
}

static bool dies_too_often(const struct backoff *b)
{
	return b->deaths == DEATHS_COUNTED &&
	       mono_diff_ms(b->death[DEATHS_COUNTED - 1], b->death[0]) <= DEATHS_WITHIN_MS;
}

static int64_t next_delay(int64_t delay_ms, int64_t max_ms)
{
	delay_ms = delay_ms == 0 ? BACKOFF_FIRST_MS : delay_ms * 2;
	return delay_ms > max_ms ? max_ms : delay_ms;
}

void backoff_died(struct service *s, bool started)
{
	struct backoff *b = &s->backoff;
	int64_t max_ms = conf_int(s->config->conf, "service_throttle_time") * 1000;
	if (s->retired || master.stopping)
		return;
	if (b->deaths > 0 && mono_diff_ms(loop_now(), b->death[DEATHS_COUNTED - 1]) > max_ms + b->delay_ms) {
		b->deaths = 0;
		b->delay_ms = 0;
	}
	note_death(b);
	if (started && !dies_too_often(b))
		return;
	b->delay_ms = next_delay(b->delay_ms, max_ms);
	b->throttled = true;
	timer_set(&s->start_timer, deadline_ms(b->delay_ms));
	log_warning("%s: bad command startup -- throttling", s->path);
}
