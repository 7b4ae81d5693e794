/* map/mod_sqlite.c - sqlite: questions to a database file (sqlite_table(5)). The file is opened for reading
 * when the table is, while that is allowed. */
#include "map/sqltable.h"
#include <sqlite3.h>

#define BUSY_MS	   10000 /* how long another process may hold the file locked */
#define STEPS_LOOK 10000 /* virtual machine steps between two looks at the clock */

struct conn {
	sqlite3 *db;
	mono_t end; /* of the query under way */
};

static int past_end(void *arg)
{
	const struct conn *c = arg;
	return mono_diff_ms(mono_now(), c->end) >= 0;
}

static void disconnect(void *arg)
{
	struct conn *c = arg;

	if (c->db)
		sqlite3_close_v2(c->db);
	free(c);
}

static void *connect_file(const struct dbconf *conf, const char *host, int timeout_s, struct err *e)
{
	struct conn *c = xcalloc(1, sizeof *c);

	(void)host, (void)timeout_s;
	if (sqlite3_open_v2(conf->text[DBP_DBPATH], &c->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK) {
		(void)err_set(e, RC_AGAIN, "%s", c->db ? sqlite3_errmsg(c->db) : "out of memory");
		disconnect(c);
		return NULL;
	}
	sqlite3_busy_timeout(c->db, BUSY_MS);
	sqlite3_progress_handler(c->db, STEPS_LOOK, past_end, c);
	return c;
}

/* A quote is written twice; nothing else is special within quotes. */
static enum rc escape(void *conn, struct span value, struct buf *out, struct err *e)
{
	(void)conn, (void)e;
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '\'')
			(void)buf_putc(out, '\'');
		(void)buf_putc(out, value.p[i]);
	}
	return RC_OK;
}

/* The first column alone: so it has always been with this type. */
static enum rc add_row(sqlite3_stmt *st, struct sql_job *j, struct err *e)
{
	const char *text = (const char *)sqlite3_column_text(st, 0);

	return sql_value(j, span_make(text, text ? (size_t)sqlite3_column_bytes(st, 0) : 0), e);
}

static enum rc query(void *conn, const char *sql, struct sql_job *j, int timeout_s, struct err *e)
{
	struct conn *c = conn;
	sqlite3_stmt *st = NULL;
	enum rc rc = RC_OK;
	int r;

	c->end = mono_after(mono_now(), (int64_t)timeout_s * 1000);
	r = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
	if (r == SQLITE_OK && !st)
		return err_set(e, RC_DENIED, "query: it is empty");
	while (r == SQLITE_OK || r == SQLITE_ROW) {
		if ((r = sqlite3_step(st)) == SQLITE_ROW && (rc = add_row(st, j, e)) != RC_OK)
			break;
	}
	if (rc == RC_OK && r == SQLITE_INTERRUPT)
		rc = err_set(e, RC_DENIED, "query: no answer within %d s", timeout_s);
	else if (rc == RC_OK && r != SQLITE_DONE)
		rc = err_set(e, RC_DENIED, "query: %s", sqlite3_errmsg(c->db));
	sqlite3_finalize(st);
	return rc;
}

static const struct sql_client client = {
	.pool = { "sqlite", connect_file, disconnect, sql_run },
	.kind = DB_SQLITE,
	.quotes = "'",
	.escape = escape,
	.query = query,
};

static enum rc open_sqlite(struct map *m, struct err *e)
{
	struct dbconf *c = NULL;
	enum rc rc = dbconf_open(m, DB_SQLITE, &c, e);
	void *conn;

	if (rc != RC_OK)
		return rc;
	rc = sql_open(m, &client, c, SPAN("database"), NULL, 1, e);
	if (rc == RC_OK) {
		if ((conn = connect_file(c, "", 0, e)))
			dbpool_seed(sql_pool(m), conn); /* of several tables of one file the first is kept */
		else
			rc = err_prefix(e, "%s: %s", m->name, c->text[DBP_DBPATH]);
		sql_watch(m, c->text[DBP_DBPATH]);
	}
	if (rc != RC_OK)
		sql_close(m);
	dbconf_drop(&c);
	return rc;
}

static const struct map_driver sqlite = {
	.name = "sqlite",
	.flags = MD_REMOTE,
	.open = open_sqlite,
	.lookup = sql_lookup,
	.close = sql_close,
	.changed = sql_changed,
	.paths = sql_paths,
};
static const struct map_driver *const drivers[] = { &sqlite, NULL };
extern const struct map_module map_module;
const struct map_module map_module = { MAP_MODULE_ABI, drivers, NULL };
