/* map/memcache.c - memcache:/file (memcache_table(5)): a memcached server, and behind it, if the file names one, a table
 * that does not forget. The file has the form of main.cf; memcache:name has its settings in main.cf itself, as name_memcache and
 * so on. */
#include "conf/conf.h"
#include "log/log.h"
#include "map/driver.h"
#include "map/servers.h"

#define FILE_MAX      (1u << 20)
#define KEY_BYTES_MAX 250 /* of memcached's protocol */

struct memcache {
	struct arena arena;
	struct map_file file;
	struct wire *wire;
	struct map *backup;	    /* NULL: none */
	struct match_list *domains; /* NULL: any */
	struct span backup_name, key_format, server, domain;
	struct wire_limits limits;
	int64_t flags, ttl, data_max, line_max;
};

/* ---- the file ---- */
static const struct setting {
	const char *name, *def;
	size_t text, number; /* offsets; one of them counts */
	int64_t min, max, unit;
} settings[] = {
#define M(field) offsetof(struct memcache, field)
	{ "memcache", "inet:localhost:11211", M(server), 0, 0, 0, 0 },
	{ "backup", "", M(backup_name), 0, 0, 0, 0 },
	{ "key_format", "%s", M(key_format), 0, 0, 0, 0 },
	{ "domain", "", M(domain), 0, 0, 0, 0 },
	{ "flags", "0", 0, M(flags), 0, UINT32_MAX, 1 },
	{ "ttl", "3600", 0, M(ttl), 0, INT32_MAX, 1 },
	{ "data_size_limit", "10240", 0, M(data_max), 1, 1 << 20, 1 },
	{ "line_size_limit", "1024", 0, M(line_max), 1, 1 << 20, 1 },
	{ "timeout", "2", 0, M(limits.timeout_ms), 1, 60, 1000 },
	{ "retry_pause", "1", 0, M(limits.pause_ms), 0, 10, 1000 },
#undef M
};

static enum rc take(struct memcache *c, const struct setting *s, struct span text, struct err *e)
{
	uint64_t n;

	if (s->text) {
		*(struct span *)((char *)c + s->text) = span_make(arena_cstr(&c->arena, text), text.n);
		return RC_OK;
	}
	if (span_to_u64(text, (uint64_t)s->max, &n) != RC_OK || (int64_t)n < s->min)
		return err_set(e, RC_SYNTAX, "bad value \"" SPAN_FMT "\" of %s", SPAN_ARG(text), s->name);
	*(int64_t *)((char *)c + s->number) = (int64_t)n * s->unit;
	return RC_OK;
}

static enum rc take_named(struct memcache *c, const char *name, struct span text, struct err *e)
{
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		if (!strcmp(settings[i].name, name))
			return take(c, &settings[i], text, e);
	if (strcmp(name, "max_try") != 0) {
		log_warning("%s: unused parameter: %s=" SPAN_FMT, c->file.path, name, SPAN_ARG(text));
		return RC_OK;
	}
	if (span_to_u64(text, 10, &n) != RC_OK || n < 1)
		return err_set(e, RC_SYNTAX, "bad value \"" SPAN_FMT "\" of max_try", SPAN_ARG(text));
	c->limits.attempts = (unsigned)n;
	return RC_OK;
}

static enum rc take_defaults(struct memcache *c, struct err *e)
{
	enum rc rc = RC_OK;

	c->limits.attempts = 2;
	for (size_t i = 0; i < ARRAY_LEN(settings) && rc == RC_OK; i++)
		rc = take(c, &settings[i], span_str(settings[i].def), e);
	return rc;
}

static enum rc read_settings(struct memcache *c, struct span text, struct err *e)
{
	const char *name, *raw;
	struct conf *conf;
	unsigned line;
	size_t pos = 0;
	enum rc rc = conf_parse(text, c->file.path, "", &conf, e);

