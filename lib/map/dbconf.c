/* map/dbconf.c - configuration of tables in databases: one row per parameter for all four types. */
#include "map/dbconf.h"
#include "conf/conf.h"
#include "log/log.h"
#include <fcntl.h>
#include <stdarg.h>

#define FILE_BYTES_MAX 262144

enum value {
	V_TEXT,
	V_NEEDED, /* text that must not be empty */
	V_NUMBER,
	V_SECONDS,
	V_YES,
};
#define F_CONN 1 /* part of what a connection is */
#define F_PATH 2 /* a file or directory that is read when a connection is made */

static const struct row {
	const char *name;
	unsigned kinds;
	enum value value;
	const char *def;
	int64_t min;
	unsigned flags;
} rows[DBP_COUNT] = {
	[DBP_HOSTS] = { "hosts", DB_MYSQL | DB_PGSQL, V_TEXT, "localhost", 0, F_CONN },
	[DBP_USER] = { "user", DB_MYSQL | DB_PGSQL, V_TEXT, "", 0, F_CONN },
	[DBP_PASSWORD] = { "password", DB_MYSQL | DB_PGSQL, V_TEXT, "", 0, F_CONN },
	[DBP_DBNAME] = { "dbname", DB_MYSQL | DB_PGSQL, V_TEXT, "", 0, F_CONN },
	[DBP_DBPATH] = { "dbpath", DB_SQLITE, V_NEEDED, "", 0, F_CONN },
	[DBP_ENCODING] = { "encoding", DB_PGSQL, V_TEXT, "UTF8", 0, F_CONN },
	[DBP_CHARSET] = { "charset", DB_MYSQL, V_TEXT, "utf8mb4", 0, F_CONN },
	[DBP_OPTION_FILE] = { "option_file", DB_MYSQL, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_OPTION_GROUP] = { "option_group", DB_MYSQL, V_TEXT, "client", 0, F_CONN },
	[DBP_SQL_TLS_KEY] = { "tls_key_file", DB_MYSQL, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_SQL_TLS_CERT] = { "tls_cert_file", DB_MYSQL, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_SQL_TLS_CAFILE] = { "tls_CAfile", DB_MYSQL, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_SQL_TLS_CAPATH] = { "tls_CApath", DB_MYSQL, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_SQL_TLS_CIPHERS] = { "tls_ciphers", DB_MYSQL, V_TEXT, "", 0, F_CONN },
	[DBP_SQL_TLS_VERIFY] = { "tls_verify_cert", DB_MYSQL, V_YES, "no", 0, F_CONN },
	[DBP_REQUIRE_RESULT_SET] = { "require_result_set", DB_MYSQL, V_YES, "yes", 0, 0 },
	[DBP_IDLE_INTERVAL] = { "idle_interval", DB_MYSQL | DB_PGSQL, V_SECONDS, "60", 1, F_CONN },
	[DBP_RETRY_INTERVAL] = { "retry_interval", DB_MYSQL | DB_PGSQL, V_SECONDS, "60", 1, F_CONN },
	[DBP_QUERY] = { "query", DB_SQL, V_TEXT, "", 0, 0 },
	[DBP_SELECT_FUNCTION] = { "select_function", DB_PGSQL, V_TEXT, "", 0, 0 },
	[DBP_SELECT_FIELD] = { "select_field", DB_SQL, V_TEXT, "", 0, 0 },
	[DBP_TABLE] = { "table", DB_SQL, V_TEXT, "", 0, 0 },
	[DBP_WHERE_FIELD] = { "where_field", DB_SQL, V_TEXT, "", 0, 0 },
	[DBP_ADDITIONAL_CONDITIONS] = { "additional_conditions", DB_SQL, V_TEXT, "", 0, 0 },
	[DBP_RESULT_FORMAT] = { "result_format", DB_SQL | DB_LDAP, V_TEXT, "%s", 0, 0 },
	[DBP_RESULT_FILTER] = { "result_filter", DB_LDAP, V_TEXT, "%s", 0, 0 },
	[DBP_DOMAIN] = { "domain", DB_SQL | DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_EXPANSION_LIMIT] = { "expansion_limit", DB_SQL | DB_LDAP, V_NUMBER, "0", 0, 0 },
	[DBP_SERVER_HOST] = { "server_host", DB_LDAP, V_NEEDED, "localhost", 0, F_CONN },
	[DBP_SERVER_PORT] = { "server_port", DB_LDAP, V_NUMBER, "389", 0, F_CONN },
	[DBP_VERSION] = { "version", DB_LDAP, V_NUMBER, "3", 2, F_CONN },
	[DBP_TIMEOUT] = { "timeout", DB_LDAP, V_SECONDS, "10", 1, F_CONN },
	[DBP_SEARCH_BASE] = { "search_base", DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_SCOPE] = { "scope", DB_LDAP, V_NEEDED, "sub", 0, 0 },
	[DBP_QUERY_FILTER] = { "query_filter", DB_LDAP, V_TEXT, "(mailacceptinggeneralid=%s)", 0, 0 },
	[DBP_RESULT_ATTRIBUTE] = { "result_attribute", DB_LDAP, V_TEXT, "maildrop", 0, 0 },
	[DBP_SPECIAL_RESULT_ATTRIBUTE] = { "special_result_attribute", DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_TERMINAL_RESULT_ATTRIBUTE] = { "terminal_result_attribute", DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_LEAF_RESULT_ATTRIBUTE] = { "leaf_result_attribute", DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_SIZE_LIMIT] = { "size_limit", DB_LDAP, V_NUMBER, "0", 0, 0 },
	[DBP_RECURSION_LIMIT] = { "recursion_limit", DB_LDAP, V_NUMBER, "1000", 1, 0 },
	[DBP_DEREFERENCE] = { "dereference", DB_LDAP, V_NUMBER, "0", 0, F_CONN },
	[DBP_CHASE_REFERRALS] = { "chase_referrals", DB_LDAP, V_YES, "no", 0, F_CONN },
	[DBP_BIND] = { "bind", DB_LDAP, V_NEEDED, "yes", 0, F_CONN },
	[DBP_BIND_DN] = { "bind_dn", DB_LDAP, V_TEXT, "", 0, F_CONN },
	[DBP_BIND_PW] = { "bind_pw", DB_LDAP, V_TEXT, "", 0, F_CONN },
	[DBP_SASL_MECHS] = { "sasl_mechs", DB_LDAP, V_TEXT, "", 0, F_CONN },
	[DBP_SASL_REALM] = { "sasl_realm", DB_LDAP, V_TEXT, "", 0, F_CONN },
	[DBP_SASL_AUTHZ_ID] = { "sasl_authz_id", DB_LDAP, V_TEXT, "", 0, F_CONN },
	[DBP_SASL_MINSSF] = { "sasl_minssf", DB_LDAP, V_NUMBER, "0", 0, F_CONN },
	[DBP_START_TLS] = { "start_tls", DB_LDAP, V_YES, "no", 0, F_CONN },
	[DBP_TLS_CA_CERT_DIR] = { "tls_ca_cert_dir", DB_LDAP, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_TLS_CA_CERT_FILE] = { "tls_ca_cert_file", DB_LDAP, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_TLS_CERT] = { "tls_cert", DB_LDAP, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_TLS_KEY] = { "tls_key", DB_LDAP, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_TLS_REQUIRE_CERT] = { "tls_require_cert", DB_LDAP, V_YES, "no", 0, F_CONN },
	[DBP_TLS_RANDOM_FILE] = { "tls_random_file", DB_LDAP, V_TEXT, "", 0, F_CONN | F_PATH },
	[DBP_TLS_CIPHER_SUITE] = { "tls_cipher_suite", DB_LDAP, V_TEXT, "", 0, F_CONN },
	[DBP_CACHE] = { "cache", DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_CACHE_EXPIRY] = { "cache_expiry", DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_CACHE_SIZE] = { "cache_size", DB_LDAP, V_TEXT, "", 0, 0 },
	[DBP_DEBUGLEVEL] = { "debuglevel", DB_LDAP, V_NUMBER, "0", 0, 0 },
};

