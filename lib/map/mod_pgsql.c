/* map/mod_pgsql.c - pgsql: questions to PostgreSQL servers (pgsql_table(5)). Connecting and asking go step by
 * step with a deadline of our own: the library has none for a query. */
#include "map/sqltable.h"
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>

static bool is_uri(struct span host)
{
	return span_starts(host, SPAN("postgresql://")) || span_starts(host, SPAN("postgres://"));
}

/* A directory or a socket: also without "unix:". */
static bool on_this_host(const char *host)
{
	return host[0] == '/' || span_starts(span_str(host), SPAN("unix:"));
}

/* ---- waiting ---- */
static enum rc wait_socket(PGconn *db, short events, mono_t end, struct err *e)
{
	struct pollfd p = { .fd = PQsocket(db), .events = events };
	int64_t ms = mono_diff_ms(end, mono_now());
	int r;

	if (ms <= 0)
		return err_set(e, RC_TIMEOUT, "no answer in time");
	while ((r = poll(&p, 1, (int)ms)) < 0 && errno == EINTR)
		;
	if (r < 0)
		return err_sys(e, "poll");
	return r ? RC_OK : err_set(e, RC_TIMEOUT, "no answer in time");
}

static enum rc wait_connected(PGconn *db, mono_t end, struct err *e)
{
	PostgresPollingStatusType next = PGRES_POLLING_WRITING;
	enum rc rc = RC_OK;

	while (rc == RC_OK && next != PGRES_POLLING_OK && next != PGRES_POLLING_FAILED) {
		rc = wait_socket(db, next == PGRES_POLLING_READING ? POLLIN : POLLOUT, end, e);
		if (rc == RC_OK)
			next = PQconnectPoll(db);
	}
	if (rc == RC_OK && next == PGRES_POLLING_FAILED)
		rc = err_set(e, RC_AGAIN, SPAN_FMT, SPAN_ARG(span_trim(span_str(PQerrorMessage(db)))));
	return rc;
}

/* ---- connections ---- */
/* Host, port and credentials as the library wants them; strings live in `a`. */
static PGconn *start_by_parts(const struct dbconf *c, struct span host, struct arena *a)
{
	bool local = on_this_host(host.p);
	struct span port = SPAN_NONE;
	const char *keys[8], *values[8];
	ptrdiff_t colon;
	size_t n = 0;

	if (span_starts(host, SPAN("unix:")) || span_starts(host, SPAN("inet:")))
		host = span_skip(host, 5);
	colon = span_rchr(host, ':');
	if (!local && colon >= 0) {
		port = span_skip(host, (size_t)colon + 1);
		host = span_head(host, (size_t)colon);
	}
	/* "unix:/run/postgresql/.s.PGSQL.5433" names a socket, the library wants its directory and number */
	ptrdiff_t socket_at = local ? span_find(host, SPAN("/.s.PGSQL.")) : -1;
	if (socket_at >= 0) {
		port = span_skip(host, (size_t)socket_at + 10);
		host = span_head(host, (size_t)socket_at);
	}
	const char *const wish[][2] = {
		{ "host", arena_cstr(a, host) },
		{ "port", port.n ? arena_cstr(a, port) : "" },
		{ "dbname", c->text[DBP_DBNAME] },
		{ "user", c->text[DBP_USER] },
		{ "password", c->text[DBP_PASSWORD] },
		{ "gssencmode", "disable" }, /* a daemon has no credentials of Kerberos */
	};
	for (size_t i = 0; i < ARRAY_LEN(wish); i++)
		if (wish[i][1][0]) {
			keys[n] = wish[i][0];
			values[n++] = wish[i][1];
		}
	keys[n] = values[n] = NULL;
	return PQconnectStartParams(keys, values, 0);
}

static void disconnect(void *conn)
{
	PQfinish(conn);
}

static void no_notice(void *arg, const PGresult *res)
{
	(void)arg, (void)res;
}

static enum rc run_sql(PGconn *db, const char *sql, mono_t end, PGresult **out, struct err *e);

static enum rc set_encoding(PGconn *db, const char *encoding, mono_t end, struct err *e)
{
	char *quoted = PQescapeLiteral(db, encoding, strlen(encoding)), sql[200];
	PGresult *res = NULL;
	enum rc rc;

	if (!quoted)
		return err_set(e, RC_AGAIN, "encoding \"%s\": unusable", encoding);
	snprintf(sql, sizeof sql, "SET client_encoding TO %s", quoted);
	PQfreemem(quoted);
	rc = run_sql(db, sql, end, &res, e);
	if (rc == RC_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
		rc = err_set(e, RC_AGAIN, "encoding \"%s\": %s", encoding, PQresultErrorMessage(res));
	PQclear(res);
	return rc;
}

static void *connect_host(const struct dbconf *c, const char *host, int timeout_s, struct err *e)
{
	mono_t end = mono_after(mono_now(), (int64_t)timeout_s * 1000);
	struct arena a;
	PGconn *db;
	enum rc rc;

	arena_init(&a);
	db = is_uri(span_str(host)) ? PQconnectStart(host) : start_by_parts(c, span_str(host), &a);
	arena_release(&a);
	if (!db)
		return (void)err_set(e, RC_AGAIN, "out of memory"), NULL;
	if (PQstatus(db) == CONNECTION_BAD)
		rc = err_set(e, RC_AGAIN, SPAN_FMT, SPAN_ARG(span_trim(span_str(PQerrorMessage(db)))));
	else
		rc = wait_connected(db, end, e);
	if (rc == RC_OK) {
		PQsetNoticeReceiver(db, no_notice, NULL);
		rc =
		    PQsetnonblocking(db, 1) == 0 ? set_encoding(db, c->text[DBP_ENCODING], end, e) : RC_AGAIN;
	}
	if (rc == RC_OK)
		return db;
	PQfinish(db);
	return NULL;
}

/* ---- questions ---- */
static enum rc lost(PGconn *db, struct err *e)
{
	return err_set(e, PQstatus(db) == CONNECTION_BAD ? RC_EOF : RC_AGAIN, "query failed: " SPAN_FMT,
		       SPAN_ARG(span_trim(span_str(PQerrorMessage(db)))));
}

static enum rc send_all(PGconn *db, mono_t end, struct err *e)
{
	enum rc rc;
	int left;