	if (rc != RC_OK)
		return rc;
	while (rc == RC_OK && conf_next(conf, &pos, &name, &raw, &line))
		if ((rc = take_named(c, name, span_str(raw), e)) != RC_OK)
			err_prefix(e, "%s, line %u", c->file.path, line);
	conf_free(&conf);
	return rc;
}

static enum rc read_file(struct span path, struct memcache *c, struct err *e)
{
	struct buf text;
	enum rc rc;

	if ((rc = map_file_open(&c->file, path, e)) != RC_OK)
		return rc;
	buf_init(&text, FILE_MAX);
	if ((rc = map_read_all(c->file.fd, &text, e)) == RC_OK)
		rc = read_settings(c, buf_span(&text), e);
	else
		err_prefix(e, "%s", c->file.path);
	buf_release(&text);
	return rc;
}

static bool is_setting(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		if (!strcmp(settings[i].name, name))
			return true;
	return !strcmp(name, "max_try");
}

static enum rc take_main(struct memcache *c, struct span prefix, const struct conf *main_cf, struct err *e)
{
	const char *name, *raw;
	struct span value;
	unsigned line;
	size_t pos = 0;
	enum rc rc = RC_OK;

	while (rc == RC_OK && conf_next(main_cf, &pos, &name, &raw, &line)) {
		if (!span_starts(span_str(name), prefix) || !is_setting(name + prefix.n))
			continue;
		if ((rc = conf_expand(main_cf, span_str(raw), &c->arena, &value, e)) == RC_OK)
			rc = take_named(c, name + prefix.n, value, e);
		if (rc != RC_OK)
			err_prefix(e, "%s, line %u: %s", c->file.path, line, name);
	}
	return rc;
}

static enum rc read_main(struct span name, struct memcache *c, struct err *e)
{
	struct conf *main_cf = NULL;
	enum rc rc = map_file_open(&c->file, span_printf(&c->arena, "%s/main.cf", map_config_dir()), e);

	if (rc == RC_OK && (rc = conf_load(map_config_dir(), &main_cf, e)) == RC_OK)
		rc = take_main(c, span_printf(&c->arena, SPAN_FMT "_", SPAN_ARG(name)), main_cf, e);
	conf_free(&main_cf);
	return rc;
}

static struct memcache *memcache_new(void)
{
	struct memcache *c = xcalloc(1, sizeof *c);

	arena_init(&c->arena);
	map_file_init(&c->file);
	return c;
}

static enum rc read_all(struct span arg, struct memcache *c, struct err *e)
{
	enum rc rc = take_defaults(c, e);

	if (rc != RC_OK)
		return rc;
	return *arg.p == '/' || *arg.p == '.' ? read_file(arg, c, e) : read_main(arg, c, e);
}

static void release(struct memcache *c)
{
	map_close(&c->backup);
	match_list_close(&c->domains);
	wire_close(&c->wire);
	map_file_close(&c->file);
	arena_release(&c->arena);
	free(c);
}

static enum rc open_parts(struct map *m, struct memcache *c, struct err *e)
{
	struct span unused;

	if (memcache_key(c->key_format, SPAN("user@a.b.c.d.e.f.g.h.i.j"), &c->arena, &unused, e) == RC_SYNTAX)
		return err_prefix(e, "%s: key_format", c->file.path);
	if (wire_open(c->server, &c->limits, &c->wire, e) != RC_OK)
		return err_prefix(e, "%s: memcache", c->file.path);
	if (c->domain.n &&
	    match_list_open("domain", c->domain, MATCH_EXACT | MATCH_EMPTY, &c->domains, e) != RC_OK)
		return err_prefix(e, "%s", c->file.path);
	if (!c->backup_name.n)
		return RC_OK;
	/* What proxymap opens it opens here; elsewhere a file table may have to be asked of it. */
	if (map_open_at(c->backup_name, m->flags, m->depth + 1, false, &c->backup, e) != RC_OK)
		return err_prefix(e, "%s: backup", c->file.path);
	return RC_OK;
}

