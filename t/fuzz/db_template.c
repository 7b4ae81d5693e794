/* Templates of questions and answers (mysql_table(5), pgsql_table(5), sqlite_table(5), ldap_table(5)) with any key: no crash, and no key
 * that reaches beyond the place where the template has it. Input: a byte for the type, the template, a line end, the key. */
#include "../../lib/map/sqltable.c"
#include "log/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BEGIN '\x01' /* around each value */
#define END   '\x02'

/* As the libraries do it where a connection knows a harmless character set. */
static enum rc doubled(void *conn, struct span value, struct buf *out, struct err *e)
{
	(void)conn, (void)e;
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '\'')
			(void)buf_putc(out, '\'');
		(void)buf_putc(out, value.p[i]);
	}
	return RC_OK;
}

static enum rc backslashed(void *conn, struct span value, struct buf *out, struct err *e)
{
	(void)conn, (void)e;
	for (size_t i = 0; i < value.n; i++) {
		if (memchr("'\"\\", value.p[i], 3))
			(void)buf_putc(out, '\\');
		(void)buf_putc(out, value.p[i]);
	}
	return RC_OK;
}

static const struct sql_client clients[] = {
	{ .kind = DB_MYSQL, .quotes = "'\"", .escape = backslashed },
	{ .kind = DB_PGSQL, .quotes = "'", .escape = doubled },
	{ .kind = DB_SQLITE, .quotes = "'", .escape = doubled },
};

static enum rc between_marks(void *arg, char quote, struct span value, struct buf *out, struct err *e)
{
	(void)buf_putc(out, BEGIN);
	enum rc rc = quote_value(arg, quote, value, out, e);
	(void)buf_putc(out, END);
	return rc;
}

/* A reader of SQL that knows nothing of templates: the quote that is open, 'E' for one with backslashes. */
struct reader {
	char open, before, before2;
	bool escaped, closing; /* closing: a quote that the next byte may yet make a doubled one */
	bool backslashes;
};

static void read_byte(struct reader *r, unsigned kind, char c)
{
	bool same = r->open && c == r->open;

	if (r->closing && !same)
		r->open = 0;
	if (r->closing && same)
		r->closing = false;
	else if (r->closing || !r->open) {
		r->closing = false;
		if (c == '\'' || c == '"' || c == '`') {
			r->open = c;
			r->backslashes =
			    (kind == DB_MYSQL && c != '`') ||
			    (kind == DB_PGSQL && c == '\'' && (r->before == 'E' || r->before == 'e') &&
			     !ascii_isalnum(r->before2));
		}
	} else if (r->escaped) {
		r->escaped = false;
	} else if (r->backslashes && c == '\\') {
		r->escaped = true;
	} else if (same) {
		r->closing = true;
	}
	r->before2 = r->before;
	r->before = c;
}

/* A value begins and ends in the same quote, or is a plain word outside of all. */
static void hold(struct span sql, unsigned kind)
{
	struct reader r = { 0 };
	struct reader at = { 0 };

	for (size_t i = 0; i < sql.n; i++) {
		if (sql.p[i] == BEGIN) {
			at = r;
			continue;
		}
		if (sql.p[i] == END) {
			bool outside = !at.open || at.closing;
			if (outside ? (r.open && !r.closing) : (r.open != at.open || r.closing != at.closing))
				abort();
			continue;
		}
		read_byte(&r, kind, sql.p[i]);
	}
}

/* Comments, strings between dollars, and quotes that a value's first byte would double are what the marks cannot see through. */
static bool plain_template(const char *text)
{
	for (const char *c = text; *c; c++)
		if (*c == '$' || *c == '#' || *c == BEGIN || *c == END || (*c == '-' && c[1] == '-') ||
		    (*c == '/' && c[1] == '*'))
			return false;
	return true;
}

static void as_sql(const struct sql_client *client, const char *text, struct span key)
{
	struct dbconf c = { .kind = client->kind, .source = "t", .prefix = "" };
	struct db_query q = { .conf = &c };
	struct quoting how = { client, NULL };
	struct buf sql;
	struct err e;

	buf_init(&sql, SQL_TEXT_MAX);
	if (db_query_template(&q, DBP_QUERY, text, true, NULL, &e) == RC_OK &&
	    db_query_wants(&q, key, &e) == RC_OK &&
	    db_expand_query(&q, text, key, between_marks, &how, &sql, &e) == RC_OK && plain_template(text) &&
	    span_chr(key, BEGIN) < 0 && span_chr(key, END) < 0)
		hold(buf_span(&sql), client->kind);
	buf_release(&sql);
}

static void as_answer(const char *format, struct span key)
{
	struct dbconf c = { .kind = DB_LDAP, .source = "t", .prefix = "" };
	struct db_query q = { .conf = &c };
	struct db_answer a = { .q = &q, .format = format, .key = key, .max = 3 };
	struct err e;

	buf_init(&a.text, DB_RESULT_MAX);
	if (db_query_template(&q, DBP_RESULT_FORMAT, format, false, NULL, &e) == RC_OK)
		for (int i = 0; i < 4; i++)
			if (db_answer_add(&a, i % 2 ? key : SPAN("user@example.com"), &e) != RC_OK)
				break;
	if (a.text.n > DB_RESULT_MAX || a.count > 4)
		abort();
	buf_release(&a.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	struct span text = span_make((const char *)data, size), key;
	ptrdiff_t nl = span_chr(text, '\n');
	char template[1000];

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	if (size < 2 || nl < 1 || memchr(data, 0, size))
		return 0;
	key = span_skip(text, (size_t)nl + 1);
	if (!key.n ||
	    span_cstr(span_skip(span_head(text, (size_t)nl), 1), template, sizeof template) != RC_OK)
		return 0;
	if (*data % 4 == 3)
		as_answer(template, key);
	else
		as_sql(&clients[*data % 4], template, key);
	return 0;
}
