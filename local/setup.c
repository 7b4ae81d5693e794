/* local/setup.c - tables and locks from the configuration. */
#include "setup.h"
#include "log/log.h"
#include "service/service.h"

#define MAPS_HELD     16
#define LOOK_EVERY_MS 1000

static struct maps *held[MAPS_HELD];
static size_t held_n;

static struct maps *open_and_hold(const char *param, unsigned flags)
{
	struct maps *m = NULL;
	struct err e = { .text = "" };

	if (maps_open(param, span_str(conf_str(service_conf(), param)), MAP_FOLD_KEY | flags, &m, &e) !=
	    RC_OK)
		log_warning("%s: %s", param, e.text);
	if (m == NULL)
		die("%s: cannot be used", param);
	INVARIANT(held_n < MAPS_HELD);
	held[held_n++] = m;
	return m;
}

struct maps *setup_maps(const char *param)
{
	return open_and_hold(param, MAP_NO_REGSUB | MAP_NO_UNAUTH);
}

struct maps *setup_text_maps(const char *param)
{
	return open_and_hold(param, 0);
}

void setup_lock(const char *param, struct store_lock *out)
{
	const struct conf *c = service_conf();

	if (store_lock_parse(span_str(conf_str(c, param)), out) != RC_OK)
		die("%s: unknown lock method in \"%s\"", param, conf_str(c, param));
	out->attempts = (unsigned)conf_int(c, "deliver_lock_attempts");
	out->delay_ms = (unsigned)conf_int(c, "deliver_lock_delay") * 1000;
	out->stale_s = conf_int(c, "stale_lock_time");
}

void setup_watch(void)
{
	static mono_t looked;
	mono_t now = mono_now();

	if (mono_diff_ms(now, looked) < LOOK_EVERY_MS)
		return;
	looked = now;
	for (size_t i = 0; i < held_n; i++)
		if (maps_changed(held[i])) {
			log_info("a table has changed: restarting");
			service_retire();
			return;
		}
}