static enum rc open_memcache(struct map *m, struct err *e)
{
	struct memcache *c = memcache_new();
	enum rc rc = read_all(m->arg, c, e);

	if (rc == RC_OK)
		rc = open_parts(m, c, e);
	if (rc == RC_OK)
		m->state = c;
	else
		release(c);
	return rc;
}

struct span memcache_backup(struct span arg, struct arena *a)
{
	struct memcache *c = memcache_new();
	struct span name = SPAN_NONE;

	if (arg.n && read_all(arg, c, NULL) == RC_OK && c->backup_name.n)
		name = span_dup(a, c->backup_name);
	release(c);
	return name;
}

static void close_memcache(struct map *m)
{
	if (m->state)
		release(m->state);
}

static const char *within(const struct map *m)
{
	const struct memcache *c = m->state;

	return c && c->backup ? map_name(c->backup) : NULL;
}

static bool changed(const struct map *m)
{
	const struct memcache *c = m->state;

	return map_file_changed(&c->file) || (c->backup && map_changed(c->backup));
}

/* ---- keys ---- */
/* The n-th part of a domain, counted from its end (1: the top). */
static bool domain_part(struct span domain, unsigned n, struct span *out)
{
	while (domain.n) {
		ptrdiff_t dot = span_rchr(domain, '.');
		*out = dot < 0 ? domain : span_skip(domain, (size_t)dot + 1);
		if (--n == 0)
			return out->n > 0;
		domain = dot < 0 ? SPAN_NONE : span_head(domain, (size_t)dot);
	}
	return false;
}

static enum rc expand(char c, struct span key, struct span *out)
{
	ptrdiff_t at = span_rchr(key, '@');
	struct span domain = at < 0 ? SPAN_NONE : span_skip(key, (size_t)at + 1);

	switch (c) {
	case '%':
		*out = SPAN("%");
		return RC_OK;
	case 's':
	case 'S':
		*out = key;
		return RC_OK;
	case 'u':
	case 'U':
		*out = at < 0 ? key : span_head(key, (size_t)at);
		return out->n ? RC_OK : RC_NOTFOUND;
	case 'd':
	case 'D':
		*out = domain;
		return domain.n ? RC_OK : RC_NOTFOUND;
	default:
		if (c < '1' || c > '9')
			return RC_SYNTAX;
		return domain_part(domain, (unsigned)(c - '0'), out) ? RC_OK : RC_NOTFOUND;
	}
}

enum rc memcache_key(struct span format, struct span key, struct arena *a, struct span *out, struct err *e)
{
	enum rc rc = RC_OK;
	struct buf b;

	buf_init(&b, 65536);
	for (size_t i = 0; i < format.n && rc == RC_OK; i++) {
		struct span piece = span_make(format.p + i, 1);
		if (*piece.p == '%') {
			rc = ++i < format.n ? expand(format.p[i], key, &piece) : RC_SYNTAX;
			if (rc == RC_SYNTAX)
				err_set(e, rc, "unknown %%-expansion in \"" SPAN_FMT "\"", SPAN_ARG(format));
		}
		if (rc == RC_OK)
			buf_append(&b, piece);
	}
	if (rc == RC_OK && !buf_ok(&b))
		rc = RC_NOTFOUND;
	*out = rc == RC_OK ? span_dup(a, buf_span(&b)) : SPAN_NONE;
	buf_release(&b);
	return rc;
}

/* With a domain list, only user@domain of one of them is asked. */
static enum rc is_eligible(const struct memcache *c, struct span key, struct err *e)
{
	ptrdiff_t at = span_rchr(key, '@');

	if (!c->domains)
		return RC_OK;
	if (at <= 0)
		return RC_NOTFOUND;
	return match_domain(c->domains, span_skip(key, (size_t)at + 1), e);
}

