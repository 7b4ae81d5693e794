/* anvil.c - anvil(8): counts connections and rates of each client of each service, over all server processes.
 * What it knows is in memory only: when it ends, everybody starts from nothing, which harms nobody.
 *
 * A connection is counted for the server process that told of it: when that process dies, its connections are
 * gone. */
#include "base/clock.h"
#include "base/table.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "service/service.h"
#include <time.h>

#define KINDS	    7 /* above those of anvil_event.kind that are counted */
#define CONNECT	    1
#define DISCONNECT  2
#define NEWTLS	    5
#define NEWTLS_SEEN 7	   /* the rate of NEWTLS so far: asking counts nothing */
#define CLIENTS_MAX 200000 /* a flood of addresses ends in "not counted", not in a full memory */
#define SWEEP_S	    60

struct client {
	uint32_t count;
	uint32_t events[KINDS];
	mono_t since[KINDS]; /* start of the present time unit */
	mono_t used;
};
struct server {
	struct table *open; /* key -> connections of this process, as a number in the pointer */
};
static struct table *clients;
static int64_t unit_ms;

/* ---- clients ---- */

static void forget_idle(void)
{
	size_t pos = 0, n = 0;
	struct span key, *old = xcalloc(table_count(clients) + 1, sizeof(*old));
	void *v;
	struct arena a;

	arena_init(&a);
	while (table_next(clients, &pos, &key, &v)) {
		const struct client *c = v;

		if (c->count == 0 && mono_diff_ms(loop_now(), c->used) > unit_ms)
			old[n++] = span_dup(&a, key);
	}
	for (size_t i = 0; i < n; i++)
		free(table_del(clients, old[i]));
	arena_release(&a);
	free(old);
}

static struct client *client_of(struct span key)
{
	struct client *c = table_get(clients, key);

	if (c == NULL && table_count(clients) < CLIENTS_MAX) {
		c = xcalloc(1, sizeof(*c));
		table_set(clients, key, c);
	}
	if (c != NULL)
		c->used = loop_now();
	return c;
}

static uint32_t count_event(struct client *c, unsigned kind)
{
	if (c->events[kind] == 0 || mono_diff_ms(loop_now(), c->since[kind]) >= unit_ms) {
		c->events[kind] = 0;
		c->since[kind] = loop_now();
	}
	if (c->events[kind] < UINT32_MAX)
		c->events[kind]++;
	return c->events[kind];
}

static uint32_t rate_of(const struct client *c, unsigned kind)
{
	return mono_diff_ms(loop_now(), c->since[kind]) < unit_ms ? c->events[kind] : 0;
}

/* ---- the servers that ask ---- */

static struct table *servers; /* channel, as bytes of its address -> struct server */

static struct span chan_key(struct ipc_chan **c)
{
	return span_make((const char *)c, sizeof(*c));
}

static struct table *open_of(struct ipc_chan *chan)
{
	struct server *s = table_get(servers, chan_key(&chan));

	if (s == NULL) {
		s = xcalloc(1, sizeof(*s));
		s->open = table_new();
		table_set(servers, chan_key(&chan), s);
	}
	return s->open;
}

static void change(struct table *t, struct span key, int by)
{
	intptr_t n = (intptr_t)table_get(t, key) + by;

	if (n > 0)
		table_set(t, key, (void *)n);
	else
		(void)table_del(t, key);
}

static void server_gone(struct ipc_chan *chan)
{
	struct server *s = table_del(servers, chan_key(&chan));
	struct span key;
	size_t pos = 0;
	void *n;

	while (s != NULL && table_next(s->open, &pos, &key, &n)) {
		struct client *c = table_get(clients, key);
		uint32_t open = (uint32_t)(intptr_t)n;

		if (c != NULL)
			c->count -= c->count < open ? c->count : open;
	}
	if (s != NULL)
		table_free(&s->open, NULL);
	free(s);
}

/* ---- what the log is told from time to time (anvil_status_update_time) ---- */

/* The greatest figures since the last report. Lines and words are those of Postfix: log readers know them. */
static const char *const rate_words[KINDS] = {
	[CONNECT] = "connection", [3] = "message", [4] = "recipient", [NEWTLS] = "newtls", [6] = "auth",
};
struct maximum {
	uint32_t value;
	char who[300]; /* "smtp:192.0.2.1" */
	wall_t at;
};
static struct maximum max_rate[KINDS], max_count;
static size_t max_cache;
static wall_t max_cache_at;
static struct timer status_timer;

