/* map/sqltable.h - what the tables in SQL databases have in common: the question from `query` or the older
 * parameters, quoting by place, all columns of all rows as the answer. A type adds a struct sql_client. */
#ifndef MAP_SQLTABLE_H
#define MAP_SQLTABLE_H

#include "map/dbpool.h"
#include "map/dbquery.h"

#define SQL_TEXT_MAX 262144

struct sql_table; /* what m->state is */

/* What one look-up gathers; query() gives it the columns of each row in order. */
struct sql_job;
/* `value` NULL pointer: an SQL NULL, left out. RC_LIMIT: enough, stop. */
MUST_CHECK enum rc sql_value(struct sql_job *j, struct span value, struct err *e);
const struct dbconf *sql_conf(const struct sql_job *j);

struct sql_client {
	struct db_client pool; /* run: sql_run */
	unsigned kind;	       /* DB_... */
	const char *quotes;    /* quotes within which escape() is safe */
	/* Appends `value` as the text of a literal. */
	enum rc (*escape)(void *conn, struct span value, struct buf *out, struct err *e);
	/* Asks, and gives every value to sql_value(). RC_OK; RC_EOF: connection lost; RC_LIMIT from sql_value();
	 * RC_DENIED: an SQL error; RC_AGAIN, RC_TIMEOUT. */
	enum rc (*query)(void *conn, const char *sql, struct sql_job *j, int timeout_s, struct err *e);
};
enum rc sql_run(void *conn, void *job, int timeout_s, struct err *e);

/* Opens m->state. `hosts`: servers (of SQLite: its file). */
MUST_CHECK enum rc sql_open(struct map *m, const struct sql_client *client, struct dbconf *c,
			    struct span hosts, bool (*first)(const char *host), unsigned connections_max,
			    struct err *e);
struct dbpool *sql_pool(const struct map *m);
/* The table has changed, too, when another file stands at `path` (which lives as long as the configuration). */
void sql_watch(struct map *m, const char *path);
enum rc sql_lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		   struct err *e);
void sql_close(struct map *m);
bool sql_changed(const struct map *m);
void sql_paths(const struct map *m, void (*add)(void *arg, const char *path), void *arg);

#endif
