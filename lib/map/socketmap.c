/* map/socketmap.c - socketmap:inet:host:port:name and socketmap:unix:pathname:name (socketmap_table(5)): netstrings. */
#include "map/driver.h"
#include "map/servers.h"

#define LENGTH_DIGITS 9

static const struct wire_limits limits = { .timeout_ms = 90000, .pause_ms = 500, .attempts = 2 };

struct socketmap {
	struct wire *wire; /* shared with other names of the same server */
	struct span name;  /* within m->name */
};

static size_t reply_max = SOCKETMAP_REPLY_MAX;

void map_socketmap_limit(int64_t bytes)
{
	reply_max = bytes > 0 && bytes < INT32_MAX ? (size_t)bytes : SOCKETMAP_REPLY_MAX;
}

static enum rc open_socketmap(struct map *m, struct err *e)
{
	ptrdiff_t last = span_rchr(m->arg, ':');
	struct socketmap *s;
	struct wire *w;

	if (last <= 0 || (size_t)last + 1 == m->arg.n)
		return err_set(e, RC_SYNTAX, "%s requires server:socketmap argument", m->drv->name);
	if (wire_open(span_head(m->arg, (size_t)last), &limits, &w, e) != RC_OK)
		return err_prefix(e, "%s", m->name);
	m->state = s = xcalloc(1, sizeof *s);
	s->wire = w;
	s->name = span_skip(m->arg, (size_t)last + 1);
	return RC_OK;
}

static void close_socketmap(struct map *m)
{
	struct socketmap *s = m->state;

	if (s)
		wire_close(&s->wire);
	free(s);
}

struct span socketmap_request(struct arena *a, struct span name, struct span key)
{
	return span_printf(a, "%zu:" SPAN_FMT " " SPAN_FMT ",", name.n + 1 + key.n, SPAN_ARG(name),
			   SPAN_ARG(key));
}

/* "LENGTH:" */
static enum rc read_length(struct wire_conn *c, size_t max, size_t *length, struct err *e)
{
	char digits[LENGTH_DIGITS + 1], byte;
	uint64_t value;
	size_t n = 0;
	enum rc rc;

	while ((rc = wire_byte(c, &byte, e)) == RC_OK && ascii_isdigit(byte) && n < LENGTH_DIGITS)
		digits[n++] = byte;
	if (rc != RC_OK)
		return rc;
	if (byte != ':' || !n || (n > 1 && digits[0] == '0'))
		return err_set(e, RC_SYNTAX, "malformed netstring from the server");
	if (span_to_u64(span_make(digits, n), max, &value) != RC_OK)
		return err_set(e, RC_LIMIT, "reply of the server is longer than %zu bytes", max);
	*length = (size_t)value;
	return RC_OK;
}

static enum rc read_netstring(struct wire_conn *c, size_t max, struct arena *a, struct span *out,
			      struct err *e)
{
	struct span data;
	size_t length = 0;
	char byte;
	enum rc rc;

	if ((rc = read_length(c, max, &length, e)) != RC_OK ||
	    (rc = wire_bytes(c, length, &data, e)) != RC_OK)
		return rc;
	*out = span_dup(a, data);
	if ((rc = wire_byte(c, &byte, e)) == RC_OK && byte != ',')
		rc = err_set(e, RC_SYNTAX, "malformed netstring from the server");
	return rc;
}

enum rc socketmap_talk(struct wire_conn *c, void *arg, struct err *e)
{
	static const struct {
		const char *word;
		enum rc rc;
	} answers[] = { { "OK", RC_OK },
			{ "NOTFOUND", RC_NOTFOUND },
			{ "TEMP", RC_AGAIN },
			{ "TIMEOUT", RC_AGAIN },
			{ "PERM", RC_DENIED } };
	struct server_query *q = arg;
	struct span reply, word;
	ptrdiff_t space;
	enum rc rc = wire_send(c, q->request, e);

	if (rc != RC_OK || (rc = read_netstring(c, q->reply_max, q->a, &reply, e)) != RC_OK)
		return rc;
	space = span_chr(reply, ' ');
	word = span_head(reply, space < 0 ? reply.n : (size_t)space);
	q->value = span_skip(reply, word.n + 1);
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		if (!span_is(word, answers[i].word) || memchr(reply.p, 0, reply.n))
			continue;
		if (answers[i].rc != RC_AGAIN && answers[i].rc != RC_DENIED)
			return answers[i].rc;
		return err_set(e, answers[i].rc, "the server says: " SPAN_FMT,
			       SPAN_ARG(span_head(q->value.n ? q->value : word, 200)));
	}
	return err_set(e, RC_SYNTAX, "unexpected reply of the server: \"" SPAN_FMT "\"",
		       SPAN_ARG(span_head(reply, 100)));
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct socketmap *s = m->state;
	struct server_query q = { .request = socketmap_request(a, s->name, key),
				  .reply_max = reply_max,
				  .a = a };
	enum rc rc = wire_ask(s->wire, socketmap_talk, &q, e);

	(void)flags;
	if (rc == RC_OK)
		*value = q.value;
	else if (rc != RC_NOTFOUND)
		err_prefix(e, "%s", m->name);
	return rc;
}

const struct map_driver map_socketmap = {
	.name = "socketmap",
	.flags = MD_SERVER | MD_PATTERN | MD_NOFOLD | MD_UNSAFE,
	.open = open_socketmap,
	.lookup = lookup,
	.close = close_socketmap,
};
