/* net/endpoint.h - servers of others that a parameter names: "unix:private/policy", "inet:host:port", "host:port", "[::1]:port",
 * "port". Daemons that may create no sockets reach them through master, which connects to what the configuration names and to
 * nothing else; host names are looked up here, by the resolver. */
#ifndef NET_ENDPOINT_H
#define NET_ENDPOINT_H

#include "net/addr.h"
#include "task/task.h"

struct endpoint {
	const char *name; /* as configured, for the log; strings live as long as the process */
	const char *path; /* UNIX socket; else NULL */
	const char *text; /* of "inet:" what follows it */
	const char *host; /* without brackets; "" this host */
	uint16_t port;
};
/* In prepare(): names of ports are looked up in services(5). */
MUST_CHECK enum rc endpoint_parse(struct span text, struct endpoint *out, struct err *e);

/* As service_connect() (service/service.h), which is what daemons give: a connected descriptor of a UNIX socket; of
 * "inet:TEXT ADDRESS PORT" one that still connects. */
typedef enum rc endpoint_connect_fn(const char *service, int *fd, deadline_t d, struct err *e);
/* Tries the addresses of the host in turn. The caller owns *fd. */
MUST_CHECK enum rc endpoint_connect(const struct endpoint *p, endpoint_connect_fn *via, deadline_t d, int *fd,
				    struct err *e);

#endif
