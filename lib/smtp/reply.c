/* smtp/reply.c - replies of SMTP and LMTP servers. */
#include "smtp/reply.h"
#include "smtp/dsn.h"

void smtp_reply_init(struct smtp_reply *r)
{
	*r = (struct smtp_reply){ 0 };
	buf_init(&r->text, SMTP_REPLY_BYTES);
}

void smtp_reply_release(struct smtp_reply *r)
{
	buf_release(&r->text);
}

void smtp_reply_reset(struct smtp_reply *r)
{
	buf_reset(&r->text);
	r->code = 0;
	r->dsn[0] = '\0';
	r->lines = 0;
	r->more = false;
}

static void take_dsn(struct smtp_reply *r, struct span text)
{
	size_t n = dsn_length(text);
	r->dsn[0] = '\0';
	if (n > 0 && (unsigned)(text.p[0] - '0') == r->code / 100)
		(void)!span_cstr(span_head(text, n), r->dsn, sizeof r->dsn);
}

static void keep(struct smtp_reply *r, struct span line)
{
	size_t from = r->text.n;
	if (r->lines > 0 && buf_putc(&r->text, '\n') != RC_OK)
		return;
	if (buf_append(&r->text, span_head(line, r->text.max - r->text.n)) != RC_OK)
		return;
	for (size_t i = r->lines > 0 ? from + 1 : from; i < r->text.n; i++)
		if (((unsigned char)r->text.p[i] < ' ' && r->text.p[i] != '\t') || r->text.p[i] == 0x7f)
			r->text.p[i] = '?';
}

enum rc smtp_reply_feed(struct smtp_reply *r, struct span line)
{
	if (r->lines >= SMTP_REPLY_LINES)
		return RC_LIMIT;
	if (line.n < 3 || !ascii_isdigit(line.p[0]) || !ascii_isdigit(line.p[1]) || !ascii_isdigit(line.p[2]))
		return RC_SYNTAX;
	unsigned code = (unsigned)(line.p[0] - '0') * 100 + (unsigned)(line.p[1] - '0') * 10 +
			(unsigned)(line.p[2] - '0');
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return RC_SYNTAX;
	r->code = code;
	keep(r, line);
	r->lines++;
	r->more = line.n > 3 && line.p[3] == '-';
	if (r->more)
		return RC_AGAIN;
	take_dsn(r, span_skip(line, 4));
	return RC_OK;
}

enum rc smtp_reply_read(struct smtp_reply *r, struct stream *s, deadline_t d, struct err *e)
{
	struct span line;
	enum rc rc;
	smtp_reply_reset(r);
	do {
		if ((rc = stream_line(s, &line, SMTP_REPLY_LINE_MAX, NULL, d, e)) != RC_OK)
			return rc;
		rc = smtp_reply_feed(r, line);
	} while (rc == RC_AGAIN);
	if (rc != RC_OK)
		return err_set(e, rc, "malformed reply: " SPAN_FMT, SPAN_ARG(span_head(line, 100)));
	return RC_OK;
}

struct span smtp_reply_text(const struct smtp_reply *r, struct arena *a)
{
	struct span all = buf_span(&r->text);
	char *p = arena_cstr(a, all);
	for (size_t i = 0; i < all.n; i++)
		p[i] = p[i] == '\n' ? ' ' : p[i] == '\t' ? '?' : p[i];
	return span_make(p, all.n);
}

bool smtp_reply_line(const struct smtp_reply *r, size_t i, struct span *out)
{
	struct span rest = buf_span(&r->text), line;
	while (span_next(&rest, '\n', &line))
		if (i-- == 0) {
			*out = span_skip(line, 4);
			return true;
		}
	return false;
}
