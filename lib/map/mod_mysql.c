/* map/mod_mysql.c - mysql: questions to MySQL and MariaDB servers (mysql_table(5)). */
/* clang-format off: its header names functions that base/banned.h forbids */
#include <mysql.h>
#include <errmsg.h>
#include <mysqld_error.h>
/* clang-format on */
#include "map/sqltable.h"

/* Of mysql/client_plugin.h, which wants a header that is not installed. */
#define CLIENT_AUTHENTICATION_PLUGIN 2

static bool on_this_host(const char *host)
{
	return span_starts(span_str(host), SPAN("unix:"));
}

/* ---- connections ---- */
static const char *text_or_null(const struct dbconf *c, enum db_param p)
{
	return c->text[p][0] ? c->text[p] : NULL;
}

static void set_tls(MYSQL *db, const struct dbconf *c)
{
	static const enum db_param any[] = { DBP_SQL_TLS_KEY, DBP_SQL_TLS_CERT, DBP_SQL_TLS_CAFILE,
					     DBP_SQL_TLS_CAPATH, DBP_SQL_TLS_CIPHERS };
	my_bool verify = c->number[DBP_SQL_TLS_VERIFY] != 0;

	for (size_t i = 0; i < ARRAY_LEN(any); i++)
		if (c->text[any[i]][0]) {
			mysql_ssl_set(db, text_or_null(c, DBP_SQL_TLS_KEY), text_or_null(c, DBP_SQL_TLS_CERT),
				      text_or_null(c, DBP_SQL_TLS_CAFILE),
				      text_or_null(c, DBP_SQL_TLS_CAPATH),
				      text_or_null(c, DBP_SQL_TLS_CIPHERS));
			break;
		}
	if (dbconf_set(c, DBP_SQL_TLS_VERIFY))
		mysql_options(db, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
}

static void set_options(MYSQL *db, const struct dbconf *c, int timeout_s)
{
	unsigned connect_s = (unsigned)timeout_s, query_s = DB_QUERY_S;
	bool file = c->text[DBP_OPTION_FILE][0], group = c->text[DBP_OPTION_GROUP][0];

	mysql_options(db, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
	mysql_options(db, MYSQL_OPT_READ_TIMEOUT, &query_s);
	mysql_options(db, MYSQL_OPT_WRITE_TIMEOUT, &query_s);
	if (file)
		mysql_options(db, MYSQL_READ_DEFAULT_FILE, c->text[DBP_OPTION_FILE]);
	if (group)
		mysql_options(db, MYSQL_READ_DEFAULT_GROUP, c->text[DBP_OPTION_GROUP]);
	/* Escaping goes by the character set of the connection: it is set here, not by a statement. */
	if (c->text[DBP_CHARSET][0])
		mysql_options(db, MYSQL_SET_CHARSET_NAME, c->text[DBP_CHARSET]);
	set_tls(db, c);
}

static void disconnect(void *conn)
{
	mysql_close(conn);
}

/* Where a backslash does not escape, mysql_real_escape_string() leaves double quotes alone: the session is
 * taken out of that mode. */
static bool backslash_escapes(MYSQL *db, struct err *e)
{
	if (!(db->server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES))
		return true;
	if (mysql_query(db, "SET SESSION sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')") == 0 &&
	    !(db->server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES))
		return true;
	(void)err_set(e, RC_AGAIN, "sql_mode NO_BACKSLASH_ESCAPES: %s", mysql_error(db));
	return false;
}

static void *connect_host(const struct dbconf *c, const char *host, int timeout_s, struct err *e)
{
	struct span where = span_str(host);
	bool local = on_this_host(host);
	uint64_t port = 0;
	char name[256];
	ptrdiff_t colon;
	MYSQL *db;

	if (local || span_starts(where, SPAN("inet:")))
		where = span_skip(where, 5);
	colon = local ? -1 : span_rchr(where, ':');
	if (colon >= 0 && span_to_u64(span_skip(where, (size_t)colon + 1), 65535, &port) != RC_OK)
		return (void)err_set(e, RC_AGAIN, "bad port number"), NULL;
	if (span_cstr(span_head(where, colon >= 0 ? (size_t)colon : where.n), name, sizeof name) != RC_OK)
		return (void)err_set(e, RC_AGAIN, "bad host name"), NULL;
	mysql_thread_init();
	if (!(db = mysql_init(NULL)))
		return (void)err_set(e, RC_AGAIN, "out of memory"), NULL;
	set_options(db, c, timeout_s);
	if (mysql_real_connect(db, local ? NULL : name, text_or_null(c, DBP_USER),
			       text_or_null(c, DBP_PASSWORD), c->text[DBP_DBNAME], (unsigned)port,
			       local ? name : NULL, CLIENT_MULTI_RESULTS) &&
	    backslash_escapes(db, e))
		return db;
	if (mysql_errno(db))
		(void)err_set(e, RC_AGAIN, "%s", mysql_error(db));
	mysql_close(db);
	return NULL;
}

/* ---- questions ---- */
static enum rc escape(void *conn, struct span value, struct buf *out, struct err *e)
{
	char *room = buf_reserve(out, value.n * 2 + 1);
	unsigned long n;

	if (!room)
		return err_set(e, RC_DENIED, "key too long");
	n = mysql_real_escape_string(conn, room, value.p ? value.p : "", value.n);
	if (n == (unsigned long)-1)
		return err_set(e, RC_DENIED, "key cannot be quoted");
	out->n += n;
	return RC_OK;
}

static enum rc failed(MYSQL *db, struct err *e)
{
	unsigned code = mysql_errno(db);
	enum rc rc = RC_DENIED;

	switch (code) {
	case CR_SERVER_GONE_ERROR:
	case CR_SERVER_LOST:
	case CR_SERVER_LOST_EXTENDED:
	case ER_SERVER_SHUTDOWN:
	case ER_CONNECTION_KILLED:
	case ER_NORMAL_SHUTDOWN:
		rc = RC_EOF;
		break;
	default:
		if (code >= CR_MIN_ERROR && code <= CR_MAX_ERROR)
			rc = RC_AGAIN;
	}
	return err_set(e, rc, "query failed: %s", mysql_error(db));
}

static enum rc add_rows(MYSQL_RES *res, struct sql_job *j, struct err *e)
{
	unsigned columns = mysql_num_fields(res);
	enum rc rc = RC_OK;
	MYSQL_ROW row;

	while (rc == RC_OK && (row = mysql_fetch_row(res))) {
		const unsigned long *n = mysql_fetch_lengths(res);
		for (unsigned i = 0; i < columns && rc == RC_OK; i++)
			rc = sql_value(j, span_make(row[i], row[i] ? n[i] : 0), e);
	}
	return rc;
}

/* The first result is the answer. A stored procedure gives a status after it; one that gives more rows is a
 * mistake. Everything is read, so that the connection can be used again. */
static enum rc read_results(MYSQL *db, struct sql_job *j, struct err *e)
{
	bool seen = false;
	enum rc rc = RC_OK;
	int more;

	do {
		MYSQL_RES *res = mysql_store_result(db);
		if (!res && mysql_errno(db))
			return failed(db, e);
		if (res && seen && rc == RC_OK)
			rc = err_set(e, RC_LIMIT, "query failed: multiple result sets returning data");
		else if (res && !seen)
			rc = add_rows(res, j, e);
		seen |= res != NULL;
		if (res)
			mysql_free_result(res);
	} while ((more = mysql_next_result(db)) == 0);
	if (more > 0)
		return failed(db, e);
	if (rc == RC_OK && !seen && sql_conf(j)->number[DBP_REQUIRE_RESULT_SET])
		return err_set(e, RC_DENIED,
			       "query failed: query returned no result set (require_result_set = yes)");
	return rc;
}

static enum rc query(void *conn, const char *sql, struct sql_job *j, int timeout_s, struct err *e)
{
	(void)timeout_s; /* of the connection */
	mysql_thread_init();
	if (mysql_real_query(conn, sql, strlen(sql)) != 0)
		return failed(conn, e);
	return read_results(conn, j, e);
}

static const struct sql_client client = {
	.pool = { "mysql", connect_host, disconnect, sql_run },
	.kind = DB_MYSQL,
	.quotes = "'\"",
	.escape = escape,
	.query = query,
};

/* ---- the type ---- */
/* Code that a server may ask for when a connection is made: it cannot be loaded in a sandbox. */
static void load_plugins(void)
{
	static const char *const plugins[] = { "caching_sha2_password", "sha256_password", "client_ed25519" };
	static bool done;
	MYSQL *db;

	if (done)
		return;
	done = true;
	if (mysql_library_init(0, NULL, NULL) != 0 || !(db = mysql_init(NULL)))
		return;
	for (size_t i = 0; i < ARRAY_LEN(plugins); i++)
		(void)mysql_load_plugin(db, plugins[i], CLIENT_AUTHENTICATION_PLUGIN, 0);
	mysql_close(db);
}

static enum rc open_mysql(struct map *m, struct err *e)
{
	struct dbconf *c = NULL;
	enum rc rc = dbconf_open(m, DB_MYSQL, &c, e);

	if (rc != RC_OK)
		return rc;
	load_plugins();
	if (!c->text[DBP_DBNAME][0])
		rc = dbconf_bad(c, DBP_DBNAME, e, "must be set");
	else
		rc = sql_open(m, &client, c,
			      span_str(c->text[DBP_HOSTS][0] ? c->text[DBP_HOSTS] : "localhost"),
			      on_this_host, DB_CONNECTIONS_MAX, e);
	dbconf_drop(&c);
	return rc;
}

/* The library's own files: options for all clients, and plugins. */
static void paths(const struct map *m, void (*add)(void *arg, const char *path), void *arg)
{
	add(arg, "/etc/mysql");
	add(arg, "/etc/my.cnf");
	sql_paths(m, add, arg);
}

static const struct map_driver mysql = {
	.name = "mysql",
	.flags = MD_REMOTE | MD_SERVER,
	.open = open_mysql,
	.lookup = sql_lookup,
	.close = sql_close,
	.changed = sql_changed,
	.paths = paths,
};
static const struct map_driver *const drivers[] = { &mysql, NULL };
extern const struct map_module map_module;
const struct map_module map_module = { MAP_MODULE_ABI, drivers, NULL };