static const char *where(const struct dbconf *c, enum db_param p, char *out, size_t size)
{
	if (c->line[p])
		snprintf(out, size, "%s line %u", c->source, c->line[p]);
	else
		snprintf(out, size, "%s", c->source);
	return out;
}

enum rc dbconf_bad(const struct dbconf *c, enum db_param p, struct err *e, const char *fmt, ...)
{
	char place[300], story[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(story, sizeof story, fmt, ap);
	va_end(ap);
	return err_set(e, RC_SYNTAX, "%s: %s%s: %s", where(c, p, place, sizeof place), c->prefix,
		       rows[p].name, story);
}

static enum rc read_value(struct dbconf *c, enum db_param p, struct err *e)
{
	struct span text = span_str(c->text[p]);
	uint64_t n = 0;

	switch (rows[p].value) {
	case V_TEXT:
		return RC_OK;
	case V_NEEDED:
		return text.n ? RC_OK : dbconf_bad(c, p, e, "must be set");
	case V_NUMBER:
		if (span_to_u64(text, INT32_MAX, &n) != RC_OK || (int64_t)n < rows[p].min)
			return dbconf_bad(c, p, e, "\"%s\" is not a number from %d on", c->text[p],
					  (int)rows[p].min);
		c->number[p] = (int64_t)n;
		return RC_OK;
	case V_SECONDS:
		if (conf_parse_time(text, 's', &c->number[p]) != RC_OK || c->number[p] < rows[p].min)
			return dbconf_bad(c, p, e, "\"%s\" is not a time of at least %d s", c->text[p],
					  (int)rows[p].min);
		return RC_OK;
	case V_YES:
		if (!span_is_ci(text, "yes") && !span_is_ci(text, "no"))
			return dbconf_bad(c, p, e, "\"%s\" is neither \"yes\" nor \"no\"", c->text[p]);
		c->number[p] = span_is_ci(text, "yes");
		return RC_OK;
	}
	return RC_OK;
}

static enum rc read_values(struct dbconf *c, struct err *e)
{
	for (size_t p = 0; p < DBP_COUNT; p++)
		if (rows[p].kinds & c->kind) {
			enum rc rc = read_value(c, (enum db_param)p, e);
			if (rc != RC_OK)
				return rc;
		}
	return RC_OK;
}

/* ---- from a file of its own ---- */
static bool take(struct dbconf *c, struct span name, const char *value, unsigned line)
{
	for (size_t p = 0; p < DBP_COUNT; p++)
		if (span_is(name, rows[p].name) && (rows[p].kinds & c->kind)) {
			c->text[p] = arena_strdup(&c->arena, value);
			c->line[p] = line;
			return true;
		}
	return false;
}

#define NAME_MAX_BYTES 40

/* Insertions, deletions and changes of one letter between two short names. */
static unsigned distance(struct span a, struct span b)
{
	unsigned row[NAME_MAX_BYTES + 1];

	for (size_t k = 0; k <= b.n; k++)
		row[k] = (unsigned)k;
	for (size_t i = 0; i < a.n; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i + 1;
		for (size_t k = 0; k < b.n; k++) {
			unsigned above = row[k + 1], best = diagonal + (a.p[i] != b.p[k]);
			if (above + 1 < best)
				best = above + 1;
			if (row[k] + 1 < best)
				best = row[k] + 1;
			diagonal = above;
			row[k + 1] = best;
		}
	}
	return row[b.n];
}

/* Names that are not ours are common in such files (other programs read them); one that is nearly ours is a
 * mistake. */
static void warn_if_near(const struct dbconf *c, const char *name, unsigned line)
{
	struct span s = span_str(name);

	for (size_t p = 0; p < DBP_COUNT && s.n <= NAME_MAX_BYTES; p++)
		if ((rows[p].kinds & c->kind) && distance(s, span_str(rows[p].name)) <= 2) {
			log_warning("%s line %u: unknown parameter %s ignored; is %s meant?", c->source, line,
				    name, rows[p].name);
			return;
		}
}

static enum rc parse_file(struct dbconf *c, struct err *e)
{
	struct conf *file = NULL;
	const char *name, *value;
	size_t pos = 0;
	unsigned line;
	struct buf text;
	enum rc rc;

