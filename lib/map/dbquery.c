/* map/dbquery.c - templates of questions and answers. */
#include "map/dbquery.h"
#include "base/codec.h"

/* What the templates of a table want of a key, and of each value of the answer. */
#define NEED_KEY_USER	  1
#define NEED_KEY_DOMAIN	  2
#define NEED_VALUE_USER	  4
#define NEED_VALUE_DOMAIN 8

struct parts {
	struct span all, user, domain;
	bool has_at;
};

static struct parts split(struct span s)
{
	ptrdiff_t at = span_rchr(s, '@');
	struct parts p = { .all = s, .user = s, .has_at = at >= 0 };

	if (at >= 0) {
		p.user = span_head(s, (size_t)at);
		p.domain = span_skip(s, (size_t)at + 1);
	}
	return p;
}

static bool lacks(const struct parts *p, bool user, bool domain)
{
	return (domain && !p->domain.n) || (user && p->has_at && !p->user.n);
}

/* The n-th label from the right. */
static struct span label(struct span domain, unsigned n)
{
	struct span rest = domain;

	for (;;) {
		ptrdiff_t dot = span_rchr(rest, '.');
		struct span last = dot < 0 ? rest : span_skip(rest, (size_t)dot + 1);
		if (--n == 0)
			return last;
		if (dot < 0)
			return SPAN_NONE;
		rest = span_head(rest, (size_t)dot);
	}
}

static bool has_labels(struct span domain, unsigned n)
{
	for (unsigned i = 1; i <= n; i++)
		if (!label(domain, i).n)
			return false;
	return true;
}

enum rc db_query_init(struct db_query *q, const struct dbconf *c, struct err *e)
{
	*q = (struct db_query){ .conf = c };
	if (!c->text[DBP_DOMAIN][0])
		return RC_OK;
	if (match_list_open("domain", span_str(c->text[DBP_DOMAIN]), MATCH_EXACT | MATCH_EMPTY, &q->domains,
			    e) != RC_OK)
		return dbconf_bad(c, DBP_DOMAIN, e, "%s", e ? e->text : "unusable list");
	return RC_OK;
}

void db_query_release(struct db_query *q)
{
	match_list_close(&q->domains);
}

static bool note_need(struct db_query *q, char c, bool query)
{
	switch (c) {
	case '%':
	case 's':
	case 'S':
		return true;
	case 'u':
		q->needs |= query ? NEED_KEY_USER : NEED_VALUE_USER;
		return true;
	case 'd':
		q->needs |= query ? NEED_KEY_DOMAIN : NEED_VALUE_DOMAIN;
		return true;
	case 'U':
		q->needs |= NEED_KEY_USER;
		return true;
	case 'D':
		q->needs |= NEED_KEY_DOMAIN;
		return true;
	default:
		if (c < '1' || c > '9')
			return false;
		q->needs |= NEED_KEY_DOMAIN;
		if (q->labels < (unsigned)(c - '0'))
			q->labels = (unsigned)(c - '0');
		return true;
	}
}

enum rc db_query_template(struct db_query *q, enum db_param p, const char *text, bool query, bool *dynamic,
			  struct err *e)
{
	if (dynamic)
		*dynamic = false;
	for (const char *c = text; c && *c; c++) {
		if (*c != '%')
			continue;
		c++;
		if (!*c || !note_need(q, *c, query))
			return dbconf_bad(q->conf, p, e, "unknown expansion %%%c in \"%s\"", *c ? *c : ' ',
					  text);
		if (dynamic && *c != '%')
			*dynamic = true;
	}
	return RC_OK;
}

enum rc db_query_wants(const struct db_query *q, struct span key, struct err *e)
{
	struct parts k = split(key);

	if (!span_is_ascii(key) && !utf8_valid(key)) /* no database holds it as text */
		return RC_NOTFOUND;
	if (lacks(&k, q->needs & NEED_KEY_USER, q->needs & NEED_KEY_DOMAIN) ||
	    (q->labels && !has_labels(k.domain, q->labels)))
		return RC_NOTFOUND;
	if (!q->domains)
		return RC_OK;
	if (!k.has_at || !k.user.n)
		return RC_NOTFOUND;
	return match_domain(q->domains, k.domain, e);
}

