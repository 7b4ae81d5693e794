/* local/setup.c - tables, locks and commands from the configuration. */
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

uint64_t setup_limit(const char *param)
{
	uint64_t limit = (uint64_t)conf_int(service_conf(), param);

	if (!store_limit_takes(limit, (uint64_t)conf_int(service_conf(), "message_size_limit")))
		die("configuration error: %s is smaller than message_size_limit", param);
	return limit;
}

void setup_command(bool spawn, struct arena *a, struct attributes *out, struct asuser_id *id)
{
	char **argv;
	size_t n = service_args(&argv);
	struct span *words = arena_array(a, n + 1, sizeof(*words));
	struct err e;

	for (size_t i = 0; i < n; i++)
		words[i] = span_str(argv[i]);
	if (attributes_parse(words, n, spawn, a, out, &e) != RC_OK ||
	    attributes_account(service_conf(), out, service_one_uid(), &id->uid, &id->gid, &e) != RC_OK)
		die("%s", e.text);
	memcpy(id->user, out->user, sizeof(id->user));
	id->allow_exec = 1;
}
