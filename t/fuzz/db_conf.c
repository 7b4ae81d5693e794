/* Files of tables in databases (mysql_table(5), pgsql_table(5), sqlite_table(5), ldap_table(5)) from anywhere: a story, or numbers within their
 * bounds, a table that opens or says why, and the same values when they are written and read again; and what LDAP's questions are made of keeps
 * its meaning. The first byte selects the type. */
#include "../../lib/map/dbconf.c"
#include "../../lib/map/mod_ldap.c" /* a module: not in the archive */
#include "base/codec.h"
#include "map/sqltable.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum rc no_query(void *conn, const char *sql, struct sql_job *j, int timeout_s, struct err *e)
{
	(void)conn, (void)sql, (void)j, (void)timeout_s;
	return err_set(e, RC_AGAIN, "nothing is asked here");
}

static const struct sql_client sql_clients[] = {
	{ .pool = { "mysql", NULL, NULL, sql_run }, .kind = DB_MYSQL, .quotes = "'\"", .query = no_query },
	{ .pool = { "pgsql", NULL, NULL, sql_run }, .kind = DB_PGSQL, .quotes = "'", .query = no_query },
	{ .pool = { "sqlite", NULL, NULL, sql_run }, .kind = DB_SQLITE, .quotes = "'", .query = no_query },
};

/* A table whose file has this text. */
static int begin(struct map *m, struct span text, char *name, size_t size)
{
	int fd = memfd_create("table", MFD_CLOEXEC);

	INVARIANT(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
	snprintf(name, size, "db:/proc/self/fd/%d", fd);
	*m = (struct map){ .name = name, .arg = span_skip(span_str(name), 3) };
	return fd;
}

static void count_path(void *arg, const char *path)
{
	INVARIANT(path[0] == '/');
	(*(size_t *)arg)++;
}

static void check_values(const struct dbconf *c, struct buf *again)
{
	size_t paths = 0;

	for (size_t p = 0; p < DBP_COUNT; p++) {
		if (!(rows[p].kinds & c->kind))
			continue;
		INVARIANT(c->text[p] != NULL && (rows[p].value != V_NEEDED || c->text[p][0] != '\0'));
		if (rows[p].value == V_NUMBER || rows[p].value == V_SECONDS)
			INVARIANT(c->number[p] >= rows[p].min);
		INVARIANT(rows[p].value != V_YES || c->number[p] == 0 || c->number[p] == 1);
		if (c->line[p] != 0)
			(void)buf_printf(again, "%s = %s\n", rows[p].name, c->text[p]);
	}
	dbconf_paths(c, count_path, &paths);
}

/* The same values, and the same connection. */
static void written_again(const struct dbconf *c)
{
	struct dbconf *copy;
	char name[64];
	struct map m;
	struct arena a;
	struct buf text;
	struct err e;

	buf_init(&text, 1 << 20);
	arena_init(&a);
	check_values(c, &text);
	int fd = begin(&m, buf_span(&text), name, sizeof name);
	INVARIANT(buf_ok(&text) && dbconf_open(&m, c->kind, &copy, &e) == RC_OK);
	for (size_t p = 0; p < DBP_COUNT; p++)
		if (rows[p].kinds & c->kind)
			INVARIANT(strcmp(c->text[p], copy->text[p]) == 0 && c->number[p] == copy->number[p]);
	INVARIANT(strcmp(dbconf_identity(c, &a), dbconf_identity(copy, &a)) == 0);
	dbconf_drop(&copy);
	close(fd);
	buf_release(&text);
	arena_release(&a);
}

static void as_sql(struct map *m, const struct sql_client *sql, struct dbconf *c)
{
	struct err e = { .text = "" };
	struct span hosts = span_str(c->text[sql->kind == DB_SQLITE ? DBP_DBPATH : DBP_HOSTS]);

	if (sql_open(m, sql, c, hosts, NULL, 2, &e) != RC_OK)
		INVARIANT(e.text[0] != '\0' && m->state == NULL);
	sql_close(m);
}

static bool is_special(char c, const char *specials)
{
	return c == '\0' || strchr(specials, c) != NULL;
}

/* RFC 4515 section 3 and RFC 4514 section 2.4: it reads as the value, and nothing in it has a meaning of its own. */
static void check_quoting(db_quote_fn *quote, const char *specials, struct span value)
{
	struct buf quoted, plain;
	struct err e;

	buf_init(&quoted, TEXT_MAX);
	buf_init(&plain, TEXT_MAX);
	INVARIANT(quote(NULL, 0, value, &quoted, &e) == RC_OK && buf_ok(&quoted));
	for (size_t i = 0; i < quoted.n; i++) {
		char c = quoted.p[i];
		if (c == '\\') {
			INVARIANT(i + 2 < quoted.n &&
				  hex_decode(&plain, span_make(quoted.p + i + 1, 2)) == RC_OK);
			i += 2;
		} else {
			INVARIANT(!is_special(c, specials));
			(void)buf_putc(&plain, c);
		}
	}
	INVARIANT(span_eq(buf_span(&plain), value));
	buf_release(&quoted);
	buf_release(&plain);
}

static void check_urls(const struct dbconf *c)
{
	struct arena a;
	struct span list, word;

	arena_init(&a);
	list = span_str(urls(c, &a));
	while (span_next_word(&list, " ", &word))
		INVARIANT(span_find(word, SPAN("://")) >= 0);
	arena_release(&a);
}

static void as_ldap(struct map *m, struct span text)
{
	struct err e = { .text = "" };
	struct ldap_table *t;

	check_quoting(quote_filter, "*()\\", span_head(text, 1000));
	check_quoting(quote_dn, ",+\"\\<>;=#", span_head(text, 1000));
	if (open_ldap(m, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0' && m->state == NULL);
		return;
	}
	t = m->state;
	INVARIANT(t->attributes > 0 && t->attributes <= ATTRIBUTES_MAX && t->names[t->attributes] == NULL);
	INVARIANT(t->conf->number[DBP_VERSION] <= 3 && t->conf->number[DBP_DEREFERENCE] <= 3);
	check_urls(t->conf);
	close_ldap(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned kinds[] = { DB_MYSQL, DB_PGSQL, DB_SQLITE, DB_LDAP };
	static bool quiet;
	struct span text = span_skip(span_make((const char *)data, size), 1);
	struct err e = { .text = "" };
	struct dbconf *c;
	struct map m;
	char name[64];

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	/* a list of domains may name files of this host, also those that never end */
	if (size < 1 || size > 16384 || span_find(text, SPAN("/dev")) >= 0 ||
	    span_find(text, SPAN("/proc")) >= 0)
		return 0;
	unsigned kind = *data % ARRAY_LEN(kinds);
	int fd = begin(&m, text, name, sizeof name);
	if (dbconf_open(&m, kinds[kind], &c, &e) != RC_OK) {
		INVARIANT(c == NULL && strstr(e.text, "/proc/self/fd/") != NULL);
	} else {
		written_again(c);
		if (kinds[kind] != DB_LDAP)
			as_sql(&m, &sql_clients[kind], c);
		dbconf_drop(&c);
	}
	if (kinds[kind] == DB_LDAP)
		as_ldap(&m, text);
	close(fd);
	return 0;
}
