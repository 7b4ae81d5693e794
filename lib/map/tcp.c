/* map/tcp.c - tcp:host:port (tcp_table(5)): a line is the question, a line the answer. */
#include "base/codec.h"
#include "map/driver.h"
#include "map/servers.h"

/* As long as the manual allows an exchange; all attempts together stay below what those who wait for proxymap allow. */
static const struct wire_limits limits = {
	.timeout_ms = 90000, .pause_ms = 500, .attempts = 3, .retry_connect = true
};

static enum rc open_tcp(struct map *m, struct err *e)
{
	char endpoint[512];
	struct wire *w;

	if (m->arg.n > sizeof endpoint - 8)
		return err_set(e, RC_LIMIT, "%s: name too long", m->drv->name);
	snprintf(endpoint, sizeof endpoint, "inet:" SPAN_FMT, SPAN_ARG(m->arg));
	if (wire_open(span_str(endpoint), &limits, &w, e) != RC_OK)
		return err_prefix(e, "%s", m->name);
	m->state = w;
	return RC_OK;
}

static void close_tcp(struct map *m)
{
	struct wire *w = m->state;

	wire_close(&w);
}

struct span tcp_request(struct arena *a, struct span key)
{
	static const char hex[] = "0123456789ABCDEF";
	char *p = arena_alloc(a, 4 + 3 * key.n + 1), *q = p + 4;

	memcpy(p, "get ", 4);
	for (size_t i = 0; i < key.n; i++) {
		unsigned char c = (unsigned char)key.p[i];
		if (c > ' ' && c < 0x7f && c != '%') {
			*q++ = (char)c;
			continue;
		}
		*q++ = '%';
		*q++ = hex[c >> 4];
		*q++ = hex[c & 15];
	}
	*q++ = '\n';
	return span_make(p, (size_t)(q - p));
}

/* "%XX" -> byte. */
static enum rc decode(struct span text, struct arena *a, struct span *out, struct err *e)
{
	struct buf b, byte;
	enum rc rc = RC_OK;
	ptrdiff_t at;

	buf_init(&b, TCP_LINE_MAX);
	buf_init(&byte, 1);
	while (rc == RC_OK && (at = span_chr(text, '%')) >= 0) {
		buf_append(&b, span_head(text, (size_t)at));
		buf_reset(&byte);
		text = span_skip(text, (size_t)at + 1);
		if (text.n < 2 || hex_decode(&byte, span_head(text, 2)) != RC_OK || !byte.n || !*byte.p)
			rc = err_set(e, RC_SYNTAX, "malformed %%XX in the reply of the server");
		else
			buf_append(&b, buf_span(&byte));
		text = span_skip(text, 2);
	}
	buf_append(&b, text);
	*out = span_dup(a, buf_span(&b));
	buf_release(&byte);
	buf_release(&b);
	return rc;
}

enum rc tcp_talk(struct wire_conn *c, void *arg, struct err *e)
{
	struct server_query *q = arg;
	struct span line, code, text;
	enum rc rc = wire_send(c, q->request, e);

	if (rc != RC_OK || (rc = wire_line(c, q->reply_max, &line, e)) != RC_OK)
		return rc;
	code = span_head(line, 3);
	if (code.n < 3 || (line.n > 3 && line.p[3] != ' ' && line.p[3] != '\t') || memchr(line.p, 0, line.n))
		return err_set(e, RC_SYNTAX, "malformed reply of the server: \"" SPAN_FMT "\"",
			       SPAN_ARG(span_head(line, 100)));
	if ((rc = decode(span_trim(span_skip(line, 3)), q->a, &text, e)) != RC_OK)
		return rc;
	if (span_is(code, "500"))
		return RC_NOTFOUND;
	if (span_is(code, "400"))
		return err_set(e, RC_AGAIN, "the server says: " SPAN_FMT, SPAN_ARG(span_head(text, 200)));
	if (!span_is(code, "200"))
		return err_set(e, RC_SYNTAX, "unexpected result code of the server: \"" SPAN_FMT "\"",
			       SPAN_ARG(span_head(line, 100)));
	q->value = text;
	return RC_OK;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct server_query q = { .request = tcp_request(a, key), .reply_max = TCP_LINE_MAX - 1, .a = a };
	enum rc rc;

	(void)flags;
	if (q.request.n > TCP_LINE_MAX) /* no table holds a key of that length */
		return RC_NOTFOUND;
	rc = wire_ask(m->state, tcp_talk, &q, e);
	if (rc == RC_OK)
		*value = q.value;
	else if (rc != RC_NOTFOUND)
		err_prefix(e, "%s", m->name);
	return rc;
}

const struct map_driver map_tcp = {
	.name = "tcp",
	.flags = MD_SERVER | MD_PATTERN | MD_NOFOLD | MD_UNSAFE,
	.open = open_tcp,
	.lookup = lookup,
	.close = close_tcp,
};
