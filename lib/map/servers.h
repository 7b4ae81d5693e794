/* map/servers.h - the exchanges of the tables that are servers, for their drivers, tests and fuzz targets. */
#ifndef MAP_SERVERS_H
#define MAP_SERVERS_H

#include "base/arena.h"
#include "map/wire.h"

/* A question, as it goes over the wire, and where the answer is put. */
struct server_query {
	struct span request; /* complete, with its framing */
	size_t reply_max;    /* bytes, framing not counted */
	struct arena *a;
	struct span value; /* out; in `a` */
};

/* tcp_table(5): "get SPACE key LF" -> "200 text", "400 text", "500 text". */
#define TCP_LINE_MAX 4096 /* with its LF */
struct span tcp_request(struct arena *a, struct span key);
wire_talk tcp_talk; /* struct server_query */

/* socketmap_table(5): netstrings "name key" -> "OK data", "NOTFOUND ", "TEMP why", "TIMEOUT why", "PERM why". */
#define SOCKETMAP_REPLY_MAX 100000
struct span socketmap_request(struct arena *a, struct span name, struct span key);
wire_talk socketmap_talk; /* struct server_query */

/* The table behind "memcache:ARG", as its configuration names it; SPAN_NONE: none, or no such configuration. */
struct span memcache_backup(struct span arg, struct arena *a);

/* The memcached text protocol. */
enum memcache_verb { MEMCACHE_GET, MEMCACHE_SET, MEMCACHE_DELETE };
struct memcache_query {
	enum memcache_verb verb;
	struct span request, key;
	size_t line_max, data_max;
	struct arena *a;
	struct span value; /* MEMCACHE_GET */
};
wire_talk memcache_talk; /* RC_NOTFOUND: no such key, at MEMCACHE_GET and MEMCACHE_DELETE */

/* key_format of memcache_table(5): RC_NOTFOUND when this key is none of those that the format is made for. RC_SYNTAX: not
 * a format. */
MUST_CHECK enum rc memcache_key(struct span format, struct span key, struct arena *a, struct span *out,
				struct err *e);

#endif