	while ((left = PQflush(db)) == 1)
		if ((rc = wait_socket(db, POLLIN | POLLOUT, end, e)) != RC_OK)
			return rc;
		else if (!PQconsumeInput(db))
			return lost(db, e);
	return left == 0 ? RC_OK : lost(db, e);
}

/* The last result of the statement; earlier ones are dropped, as PQexec() does. */
static enum rc run_sql(PGconn *db, const char *sql, mono_t end, PGresult **out, struct err *e)
{
	PGresult *res;
	enum rc rc;

	*out = NULL;
	if (!PQsendQuery(db, sql))
		return lost(db, e);
	if ((rc = send_all(db, end, e)) != RC_OK)
		return rc;
	for (;;) {
		while (PQisBusy(db)) {
			if ((rc = wait_socket(db, POLLIN, end, e)) != RC_OK)
				return rc;
			if (!PQconsumeInput(db))
				return lost(db, e);
		}
		if (!(res = PQgetResult(db)))
			return *out ? RC_OK : lost(db, e);
		PQclear(*out);
		*out = res;
	}
}

static enum rc escape(void *conn, struct span value, struct buf *out, struct err *e)
{
	char *room = buf_reserve(out, value.n * 2 + 1);
	int bad = 0;
	size_t n;

	if (!room)
		return err_set(e, RC_DENIED, "key too long");
	n = PQescapeStringConn(conn, room, value.p ? value.p : "", value.n, &bad);
	if (bad)
		return err_set(e, RC_DENIED, "key cannot be quoted: " SPAN_FMT,
			       SPAN_ARG(span_trim(span_str(PQerrorMessage(conn)))));
	out->n += n;
	return RC_OK;
}

static enum rc add_rows(const PGresult *res, struct sql_job *j, struct err *e)
{
	int rows = PQntuples(res), columns = PQnfields(res);
	enum rc rc = RC_OK;

	for (int i = 0; i < rows && rc == RC_OK; i++)
		for (int k = 0; k < columns && rc == RC_OK; k++)
			if (!PQgetisnull(res, i, k))
				rc = sql_value(
				    j, span_make(PQgetvalue(res, i, k), (size_t)PQgetlength(res, i, k)), e);
	return rc;
}

static enum rc query(void *conn, const char *sql, struct sql_job *j, int timeout_s, struct err *e)
{
	PGresult *res = NULL;
	enum rc rc = run_sql(conn, sql, mono_after(mono_now(), (int64_t)timeout_s * 1000), &res, e);

	if (rc == RC_OK && PQstatus(conn) == CONNECTION_BAD)
		rc = lost(conn, e);
	else if (rc == RC_OK && PQresultStatus(res) == PGRES_TUPLES_OK)
		rc = add_rows(res, j, e);
	else if (rc == RC_OK)
		rc = err_set(e, RC_DENIED, "query failed: " SPAN_FMT,
			     SPAN_ARG(span_trim(span_str(PQresultStatus(res) == PGRES_COMMAND_OK ||
								 PQresultStatus(res) == PGRES_EMPTY_QUERY
							     ? "it returns no rows"
							     : PQresultErrorMessage(res)))));
	PQclear(res);
	return rc;
}

static const struct sql_client client = {
	.pool = { "pgsql", connect_host, disconnect, sql_run },
	.kind = DB_PGSQL,
	.quotes = "'",
	.escape = escape,
	.query = query,
};

/* ---- the type ---- */
static bool only_uris(struct span hosts)
{
	struct span word;
	bool all = true;

	while (span_next_word(&hosts, ", \t\r\n", &word))
		all &= is_uri(word);
	return all;
}

static enum rc open_pgsql(struct map *m, struct err *e)
{
	struct dbconf *c = NULL;
	enum rc rc = dbconf_open(m, DB_PGSQL, &c, e);

	if (rc != RC_OK)
		return rc;
	struct span hosts = span_str(c->text[DBP_HOSTS][0] ? c->text[DBP_HOSTS] : "localhost");
	if (!c->text[DBP_DBNAME][0] && !only_uris(hosts))
		rc = dbconf_bad(c, DBP_DBNAME, e, "must be set when a server is not given as URI");
	else
		rc = sql_open(m, &client, c, hosts, on_this_host, DB_CONNECTIONS_MAX, e);
	dbconf_drop(&c);
	return rc;
}

static const struct map_driver pgsql = {
	.name = "pgsql",
	.flags = MD_REMOTE | MD_SERVER,
	.open = open_pgsql,
	.lookup = sql_lookup,
	.close = sql_close,
	.changed = sql_changed,
	.paths = sql_paths,
};
static const struct map_driver *const drivers[] = { &pgsql, NULL };
extern const struct map_module map_module;
const struct map_module map_module = { MAP_MODULE_ABI, drivers, NULL };
