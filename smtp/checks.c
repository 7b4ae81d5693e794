/* checks.c - smtp_header_checks and its relatives: what header_checks(5) can do to a message on its way out. The copy
 * that leaves changes, the one in the queue does not; so what would decide about the message (REJECT, HOLD ...) is not
 * known here. */
#include "client.h"
#include "log/event.h"
#include "log/log.h"
#include "mime/mime.h"
#include "smtp/check_action.h"

static struct {
	struct maps *header, *mime, *nested, *body;
	uint64_t body_limit;
} checks;

struct run {
	struct span qid, message;
	size_t at; /* bytes of the message that are through */
	struct arena *a;
	struct buf *out;
	struct err *e;
};

/* A line or a header field, and what becomes of it. */
struct checked {
	const struct run *r;
	const struct maps *table;
	const char *part; /* "header", "body" */
	struct span text, arg;
	struct span before; /* a line that goes ahead of it */
	bool drop;
};

static struct maps *open_table(const char *suffix)
{
	char name[64];
	struct maps *m;
	struct err e;
	snprintf(name, sizeof name, "%s_%s", settings.lmtp ? "lmtp" : "smtp", suffix);
	if (maps_open(name, span_str(settings_str(suffix)), 0, &m, &e) != RC_OK)
		die("%s: %s", name, e.text);
	return m;
}

void checks_read(void)
{
	checks.header = open_table("header_checks");
	checks.mime = open_table("mime_header_checks");
	checks.nested = open_table("nested_header_checks");
	checks.body = open_table("body_checks");
	checks.body_limit = (uint64_t)conf_int(service_conf(), "body_checks_size_limit");
	if (checks.body_limit == 0)
		checks.body_limit = UINT64_MAX;
}

bool checks_of_header(void)
{
	return !maps_empty(checks.header);
}

bool checks_of_body(void)
{
	return !maps_empty(checks.mime) || !maps_empty(checks.nested) || !maps_empty(checks.body);
}

/* ---- actions ---- */

static void note(const struct checked *c, const char *action)
{
	struct span shown = span_head(c->text, 60);
	log_info(SPAN_FMT ": %s: %s " SPAN_FMT "%s" SPAN_FMT, SPAN_ARG(c->r->qid), action, c->part,
		 SPAN_ARG(shown), c->arg.n > 0 ? ": " : "", SPAN_ARG(c->arg));
	EVENT("content_check", EV_TEXT("queue_id", c->r->qid), EV_CSTR("action", action),
	      EV_CSTR("part", c->part), EV_TEXT("text", shown), EV_TEXT("reason", c->arg));
}

static void do_warn(struct checked *c)
{
	note(c, "warning");
}

static void do_info(struct checked *c)
{
	note(c, "info");
}

static void do_ignore(struct checked *c)
{
	c->drop = true;
}

static void do_strip(struct checked *c)
{
	note(c, "strip");
	c->drop = true;
}

static void do_nothing(struct checked *c)
{
	(void)c;
}

static void do_prepend(struct checked *c)
{
	note(c, "prepend");
	c->before = c->arg;
}

static void do_replace(struct checked *c)
{
	note(c, "replace");
	c->text = c->arg;
}

static void (*const run[CHECK_VERBS])(struct checked *c) = {
	[CHECK_DUNNO] = do_nothing,   [CHECK_IGNORE] = do_ignore,   [CHECK_INFO] = do_info,
	[CHECK_PREPEND] = do_prepend, [CHECK_REPLACE] = do_replace, [CHECK_STRIP] = do_strip,
	[CHECK_WARN] = do_warn,
};

static const char *name_of(const struct maps *table)
{
	return table == checks.header	? "header_checks"
	       : table == checks.mime	? "mime_header_checks"
	       : table == checks.nested ? "nested_header_checks"
					: "body_checks";
}

static void act(struct checked *c, struct span value)
{
	struct check_action action;
	struct err e;
	char map[64];
	snprintf(map, sizeof map, "%s_%s", settings.lmtp ? "lmtp" : "smtp", name_of(c->table));
	if (check_action_parse(value, map, c->part[0] == 'h', &action, &e) != RC_OK) {
		log_warning("%s", e.text);
		return;
	}
	c->arg = action.text;
	if (run[action.verb] != NULL)
		run[action.verb](c);
	else
		log_warning("unsupported command in %s checks at delivery: " SPAN_FMT, c->part,
			    SPAN_ARG(value));
}

/* ---- lines and fields ---- */

