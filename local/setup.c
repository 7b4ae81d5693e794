/* local/setup.c - tables and locks from the configuration. */
#include "setup.h"
#include "log/log.h"
#include "service/service.h"

static struct maps *open_and_hold(const char *param, unsigned flags)
{
	struct maps *m = NULL;
	struct err e = { .text = "" };

	if (maps_open(param, span_str(conf_str(service_conf(), param)), MAP_FOLD_KEY | flags, &m, &e) !=
	    RC_OK)
		log_warning("%s: %s", param, e.text);
	if (m == NULL)
		die("%s: cannot be used", param);
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