	buf_init(&text, FILE_BYTES_MAX);
	if ((rc = map_read_all(c->file.fd, &text, e)) != RC_OK)
		(void)err_prefix(e, "%s", c->source);
	else if ((rc = conf_parse(buf_span(&text), c->source, "/", &file, e)) == RC_OK)
		while (conf_next(file, &pos, &name, &value, &line))
			if (!take(c, span_str(name), value, line))
				warn_if_near(c, name, line);
	conf_free(&file);
	buf_release(&text);
	return rc;
}

/* ---- from main.cf, as NAME_parameter ---- */
static enum rc take_main(struct dbconf *c, const struct conf *main_cf, struct err *e)
{
	enum rc rc = RC_OK;

	for (size_t p = 0; p < DBP_COUNT && rc == RC_OK; p++) {
		const char *name = arena_printf(&c->arena, "%s%s", c->prefix, rows[p].name);
		const char *seek, *raw;
		struct span value;
		size_t pos = 0;
		unsigned line;

		if (!(rows[p].kinds & c->kind))
			continue;
		while (conf_next(main_cf, &pos, &seek, &raw, &line)) {
			if (!span_is(span_str(seek), name))
				continue;
			if ((rc = conf_expand(main_cf, span_str(raw), &c->arena, &value, e)) != RC_OK)
				break;
			c->text[p] = arena_cstr(&c->arena, value);
			c->line[p] = line;
		}
	}
	return rc;
}

static enum rc parse_main(struct dbconf *c, struct err *e)
{
	struct conf *main_cf = NULL;
	enum rc rc = conf_load(map_config_dir(), &main_cf, e);