static bool fits_memcached(struct span key)
{
	for (size_t i = 0; i < key.n; i++)
		if ((unsigned char)key.p[i] <= ' ' || key.p[i] == 0x7f)
			return false;
	return key.n > 0 && key.n <= KEY_BYTES_MAX;
}

/* ---- exchanges ---- */
static enum rc complaint(struct span line, struct err *e)
{
	bool healthy = span_starts(line, SPAN("SERVER_ERROR"));

	return err_set(e, healthy ? RC_AGAIN : RC_SYNTAX, "%s: \"" SPAN_FMT "\"",
		       healthy ? "the server says" : "unexpected reply of the server",
		       SPAN_ARG(span_head(line, 100)));
}

/* "VALUE key flags bytes" has been read: the data, then "END". */
static enum rc take_value(struct wire_conn *c, struct memcache_query *q, struct span line, struct err *e)
{
	struct span word, data, rest = span_skip(line, 6);
	uint64_t bytes = 0, flags;
	enum rc rc;

	if (!span_next(&rest, ' ', &word) || !span_eq(word, q->key) || !span_next(&rest, ' ', &word) ||
	    span_to_u64(word, UINT32_MAX, &flags) != RC_OK || !span_next(&rest, ' ', &word) || rest.n)
		return complaint(line, e);
	if ((rc = span_to_u64(word, q->data_max, &bytes)) == RC_LIMIT)
		return err_set(e, RC_LIMIT, "value of " SPAN_FMT " bytes is longer than data_size_limit",
			       SPAN_ARG(word));
	if (rc != RC_OK)
		return complaint(line, e);
	if ((rc = wire_bytes(c, (size_t)bytes, &data, e)) != RC_OK)
		return rc;
	q->value = span_dup(q->a, data);
	if ((rc = wire_line(c, q->line_max, &line, e)) != RC_OK)
		return rc;
	if (line.n || memchr(q->value.p, 0, q->value.n))
		return err_set(e, RC_SYNTAX, "malformed value from the server");
	if ((rc = wire_line(c, q->line_max, &line, e)) != RC_OK)
		return rc;
	return span_is(line, "END") ? RC_OK : complaint(line, e);
}

enum rc memcache_talk(struct wire_conn *c, void *arg, struct err *e)
{
	struct memcache_query *q = arg;
	struct span line;
	enum rc rc = wire_send(c, q->request, e);

	if (rc != RC_OK || (rc = wire_line(c, q->line_max, &line, e)) != RC_OK)
		return rc;
	switch (q->verb) {
	case MEMCACHE_GET:
		if (span_starts(line, SPAN("VALUE ")))
			return take_value(c, q, line, e);
		return span_is(line, "END") ? RC_NOTFOUND : complaint(line, e);
	case MEMCACHE_SET:
		return span_is(line, "STORED") ? RC_OK : complaint(line, e);
	case MEMCACHE_DELETE:
		if (span_is(line, "NOT_FOUND"))
			return RC_NOTFOUND;
		return span_is(line, "DELETED") ? RC_OK : complaint(line, e);
	}
	return RC_SYNTAX;
}

static enum rc exchange(const struct memcache *c, enum memcache_verb verb, struct span key, struct span value,
			struct arena *a, struct span *found, struct err *e)
{
	struct memcache_query q = { .verb = verb,
				    .key = key,
				    .line_max = (size_t)c->line_max,
				    .data_max = (size_t)c->data_max,
				    .a = a };
	enum rc rc;

	if (verb == MEMCACHE_SET)
		q.request =
		    span_printf(a, "set " SPAN_FMT " %lld %lld %zu\r\n" SPAN_FMT "\r\n", SPAN_ARG(key),
				(long long)c->flags, (long long)c->ttl, value.n, SPAN_ARG(value));
	else
		q.request = span_printf(a, "%s " SPAN_FMT "\r\n", verb == MEMCACHE_GET ? "get" : "delete",
					SPAN_ARG(key));
	rc = wire_ask(c->wire, memcache_talk, &q, e);
	if (found)
		*found = q.value;
	return rc;
}