static void see(struct maximum *m, uint32_t value, const struct anvil_event *q)
{
	if (value <= m->value)
		return;
	m->value = value;
	m->at = wall_now();
	(void)snprintf(m->who, sizeof(m->who), SPAN_FMT ":" SPAN_FMT, SPAN_ARG(span_head(q->service, 200)),
		       SPAN_ARG(span_head(q->client, 90)));
}

/* "Nov 28 17:30:39" */
static const char *stamp(wall_t at, char out[32])
{
	time_t t = (time_t)wall_s(at);
	struct tm tm;

	(void)localtime_r(&t, &tm);
	(void)strftime(out, 32, "%b %e %H:%M:%S", &tm);
	return out;
}

static void report_maxima(void)
{
	char at[32];

	for (size_t i = 0; i < KINDS; i++)
		if (max_rate[i].value > 0)
			log_info("statistics: max %s rate %u/%llds for (%s) at %s", rate_words[i],
				 max_rate[i].value, (long long)(unit_ms / 1000), max_rate[i].who,
				 stamp(max_rate[i].at, at));
	if (max_count.value > 0)
		log_info("statistics: max connection count %u for (%s) at %s", max_count.value, max_count.who,
			 stamp(max_count.at, at));
	if (max_cache > 0)
		log_info("statistics: max cache size %zu at %s", max_cache, stamp(max_cache_at, at));
	memset(max_rate, 0, sizeof(max_rate));
	memset(&max_count, 0, sizeof(max_count));
	max_cache = 0;
}

static void status(void *arg)
{
	(void)arg;
	report_maxima();
	timer_set(&status_timer, deadline_s(conf_int(service_conf(), "anvil_status_update_time")));
}

static void note(const struct anvil_event *q, const struct anvil_reply *r)
{
	if (rate_words[q->kind] != NULL)
		see(&max_rate[q->kind], r->rate, q);
	see(&max_count, r->count, q);
	if (table_count(clients) > max_cache) {
		max_cache = table_count(clients);
		max_cache_at = wall_now();
	}
}

/* ---- the question ---- */

static void connection(struct ipc_call *call, struct client *c, struct span key, bool opens)
{
	struct table *open = open_of(ipc_call_chan(call));

	if (!opens && table_get(open, key) == NULL)
		return; /* it never told of this one */
	change(open, key, opens ? 1 : -1);
	if (opens)
		c->count++;
	else if (c->count > 0)
		c->count--;
}

static void answer(struct ipc_call *call, const void *request)
{
	const struct anvil_event *q = request;
	struct span key = span_printf(ipc_call_arena(call), SPAN_FMT " " SPAN_FMT, SPAN_ARG(q->service),
				      SPAN_ARG(q->client));
	struct anvil_reply r = { 0 };
	struct client *c = client_of(key);

	if (c != NULL && q->kind > 0 && q->kind < KINDS) {
		if (q->kind == CONNECT || q->kind == DISCONNECT)
			connection(call, c, key, q->kind == CONNECT);
		if (q->kind != DISCONNECT)
			r.rate = count_event(c, q->kind);
		r.count = c->count;
		note(q, &r);
	} else if (c != NULL && q->kind == NEWTLS_SEEN) {
		r.rate = rate_of(c, NEWTLS);
		r.count = c->count;
	}
	ipc_reply(call, &r);
}

static struct timer sweep_timer;

static void sweep(void *arg)
{
	(void)arg;
	forget_idle();
	timer_set(&sweep_timer, deadline_s(SWEEP_S));
}

static void start(void)
{
	clients = table_new();
	servers = table_new();
	unit_ms = conf_int(service_conf(), "anvil_rate_time_unit") * 1000;
	timer_init(&sweep_timer, sweep, NULL);
	sweep(NULL);
	timer_init(&status_timer, status, NULL);
	if (conf_int(service_conf(), "anvil_status_update_time") > 0)
		status(NULL);
}

static const struct ipc_handler handlers[] = { { IPC_ANVIL, "smtpd lmtpd pop3d imapd", answer },
					       { 0, NULL, NULL } };

static const struct service anvil = {
	.name = "anvil",
	.kind = SV_IPC,
	.user = "aux_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.start = start,
	.handlers = handlers,
	.gone = server_gone,
	.drain = report_maxima,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &anvil);
}