static struct span without_end(struct span line)
{
	if (line.n > 0 && line.p[line.n - 1] == '\n')
		line.n--;
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

static enum rc check(struct run *r, struct maps *table, const char *part, struct span line)
{
	struct checked c = { .r = r, .table = table, .part = part, .text = without_end(line) };
	struct span value, asked = c.text;
	enum rc rc = maps_empty(table) ? RC_NOTFOUND : maps_lookup(table, asked, r->a, &value, r->e);
	if (rc != RC_OK && rc != RC_NOTFOUND)
		return rc;
	if (rc == RC_OK)
		act(&c, value);
	if (c.before.n > 0) {
		(void)buf_append(r->out, c.before);
		(void)buf_putc(r->out, '\n');
	}
	if (!c.drop)
		(void)buf_append(r->out, c.text);
	if (!c.drop) /* the line end as it was, also none at all */
		(void)buf_append(r->out, span_skip(line, asked.n));
	return RC_OK;
}

/* RFC 2045 section 3: these are checked alike in attached messages and in parts. */
static bool describes_part(struct span name)
{
	return span_starts_ci(name, SPAN("content-")) || span_is_ci(name, "mime-version");
}

static enum rc check_fields(struct run *r, struct maps *table, struct span header)
{
	struct span rest = header;
	struct header_field f;
	for (;;) {
		struct span before = rest;
		if (header_next(&rest, &f) != RC_OK) {
			(void)buf_append(r->out, before); /* the empty line */
			return RC_OK;
		}
		bool mime = table == checks.nested && describes_part(f.name);
		enum rc rc = check(r, mime ? checks.mime : table, "header", f.all);
		if (rc != RC_OK)
			return rc;
	}
}

/* What lies before `end`: the body of a part, or what stands between parts. */
static enum rc check_body(struct run *r, uint64_t end)
{
	struct span rest = span_make(r->message.p + r->at, end > r->at ? (size_t)end - r->at : 0);
	uint64_t seen = 0;
	enum rc rc = RC_OK;
	r->at += rest.n;
	if (maps_empty(checks.body)) {
		(void)buf_append(r->out, rest);
		return RC_OK;
	}
	while (rc == RC_OK && rest.n > 0 && seen < checks.body_limit) {
		ptrdiff_t lf = span_chr(rest, '\n');
		struct span line = lf < 0 ? rest : span_head(rest, (size_t)lf + 1);
		rc = check(r, checks.body, "body", line);
		seen += line.n;
		rest = span_skip(rest, line.n);
	}
	(void)buf_append(r->out, rest);
	return rc;
}

/* The line end before a delimiter is the delimiter's (RFC 2046 section 5.1.1), but a line is checked with it. */
static uint64_t line_ends(const struct run *r, uint64_t end)
{
	if (end > r->at && r->message.p[end - 1] != '\n') {
		end += end < r->message.n && r->message.p[end] == '\r';
		end += end < r->message.n && r->message.p[end] == '\n';
	}
	return end;
}

static enum rc check_part(struct run *r, const struct mime_part *p, struct maps *table)
{
	bool multipart = span_is_ci(p->type, "multipart");
	enum rc rc = check_body(r, p->header_off);
	struct span header = span_make(r->message.p + p->header_off, (size_t)p->header_len);
	if (rc == RC_OK && table != NULL)
		rc = check_fields(r, table, header);
	else if (rc == RC_OK) /* the first header is checks_header()'s */
		(void)buf_append(r->out, header);
	r->at = (size_t)(p->header_off + p->header_len);
	for (const struct mime_part *c = p->child; rc == RC_OK && c != NULL; c = c->next)
		rc = check_part(r, c, multipart ? checks.mime : checks.nested);
	return rc == RC_OK ? check_body(r, line_ends(r, p->body_off + p->body_len)) : rc;
}

/* ---- whole ---- */

static enum rc finish(struct run *r, enum rc rc)
{
	if (rc == RC_OK && !buf_ok(r->out))
		rc = err_set(r->e, RC_LIMIT, "message too large after checks");
	return rc;
}

enum rc checks_header(struct span qid, struct span header, struct arena *a, struct buf *out, struct err *e)
{
	struct run r = { .qid = qid, .message = header, .a = a, .out = out, .e = e };
	return finish(&r, check_fields(&r, checks.header, header));
}

enum rc checks_message(struct span qid, struct span message, struct buf *out, struct err *e)
{
	struct arena a;
	arena_init(&a);
	struct run r = { .qid = qid, .message = message, .a = &a, .out = out, .e = e };
	enum rc rc = check_part(&r, mime_parse(message, &a), NULL);
	if (rc == RC_OK)
		rc = check_body(&r, message.n);
	arena_release(&a);
	return finish(&r, rc);
}