	if (rc == RC_OK)
		rc = take_main(c, main_cf, e);
	conf_free(&main_cf);
	return rc;
}

enum rc dbconf_open(struct map *m, unsigned kind, struct dbconf **out, struct err *e)
{
	struct dbconf *c = xcalloc(1, sizeof *c);
	struct span path = m->arg;
	bool own_file = path.n && (*path.p == '/' || *path.p == '.');
	enum rc rc;

	arena_init(&c->arena);
	map_file_init(&c->file);
	c->users = 1;
	c->kind = kind;
	c->prefix = own_file ? "" : arena_printf(&c->arena, SPAN_FMT "_", SPAN_ARG(m->arg));
	for (size_t p = 0; p < DBP_COUNT; p++)
		c->text[p] = rows[p].def;
	if (!own_file)
		path = span_printf(&c->arena, "%s/main.cf", map_config_dir());
	c->source = arena_cstr(&c->arena, path);
	if ((rc = map_file_open(&c->file, path, e)) == RC_OK)
		rc = own_file ? parse_file(c, e) : parse_main(c, e);
	if (rc == RC_OK)
		rc = read_values(c, e);
	*out = c;
	if (rc != RC_OK)
		dbconf_drop(out);
	return rc;
}

struct dbconf *dbconf_keep(struct dbconf *c)
{
	c->users++;
	return c;
}

void dbconf_drop(struct dbconf **c)
{
	if (*c && --(*c)->users == 0) {
		map_file_close(&(*c)->file);
		arena_release(&(*c)->arena);
		free(*c);
	}
	*c = NULL;
}

const char *dbconf_identity(const struct dbconf *c, struct arena *a)
{
	struct buf b;
	char *id;

	buf_init(&b, 1u << 20);
	(void)buf_printf(&b, "%u", c->kind);
	for (size_t p = 0; p < DBP_COUNT; p++)
		if ((rows[p].kinds & c->kind) && (rows[p].flags & F_CONN))
			(void)buf_printf(&b, "\n%s", c->text[p]);
	id = arena_cstr(a, buf_span(&b));
	buf_release(&b);
	return id;
}

void dbconf_paths(const struct dbconf *c, void (*add)(void *arg, const char *path), void *arg)
{
	for (size_t p = 0; p < DBP_COUNT; p++)
		if ((rows[p].kinds & c->kind) && (rows[p].flags & F_PATH) && c->text[p][0] == '/')
			add(arg, c->text[p]);
}