/* ---- the table ---- */
/* RC_NOTFOUND: nothing of ours. *cached false: a key that memcached cannot hold. */
static enum rc key_for(const struct memcache *c, struct span key, struct arena *a, struct span *out,
		       bool *cached, struct err *e)
{
	enum rc rc = is_eligible(c, key, e);

	if (rc == RC_OK)
		rc = memcache_key(c->key_format, key, a, out, e);
	*cached = rc == RC_OK && fits_memcached(*out);
	return rc;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct memcache *c = m->state;
	struct span name;
	struct err unsaid;
	bool cached;
	enum rc rc = key_for(c, key, a, &name, &cached, e), cache_rc = RC_NOTFOUND;

	if (rc != RC_OK)
		return rc;
	if (cached)
		cache_rc = exchange(c, MEMCACHE_GET, name, SPAN_NONE, a, value, e);
	if (cache_rc == RC_OK)
		return RC_OK;
	if (cache_rc != RC_NOTFOUND)
		err_prefix(e, "%s", m->name);
	if (!c->backup)
		return cache_rc;
	if (cache_rc != RC_NOTFOUND && e)
		log_warning("%s; asking the backup table", e->text);
	rc = map_ask(c->backup, flags, key, a, value, e);
	if (rc == RC_OK && cached && cache_rc == RC_NOTFOUND &&
	    exchange(c, MEMCACHE_SET, name, *value, a, NULL, &unsaid) != RC_OK)
		log_warning("%s: %s", m->name, unsaid.text);
	return rc;
}

static enum rc update(struct map *m, enum memcache_verb verb, struct span key, struct span value,
		      struct err *e)
{
	struct memcache *c = m->state;
	struct arena a;
	struct span name;
	bool cached;
	enum rc rc;

	arena_init(&a);
	rc = key_for(c, key, &a, &name, &cached, e);
	if (rc == RC_NOTFOUND || (rc == RC_OK && !cached && !c->backup)) {
		log_warning("%s: skipping update for key \"" SPAN_FMT "\": not one that this table holds",
			    m->name, SPAN_ARG(key));
		rc = verb == MEMCACHE_SET ? RC_OK : RC_NOTFOUND;
	} else if (rc == RC_OK && cached) {
		rc = exchange(c, verb, name, value, &a, NULL, e);
		if (rc != RC_OK && rc != RC_NOTFOUND)
			err_prefix(e, "%s", m->name);
	}
	arena_release(&a);
	return rc;
}

static enum rc put(struct map *m, bool replace, struct span key, struct span value, struct err *e)
{
	struct memcache *c = m->state;
	enum rc rc = update(m, MEMCACHE_SET, key, value, e);

	if (!c->backup)
		return rc;
	if (rc != RC_OK && e)
		log_warning("%s", e->text);
	return replace ? map_put(c->backup, key, value, e) : map_add(c->backup, key, value, e);
}

static enum rc del(struct map *m, struct span key, struct err *e)
{
	struct memcache *c = m->state;
	enum rc rc = update(m, MEMCACHE_DELETE, key, SPAN_NONE, e);

	/* A cache that still holds what was deleted would give a wrong answer. */
	return c->backup && (rc == RC_OK || rc == RC_NOTFOUND) ? map_del(c->backup, key, e) : rc;
}

static enum rc next(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
		    struct err *e)
{
	struct memcache *c = m->state;

	if (!c->backup)
		return err_set(e, RC_DENIED, "%s: cannot be listed without a backup table", m->name);
	return map_next(c->backup, state, a, key, value, e);
}

const struct map_driver map_memcache = {
	.name = "memcache",
	.flags = MD_SERVER | MD_UNSAFE,
	.open = open_memcache,
	.lookup = lookup,
	.put = put,
	.del = del,
	.next = next,
	.close = close_memcache,
	.changed = changed,
	.within = within,
};