static struct span part_of(char c, const struct parts *value, const struct parts *key)
{
	switch (c) {
	case 's':
		return value->all;
	case 'u':
		return value->user;
	case 'd':
		return value->domain;
	case 'S':
		return key->all;
	case 'U':
		return key->user;
	case 'D':
		return key->domain;
	default:
		return label(key->domain, (unsigned)(c - '0'));
	}
}

/* ---- where in SQL a value stands ---- */
static bool is_quote(char c)
{
	return c == '\'' || c == '"' || c == '`';
}

/* Within such a quote a backslash takes the meaning from what follows. */
static bool has_escapes(char open, unsigned kind)
{
	return kind == DB_MYSQL ? open == '\'' || open == '"' : kind == DB_PGSQL && open == 'E';
}

static bool after_backslash(const char *text, const char *c)
{
	size_t n = 0;

	while (c > text && *--c == '\\')
		n++;
	return n % 2;
}

static char opens(const char *text, const char *c, unsigned kind)
{
	bool e = kind == DB_PGSQL && *c == '\'' && c > text && (c[-1] == 'E' || c[-1] == 'e') &&
		 (c - 1 == text || !ascii_isalnum(c[-2]));

	return e ? 'E' : *c;
}

/* Goes over the byte at `c`, and over the second one of a quote that is doubled within itself: how many. */
static size_t follow(const char *text, const char *c, unsigned kind, char *open)
{
	if (!is_quote(*c))
		return 1;
	if (!*open)
		return *open = opens(text, c, kind), 1;
	if (*c != (*open == 'E' ? '\'' : *open) || (has_escapes(*open, kind) && after_backslash(text, c)))
		return 1;
	if (c[1] == *c)
		return 2;
	*open = 0;
	return 1;
}

/* `kind`: of SQL, whose quotes are followed; 0: other text. */
static enum rc expand(const char *text, const struct parts *value, const struct parts *key, unsigned kind,
		      db_quote_fn *quote, void *arg, struct buf *out, struct err *e)
{
	char open = 0;
	enum rc rc;

	for (const char *c = text; *c; c++) {
		if (*c != '%' || c[1] == '%') {
			size_t n = kind ? follow(text, c, kind, &open) : 1;
			(void)buf_append(out, span_make(c, n));
			c += *c == '%' ? 1 : n - 1;
			continue;
		}
		/* What a backslash before it would do to its first byte no escaping foresees. */
		bool safe = !has_escapes(open, kind) || !after_backslash(text, c);
		struct span part = part_of(*++c, value, key);
		if (!quote)
			(void)buf_append(out, part);
		else if ((rc = quote(arg, safe ? open : 0, part, out, e)) != RC_OK)
			return rc;
	}
	return buf_ok(out) ? RC_OK : err_set(e, RC_LIMIT, "text too long");
}

enum rc db_expand_query(const struct db_query *q, const char *text, struct span key, db_quote_fn *quote,
			void *arg, struct buf *out, struct err *e)
{
	struct parts k = split(key);

	return expand(text, &k, &k, q->conf->kind & DB_SQL, quote, arg, out, e);
}

enum rc db_expand_result(const struct db_query *q, const char *text, struct span value, struct span key,
			 struct buf *out, struct err *e)
{
	struct parts v = split(value), k = split(key);

	if (!value.n || lacks(&v, q->needs & NEED_VALUE_USER, q->needs & NEED_VALUE_DOMAIN))
		return RC_NOTFOUND;
	if (out->n)
		(void)buf_putc(out, ',');
	return expand(text, &v, &k, 0, NULL, NULL, out, e);
}

enum rc db_answer_add(struct db_answer *a, struct span value, struct err *e)
{
	enum rc rc;

	if (!value.n) {
		a->empty = true;
		return RC_OK;
	}
	rc = db_expand_result(a->q, a->format, value, a->key, &a->text, e);
	if (rc == RC_NOTFOUND)
		return RC_OK;
	if (rc == RC_LIMIT)
		return err_set(e, RC_LIMIT, "the answer is longer than %d bytes", DB_RESULT_MAX);
	if (rc == RC_OK && ++a->count > a->max && a->max > 0)
		return err_set(e, RC_LIMIT, "more answers than expansion_limit (%d) allows", (int)a->max);
	return rc;
}
