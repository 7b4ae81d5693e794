/* map/remote.c - what tables need of the frame of a daemon: the way to proxymap(8) (map.h: map_set_remote), and a fresh
 * process when a table has changed. A file of its own, because only daemons have the frame. */
#include "log/log.h"
#include "map/driver.h"
#include "service/service.h"
#include "task/task.h"

#define ANSWER_WITHIN_S 100 /* a database server may need its time */
#define LOOK_EVERY_MS	1000
#define TRY_AGAIN_MS	10000 /* a table that could not be opened */

static enum rc ask(uint16_t type, const void *request, void *reply, struct arena *a, struct err *e)
{
	bool reads = type == IPC_MAP_LOOKUP;
	const char *service =
	    conf_str(service_conf(), reads ? "proxymap_service_name" : "proxywrite_service_name");

	/* While a daemon prepares there is neither a task that could wait nor a way to others. */
	if (!task_self())
		return err_set(e, RC_AGAIN, "tables of the lookup daemon cannot be asked yet");

	return service_request(service, true, type, request, reply, a, deadline_s(ANSWER_WITHIN_S), e);
}

void map_set_remote(bool files)
{
	map_failures_are_fatal(conf_bool(service_conf(), "daemon_table_open_error_is_fatal"));
	map_remote_via(ask, files);
}

static void watch(void *unused)
{
	mono_t since = loop_now();
	const struct map *m;

	(void)unused;
	while (!service_draining()) {
		task_sleep_ms(LOOK_EVERY_MS);
		if ((m = map_any_changed()))
			log_info("table %s has changed -- restarting", map_name(m));
		else if (mono_diff_ms(loop_now(), since) >= TRY_AGAIN_MS && (m = map_any_broken()))
			log_info("table %s could not be opened -- restarting to try again", map_name(m));
		else
			continue;
		service_retire();
		return;
	}
}

void map_watch(bool rpath)
{
	if (!rpath)
		map_files_by_descriptor();
	task_spawn(watch, NULL);
}
