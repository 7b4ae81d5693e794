/* map/dbpool.h - connections to the servers of a database: made when they are needed, shared by all tables that
 * name the same servers and credentials, kept while they are used, at most a few at a time.
 *
 * A look-up has one connection for itself and runs on a helper thread; the others of the process go on. Who
 * finds no free connection waits. A server that cannot be reached is left alone for retry_interval while there
 * are others (and, being the only one, when it took long to fail); a connection that broke since its last use
 * is made anew at once. Whatever fails ends as a failure, never as "not found". */
#ifndef MAP_DBPOOL_H
#define MAP_DBPOOL_H

#include "map/dbquery.h"

#define DB_CONNECTIONS_MAX 4  /* of one pool */
#define DB_CONNECT_S	   10 /* for one server */
#define DB_QUERY_S	   30
#define DB_TOTAL_S	   75 /* for one look-up with all servers; below what those who ask proxymap(8) wait */

struct db_client {
	const char *what; /* "mysql": for messages */
	/* A connection to `host`, on a helper thread. `own`: what the pool was opened with. */
	void *(*connect)(const struct dbconf *c, const char *host, int timeout_s, struct err *e);
	void (*disconnect)(void *conn);
	/* One look-up, on a helper thread. RC_OK, RC_NOTFOUND: answered. RC_EOF: the connection is gone.
	 * RC_LIMIT: answered, but not usable: no other server is asked. RC_DENIED: the server refused the question,
	 * the connection is in order. Else: failed. */
	enum rc (*run)(void *conn, void *job, int timeout_s, struct err *e);
};

struct dbpool; /* opaque */
/* `hosts`: the servers; those for which first() is true are tried before the others, otherwise by chance. */
MUST_CHECK enum rc dbpool_open(const struct db_client *client, struct dbconf *c, struct span hosts,
			       bool (*first)(const char *host), unsigned connections_max, struct dbpool **out,
			       struct err *e);
void dbpool_close(struct dbpool **p);
/* A connection that is there already, made with more rights; it is never idle. */
void dbpool_seed(struct dbpool *p, void *conn);
/* Waits. Failures but RC_NOTFOUND and RC_LIMIT come as RC_AGAIN, with the reason. */
MUST_CHECK enum rc dbpool_run(struct dbpool *p, void *job, struct err *e);
/* A whole look-up in `table`: asks, unless the key is none to be asked for; `answer` is part of `job` and gathers
 * there. An empty value that was left out is told in the log. */
MUST_CHECK enum rc dbpool_lookup(struct dbpool *p, void *job, struct db_answer *answer, const char *table,
				 struct arena *a, struct span *value, struct err *e);

#endif
