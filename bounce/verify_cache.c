/* bounce/verify_cache.c - the table behind verify(8). */
#include "verify_cache.h"
#include "base/clock.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "map/map.h"
#include "service/service.h"

#define ASK_S	     10
#define WARN_EVERY_S 60
#define LAST_CLEANED "_LAST_CACHE_CLEANUP_COMPLETED_"

static struct span table; /* without "proxy:"; "" none */
static int64_t interval_s;

static const struct {
	uint16_t status;
	char code;
} codes[] = { { DELIVERABLE, '0' }, { TROUBLE, '1' }, { UNDELIVERABLE, '2' } };

void verify_cache_prepare(void)
{
	table = span_str(conf_str(service_conf(), "address_verify_map"));
	while (span_starts(table, SPAN("proxy:")))
		table = span_skip(table, 6);
	interval_s = conf_int(service_conf(), "address_verify_cache_cleanup_interval");
}

bool verify_cache_used(void)
{
	return table.n > 0;
}

/* Not more than one line a minute, however many addresses are asked about. */
static void complain(const char *what)
{
	static int64_t last;
	int64_t now = wall_s(wall_now());

	if (last != 0 && now - last < WARN_EVERY_S)
		return;
	last = now;
	log_warning("address_verify_map " SPAN_FMT ": %s; results are kept in memory only", SPAN_ARG(table),
		    what);
}

static enum rc ask(uint16_t type, const void *q, void *r, struct arena *a)
{
	struct err e;
	enum rc rc = service_request(conf_str(service_conf(), "proxywrite_service_name"), true, type, q, r, a,
				     deadline_s(ASK_S), &e);

	if (rc != RC_OK)
		complain(e.text);
	return rc;
}

static bool answered(const struct map_lookup_reply *r, struct arena *a)
{
	if (r->status == MAP_REFUSED)
		complain("not listed in proxy_write_maps");
	else if (r->status == MAP_RETRY)
		complain(arena_printf(a, SPAN_FMT, SPAN_ARG(r->value)));
	return r->status == MAP_FOUND;
}

static bool number(struct span *rest, int64_t *out)
{
	ptrdiff_t colon = span_chr(*rest, ':');

	*out = 0;
	if (colon < 1 || colon > 18)
		return false;
	for (ptrdiff_t i = 0; i < colon; i++) {
		if (!ascii_isdigit(rest->p[i]))
			return false;
		*out = 10 * *out + (rest->p[i] - '0');
	}
	*rest = span_skip(*rest, (size_t)colon + 1);
	return true;
}

bool verify_cache_parse(struct span value, struct known *out)
{
	int64_t probed;

	*out = (struct known){ .status = UNKNOWN };
	if (value.n < 2 || value.p[1] != ':')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].code == value.p[0])
			out->status = codes[i].status;
	value = span_skip(value, 2);
	if (out->status == UNKNOWN || !number(&value, &probed) || !number(&value, &out->updated))
		return false;
	out->text = value;
	return true;
}

static bool lookup(struct span key, struct arena *a, struct span *value)
{
	struct map_lookup q = { .table = table, .key = key, .flags = MAP_FOLD_KEY };
	struct map_lookup_reply r;

	if (table.n == 0 || ask(IPC_MAP_LOOKUP, &q, &r, a) != RC_OK || !answered(&r, a))
		return false;
	*value = r.value;
	return true;
}

bool verify_cache_get(struct span addr, struct arena *a, struct known *out)
{
	struct span value;

	return lookup(addr, a, &value) && verify_cache_parse(value, out);
}

static bool update(struct span key, struct span value, bool del, struct arena *a)
{
	struct map_update q = { .table = table, .key = key, .value = value, .del = del };
	struct map_lookup_reply r;

	return table.n > 0 && ask(IPC_MAP_UPDATE, &q, &r, a) == RC_OK && answered(&r, a);
}

static struct span entry_text(const struct known *k, struct arena *a)
{
	char code = '2';

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].status == k->status)
			code = codes[i].code;
	return span_printf(a, "%c:0:%lld:" SPAN_FMT, code, (long long)k->updated, SPAN_ARG(k->text));
}

void verify_cache_put(struct span addr, const struct known *k, struct arena *a)
{
	(void)update(addr, entry_text(k, a), false, a);
}

void verify_cache_forget(struct span addr, struct arena *a)
{
	(void)update(addr, SPAN_NONE, true, a);
}

/* ---- what is too old ---- */
static void clean_once(bool (*dead)(const struct known *k, int64_t now))
{
	struct map_walk q = { .table = table };
	size_t kept = 0, dropped = 0;

	for (bool more = true; more && !service_draining();) {
		struct map_walk_reply r;
		struct arena a;

		arena_init(&a);
		more = ask(IPC_MAP_WALK, &q, &r, &a) == RC_OK && r.pairs.n > 0;
		for (size_t i = 0; more && i < r.pairs.n; i++) {
			const struct map_pair *p = (const struct map_pair *)r.pairs.v + i;
			struct known k;

			if (!verify_cache_parse(p->value, &k) || !dead(&k, wall_s(wall_now()))) {
				kept++;
				q.skip++;
			} else {
				dropped++;
				verify_cache_forget(p->key, &a);
			}
		}
		arena_release(&a);
	}
	log_info("cache " SPAN_FMT " cleanup: retained=%zu dropped=%zu entries", SPAN_ARG(table), kept,
		 dropped);
}

void verify_cache_clean(bool (*dead)(const struct known *k, int64_t now))
{
	while (table.n > 0 && interval_s > 0 && !service_draining()) {
		int64_t now = wall_s(wall_now()), last = 0;
		struct span value;
		struct arena a;

		arena_init(&a);
		if (lookup(SPAN(LAST_CLEANED), &a, &value)) {
			value = span_printf(&a, SPAN_FMT ":", SPAN_ARG(value));
			(void)number(&value, &last);
		}
		if (now - last >= interval_s || last > now) {
			clean_once(dead);
			(void)update(SPAN(LAST_CLEANED), span_printf(&a, "%lld", (long long)now), false, &a);
			last = now;
		}
		arena_release(&a);
		task_sleep_ms(1000 * (last + interval_s - now > 0 ? last + interval_s - now : 1));
	}
}
