/* Answers of servers that tables ask, from anywhere - tcp_table(5) lines, socketmap_table(5) netstrings, replies of memcached - never crash, hang,
 * leak or pass a limit, and a value never holds a null byte; nor does any key_format or server name do harm. The first byte selects. */
#include "log/log.h"
#include "map/driver.h"
#include "map/servers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hold(enum rc rc, struct span value, size_t max)
{
	if (rc == RC_OK && (value.n > max || memchr(value.p ? value.p : "", 0, value.n)))
		abort();
}

static void as_server(struct span text, struct arena *a, bool tcp)
{
	struct server_query q = { .request = SPAN("x"), .reply_max = 300, .a = a };
	struct err e;

	hold(wire_pretend(text, tcp ? tcp_talk : socketmap_talk, &q, &e), q.value, 300);
}

static void as_memcached(struct span text, struct arena *a)
{
	struct memcache_query q = {
		.request = SPAN("x"), .key = SPAN("key"), .line_max = 100, .data_max = 200, .a = a
	};
	struct err e;

	if (!text.n)
		return;
	q.verb = (enum memcache_verb)((unsigned char)*text.p % 3);
	hold(wire_pretend(span_skip(text, 1), memcache_talk, &q, &e), q.value, 200);
}

static void as_key(struct span text, struct arena *a)
{
	ptrdiff_t nl = span_chr(text, '\n');
	struct span out, format = span_head(text, nl < 0 ? text.n : (size_t)nl);
	struct err e;

	if (memcache_key(format, span_skip(text, format.n + 1), a, &out, &e) == RC_OK && out.n > 65536)
		abort();
}

static void as_name(struct span text, struct arena *a)
{
	struct span name = span_printf(a, "%s:" SPAN_FMT, text.n % 2 ? "tcp" : "socketmap", SPAN_ARG(text));
	struct map *m;
	struct err e;

	if (map_open(name, MAP_FOLD_KEY, &m, &e) == RC_OK && !m->state)
		abort();
	map_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	struct span text = span_make((const char *)data, size);
	struct arena a;

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	if (!size || size > 16384)
		return 0;
	text = span_skip(text, 1);
	arena_init(&a);
	switch (*data % 5) {
	case 0:
	case 1:
		as_server(text, &a, *data % 5 == 0);
		break;
	case 2:
		as_memcached(text, &a);
		break;
	case 3:
		as_key(text, &a);
		break;
	default:
		as_name(text, &a);
	}
	arena_release(&a);
	return 0;
}
