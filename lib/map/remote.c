/* map/remote.c - the way from tables to proxymap(8) (map.h: map_set_remote). A file of its own, because only
 * daemons have the frame. */
#include "map/driver.h"
#include "service/service.h"

#define ANSWER_WITHIN_S 100 /* a database server may need its time */

static enum rc ask(uint16_t type, const void *request, void *reply, struct arena *a, struct err *e)
{
	bool reads = type == IPC_MAP_LOOKUP;
	const char *service =
	    conf_str(service_conf(), reads ? "proxymap_service_name" : "proxywrite_service_name");

	return service_request(service, true, type, request, reply, a, deadline_s(ANSWER_WITHIN_S), e);
}

void map_set_remote(bool files)
{
	map_remote_via(ask, files);
}
