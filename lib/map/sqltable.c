/* map/sqltable.c - tables in SQL databases. */
#include "map/sqltable.h"

struct sql_table {
	const struct sql_client *client;
	struct dbconf *conf;
	struct db_query query;
	struct dbpool *pool;
	const char *sql;
	const char *watched; /* NULL: no file */
	struct stat st;	     /* what was there at first */
};

struct sql_job {
	const struct sql_table *t;
	struct db_answer answer;
};

const struct dbconf *sql_conf(const struct sql_job *j)
{
	return j->t->conf;
}

enum rc sql_value(struct sql_job *j, struct span value, struct err *e)
{
	return value.p ? db_answer_add(&j->answer, value, e) : RC_OK;
}

/* ---- the question ---- */
static enum rc from_old_parameters(struct sql_table *t, struct err *e)
{
	const struct dbconf *c = t->conf;
	static const enum db_param needed[] = { DBP_TABLE, DBP_SELECT_FIELD, DBP_WHERE_FIELD };

	if (c->text[DBP_SELECT_FUNCTION] && c->text[DBP_SELECT_FUNCTION][0]) {
		t->sql = arena_printf(&t->conf->arena, "SELECT %s('%%s')", c->text[DBP_SELECT_FUNCTION]);
		return RC_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!c->text[needed[i]][0])
			return dbconf_bad(c, needed[i], e, "must be set when there is no query");
	t->sql =
	    arena_printf(&t->conf->arena, "SELECT %s FROM %s WHERE %s = '%%s' %s", c->text[DBP_SELECT_FIELD],
			 c->text[DBP_TABLE], c->text[DBP_WHERE_FIELD], c->text[DBP_ADDITIONAL_CONDITIONS]);
	return RC_OK;
}

static enum rc read_templates(struct sql_table *t, struct err *e)
{
	const struct dbconf *c = t->conf;
	enum rc rc = RC_OK;

	t->sql = c->text[DBP_QUERY];
	if (!t->sql[0])
		rc = from_old_parameters(t, e);
	if (rc == RC_OK)
		rc = db_query_template(&t->query, DBP_QUERY, t->sql, true, NULL, e);
	if (rc == RC_OK && !c->text[DBP_RESULT_FORMAT][0])
		rc = dbconf_bad(c, DBP_RESULT_FORMAT, e, "must not be empty");
	if (rc == RC_OK)
		rc = db_query_template(&t->query, DBP_RESULT_FORMAT, c->text[DBP_RESULT_FORMAT], false, NULL,
				       e);
	return rc;
}

enum rc sql_open(struct map *m, const struct sql_client *client, struct dbconf *c, struct span hosts,
		 bool (*first)(const char *host), unsigned connections_max, struct err *e)
{
	struct sql_table *t = xcalloc(1, sizeof *t);
	enum rc rc;

	m->state = t;
	t->client = client;
	t->conf = dbconf_keep(c);
	if ((rc = db_query_init(&t->query, c, e)) == RC_OK && (rc = read_templates(t, e)) == RC_OK)
		rc = dbpool_open(&client->pool, c, hosts, first, connections_max, &t->pool, e);
	if (rc != RC_OK)
		sql_close(m);
	return rc;
}

struct dbpool *sql_pool(const struct map *m)
{
	const struct sql_table *t = m->state;
	return t->pool;
}

void sql_close(struct map *m)
{
	struct sql_table *t = m->state;

	if (!t)
		return;
	dbpool_close(&t->pool);
	db_query_release(&t->query);
	dbconf_drop(&t->conf);
	free(t);
	m->state = NULL;
}

bool sql_changed(const struct map *m)
{
	const struct sql_table *t = m->state;
	struct stat st;

	if (!t)
		return false;
	/* No descriptor of a database may be opened and closed here: that would end SQLite's locks. */
	if (t->watched && stat(t->watched, &st) == 0 &&
	    (st.st_ino != t->st.st_ino || st.st_dev != t->st.st_dev))
		return true;
	return map_file_changed(&t->conf->file);
}

void sql_watch(struct map *m, const char *path)
{
	struct sql_table *t = m->state;

	t->watched = stat(path, &t->st) == 0 ? path : NULL;
}

void sql_paths(const struct map *m, void (*add)(void *arg, const char *path), void *arg)
{
	const struct sql_table *t = m->state;

	if (t)
		dbconf_paths(t->conf, add, arg);
}

/* ---- quoting ---- */
struct quoting {
	const struct sql_client *client;
	void *conn;
};

/* What can stand in SQL outside of quotes without being more than one word of it. */
static bool plain_word(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && !memchr("._:@+-", s.p[i], 6))
			return false;
	return s.n && span_find(s, SPAN("--")) < 0;
}

static enum rc quote_value(void *arg, char quote, struct span value, struct buf *out, struct err *e)
{
	const struct quoting *q = arg;

	if (quote == 'E' && span_chr(value, '\\') < 0) /* escape() knows plain quotes only */
		quote = '\'';
	if (quote && strchr(q->client->quotes, quote))
		return q->client->escape(q->conn, value, out, e);
	/* Where escaping does not reach, only what needs none is asked for. */
	if (!plain_word(value))
		return RC_NOTFOUND;
	(void)buf_append(out, value);
	return RC_OK;
}

enum rc sql_run(void *conn, void *job, int timeout_s, struct err *e)
{
	struct sql_job *j = job;
	struct quoting q = { j->t->client, conn };
	struct buf sql;
	enum rc rc;

	buf_reset(&j->answer.text); /* a first server may have given a part */
	j->answer.count = 0;
	buf_init(&sql, SQL_TEXT_MAX);
	rc = db_expand_query(&j->t->query, j->t->sql, j->answer.key, quote_value, &q, &sql, e);
	if (rc == RC_OK)
		rc = j->t->client->query(conn, buf_cstr(&sql), j, timeout_s, e);
	buf_release(&sql);
	return rc == RC_OK && !j->answer.count ? RC_NOTFOUND : rc;
}

enum rc sql_lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		   struct err *e)
{
	struct sql_table *t = m->state;
	struct sql_job j = { .t = t,
			     .answer = { .q = &t->query,
					 .format = t->conf->text[DBP_RESULT_FORMAT],
					 .key = key,
					 .max = t->conf->number[DBP_EXPANSION_LIMIT] } };

	(void)flags;
	return dbpool_lookup(t->pool, &j, &j.answer, m->name, a, value, e);
}
