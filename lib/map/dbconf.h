/* map/dbconf.h - the configuration of a table whose answers come from a database: a file in main.cf syntax that
 * the table's name gives as a path, or, for any other name, the parameters NAME_parameter of main.cf
 * (mysql_table(5), pgsql_table(5), sqlite_table(5), ldap_table(5)). One row per parameter, for the four types
 * together. Values are taken as written: no $name is expanded in such a file. */
#ifndef MAP_DBCONF_H
#define MAP_DBCONF_H

#include "map/driver.h"

#define DB_MYSQL  1
#define DB_PGSQL  2
#define DB_SQLITE 4
#define DB_LDAP	  8
#define DB_SQL	  (DB_MYSQL | DB_PGSQL | DB_SQLITE)

enum db_param {
	DBP_HOSTS,
	DBP_USER,
	DBP_PASSWORD,
	DBP_DBNAME,
	DBP_DBPATH,
	DBP_ENCODING,
	DBP_CHARSET,
	DBP_OPTION_FILE,
	DBP_OPTION_GROUP,
	DBP_SQL_TLS_KEY,
	DBP_SQL_TLS_CERT,
	DBP_SQL_TLS_CAFILE,
	DBP_SQL_TLS_CAPATH,
	DBP_SQL_TLS_CIPHERS,
	DBP_SQL_TLS_VERIFY,
	DBP_REQUIRE_RESULT_SET,
	DBP_IDLE_INTERVAL,
	DBP_RETRY_INTERVAL,
	DBP_QUERY,
	DBP_SELECT_FUNCTION,
	DBP_SELECT_FIELD,
	DBP_TABLE,
	DBP_WHERE_FIELD,
	DBP_ADDITIONAL_CONDITIONS,
	DBP_RESULT_FORMAT,
	DBP_RESULT_FILTER,
	DBP_DOMAIN,
	DBP_EXPANSION_LIMIT,
	DBP_SERVER_HOST,
	DBP_SERVER_PORT,
	DBP_VERSION,
	DBP_TIMEOUT,
	DBP_SEARCH_BASE,
	DBP_SCOPE,
	DBP_QUERY_FILTER,
	DBP_RESULT_ATTRIBUTE,
	DBP_SPECIAL_RESULT_ATTRIBUTE,
	DBP_TERMINAL_RESULT_ATTRIBUTE,
	DBP_LEAF_RESULT_ATTRIBUTE,
	DBP_SIZE_LIMIT,
	DBP_RECURSION_LIMIT,
	DBP_DEREFERENCE,
	DBP_CHASE_REFERRALS,
	DBP_BIND,
	DBP_BIND_DN,
	DBP_BIND_PW,
	DBP_SASL_MECHS,
	DBP_SASL_REALM,
	DBP_SASL_AUTHZ_ID,
	DBP_SASL_MINSSF,
	DBP_START_TLS,
	DBP_TLS_CA_CERT_DIR,
	DBP_TLS_CA_CERT_FILE,
	DBP_TLS_CERT,
	DBP_TLS_KEY,
	DBP_TLS_REQUIRE_CERT,
	DBP_TLS_RANDOM_FILE,
	DBP_TLS_CIPHER_SUITE,
	DBP_CACHE,
	DBP_CACHE_EXPIRY,
	DBP_CACHE_SIZE,
	DBP_DEBUGLEVEL,
	DBP_COUNT
};

struct dbconf {
	unsigned kind;	    /* DB_... */
	const char *source; /* the file */
	const char *prefix; /* before the names of parameters: "NAME_" in main.cf, "" in its own file */
	const char *text[DBP_COUNT]; /* as set, else the default; "" for neither */
	int64_t number[DBP_COUNT];   /* of numbers, times (seconds), yes and no */
	unsigned line[DBP_COUNT];    /* where it is set; 0: it is not */
	struct map_file file;	     /* the file it came from */
	struct arena arena;
	unsigned users; /* private */
};

/* Reads the configuration of table `m`. Errors name file, line and parameter; a setting whose
 * name is nearly one of the type's is logged as a warning. */
MUST_CHECK enum rc dbconf_open(struct map *m, unsigned kind, struct dbconf **out, struct err *e);
struct dbconf *dbconf_keep(struct dbconf *c); /* one more owner */
void dbconf_drop(struct dbconf **c);
static inline bool dbconf_set(const struct dbconf *c, enum db_param p)
{
	return c->line[p] != 0;
}
/* "FILE line 7: NAME: " before the story, with rc RC_SYNTAX. */
enum rc dbconf_bad(const struct dbconf *c, enum db_param p, struct err *e, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* What makes up a connection, as one string: tables that agree in it share connections. */
const char *dbconf_identity(const struct dbconf *c, struct arena *a);
/* Calls add() for each file and directory that the configuration names for the time after the start
 * (certificates, option files). */
void dbconf_paths(const struct dbconf *c, void (*add)(void *arg, const char *path), void *arg);

#endif
