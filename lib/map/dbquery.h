/* map/dbquery.h - templates with %s and the like: the question made from a key, the answer made from a value
 * (query, search_base, query_filter, result_format), and the list of domains that are asked for at all.
 *
 *   %s whole, %u local part (whole when there is no '@'), %d domain; %S %U %D the same of the key, also in
 *   result_format; %1 to %9 the labels of the key's domain from the right; %% is '%'.
 *
 * A key that lacks a part that one of the templates wants is not asked for. */
#ifndef MAP_DBQUERY_H
#define MAP_DBQUERY_H

#include "map/dbconf.h"

#define DB_RESULT_MAX (MAP_VALUE_MAX - 100)

struct db_query {
	const struct dbconf *conf;
	unsigned needs; /* private */
	unsigned labels;
	struct match_list *domains; /* NULL: all keys */
};

/* How a value is written where the template has it. `quote`: the quote (' " `) it stands in, 'E' within E'...'
 * of PostgreSQL, 0 for none, always 0 when the templates are not SQL. RC_NOTFOUND: such a value cannot be there; other failures: story in e. */
typedef enum rc db_quote_fn(void *arg, char quote, struct span value, struct buf *out, struct err *e);

/* Reads the list `domain`. */
MUST_CHECK enum rc db_query_init(struct db_query *q, const struct dbconf *c, struct err *e);
void db_query_release(struct db_query *q);
/* Each template once before the first use; it may be NULL for none. *dynamic (may be NULL): the template
 * depends on the key. */
MUST_CHECK enum rc db_query_template(struct db_query *q, enum db_param p, const char *text, bool query,
				     bool *dynamic, struct err *e);
/* RC_OK: to be asked; RC_NOTFOUND: no such key without asking; RC_AGAIN: a table in `domain` failed. */
MUST_CHECK enum rc db_query_wants(const struct db_query *q, struct span key, struct err *e);
/* The question. RC_NOTFOUND: the key lacks a part. */
MUST_CHECK enum rc db_expand_query(const struct db_query *q, const char *text, struct span key,
				   db_quote_fn *quote, void *arg, struct buf *out, struct err *e);
/* Appends an answer to `out`, with a comma between answers. RC_NOTFOUND: it is left out. RC_LIMIT: too long. */
MUST_CHECK enum rc db_expand_result(const struct db_query *q, const char *text, struct span value,
				    struct span key, struct buf *out, struct err *e);
/* The single answers of one look-up. */
struct db_answer {
	const struct db_query *q;
	const char *format;
	struct span key;
	struct buf text;
	int64_t count, max; /* max 0: any number */
	bool empty;	    /* an empty value was left out: to be told in the log */
};
/* RC_LIMIT: more than expansion_limit. */
MUST_CHECK enum rc db_answer_add(struct db_answer *a, struct span value, struct err *e);

#endif
