/* map/dbpool.c - connections to database servers. The loop's thread hands out slots; a slot and its connection
 * belong to one look-up until it comes back. Only the state of the servers is shared between threads. */
#include "map/dbpool.h"
#include "base/codec.h"
#include "base/list.h"
#include "log/log.h"
#include "task/task.h"
#include <pthread.h>

#define HOSTS_MAX	   64
#define SLOW_FAILURE_MS	   1000 /* the only server: a failure that took longer is not repeated at once */
#define INTERVAL_S	   60	/* types without a parameter for it */
#define IDLE_LOOK_EVERY_MS 1000

struct host {
	const char *name;
	bool first;
	bool down;
	mono_t until; /* down: not before */
	char story[300];
};

struct slot {
	void *conn;
	size_t host;
	bool busy, forever;
	mono_t used;
	char note[512]; /* a failure on the way to success: for the log */
};

struct dbpool {
	struct list link;
	const struct db_client *client;
	struct dbconf *conf;
	char *identity;
	unsigned users;
	struct host host[HOSTS_MAX];
	size_t hosts;
	pthread_mutex_t lock; /* of host[].down, until, story */
	struct slot slot[DB_CONNECTIONS_MAX];
	unsigned slots;
	struct waitq freed;
	struct timer idle;
	bool watching; /* idle is set */
};

static struct list pools;
static bool pools_ready;

static int64_t interval_ms(const struct dbpool *p, enum db_param which)
{
	int64_t s = p->conf->number[which];
	return (s ? s : INTERVAL_S) * 1000;
}

/* ---- servers ---- */
static void host_failed(struct dbpool *p, size_t h, int64_t took_ms, const char *story)
{
	int64_t wait_ms = interval_ms(p, DBP_RETRY_INTERVAL);

	pthread_mutex_lock(&p->lock);
	p->host[h].down = p->hosts > 1 || took_ms >= SLOW_FAILURE_MS;
	p->host[h].until = mono_after(mono_now(), wait_ms);
	snprintf(p->host[h].story, sizeof p->host[h].story, "%.299s", story);
	pthread_mutex_unlock(&p->lock);
}

static void host_works(struct dbpool *p, size_t h)
{
	pthread_mutex_lock(&p->lock);
	p->host[h].down = false;
	pthread_mutex_unlock(&p->lock);
}

/* The servers that may be tried now, in the order to do so: `first` ones before the others, each by chance. */
static size_t candidates(struct dbpool *p, size_t out[HOSTS_MAX])
{
	mono_t now = mono_now();
	size_t n = 0, firsts = 0;

	pthread_mutex_lock(&p->lock);
	for (int pass = 1; pass >= 0; pass--) {
		for (size_t i = 0; i < p->hosts; i++)
			if (p->host[i].first == (bool)pass &&
			    (!p->host[i].down || mono_diff_ms(now, p->host[i].until) >= 0))
				out[n++] = i;
		for (size_t i = pass ? 0 : firsts; i < n; i++) {
			uint32_t chance;
			random_bytes(&chance, sizeof chance);
			size_t k = i + chance % (n - i), other = out[k];
			out[k] = out[i];
			out[i] = other;
		}
		firsts = n;
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}

static enum rc all_down(struct dbpool *p, struct err *e)
{
	enum rc rc;

	pthread_mutex_lock(&p->lock);
	rc = err_set(e, RC_AGAIN, "no %s server to ask for now; last failure: %s", p->client->what,
		     p->host[0].story);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

/* ---- one look-up, on a helper thread ---- */
struct run {
	struct dbpool *p;
	struct slot *s;
	void *job;
	mono_t end;
	struct err e;
	enum rc rc;
};

static int seconds_left(const struct run *r, int most)
{
	int64_t s = mono_diff_ms(r->end, mono_now()) / 1000;
	return s < 1 ? 1 : s > most ? most : (int)s;
}

static void hang_up(struct dbpool *p, struct slot *s)
{
	if (s->conn)
		p->client->disconnect(s->conn);
	s->conn = NULL;
}

static enum rc connect_host(struct run *r, size_t h)
{
	mono_t begin = mono_now();
	struct err e = { .rc = RC_AGAIN };

	hang_up(r->p, r->s);
	r->s->host = h;
	r->s->forever = false;
	r->s->conn = r->p->client->connect(r->p->conf, r->p->host[h].name, seconds_left(r, DB_CONNECT_S), &e);
	if (r->s->conn) {
		host_works(r->p, h);
		return RC_OK;
	}
	(void)err_set(&r->e, RC_AGAIN, "connect to %s server %s: %.300s", r->p->client->what,
		      r->p->host[h].name, e.text);
	snprintf(r->s->note, sizeof r->s->note, "%s", r->e.text);
	host_failed(r->p, h, mono_diff_ms(mono_now(), begin), r->e.text);
	return RC_AGAIN;
}

/* Asks over the connection that is there. */
static enum rc ask_slot(struct run *r)
{
	mono_t begin = mono_now();
	struct err e = { .rc = RC_AGAIN };
	enum rc rc = r->p->client->run(r->s->conn, r->job, seconds_left(r, DB_QUERY_S), &e);

	if (rc == RC_OK || rc == RC_NOTFOUND)
		return rc;
	if (rc != RC_LIMIT && rc != RC_DENIED)
		hang_up(r->p, r->s); /* nobody knows what state it is in */
	(void)err_set(&r->e, rc == RC_LIMIT ? RC_LIMIT : RC_AGAIN, "%s server %s: %.300s", r->p->client->what,
		      r->p->host[r->s->host].name, e.text);
	snprintf(r->s->note, sizeof r->s->note, "%s", r->e.text);
	if (rc == RC_TIMEOUT)
		host_failed(r->p, r->s->host, mono_diff_ms(mono_now(), begin), r->e.text);
	return rc;
}

static bool final(enum rc rc)
{
	return rc == RC_OK || rc == RC_NOTFOUND || rc == RC_LIMIT;
}

static enum rc ask_host(struct run *r, size_t h)
{
	enum rc rc = connect_host(r, h);

	if (rc != RC_OK)
		return rc;
	rc = ask_slot(r);
	if (rc == RC_EOF)
		host_failed(r->p, h, 0, r->e.text);
	return rc;
}

static enum rc ask_all(struct run *r)
{
	size_t order[HOSTS_MAX], n = candidates(r->p, order);
	enum rc rc = RC_AGAIN;

	if (!n)
		return all_down(r->p, &r->e);
	for (size_t i = 0; i < n && !final(rc); i++) {
		if (i > 0 && mono_diff_ms(r->end, mono_now()) <= 0)
			break;
		rc = ask_host(r, order[i]);
	}
	return rc;
}

static void run_now(void *arg)
{
	struct run *r = arg;

	r->rc = RC_EOF;
	r->s->note[0] = 0;
	if (r->s->conn) {
		r->rc = ask_slot(r);
		if (r->rc == RC_EOF) /* it broke since its last use: the same server first */
			r->rc = ask_host(r, r->s->host);
	}
	if (!final(r->rc) && !(r->rc == RC_DENIED && r->p->hosts == 1))
		r->rc = ask_all(r);
}

/* ---- slots, on the loop's thread ---- */
static void close_idle(void *arg)
{
	struct dbpool *p = arg;
	bool more = false;

	for (unsigned i = 0; i < p->slots; i++) {
		struct slot *s = &p->slot[i];
		if (s->busy || !s->conn || s->forever)
			continue;
		if (mono_diff_ms(mono_now(), s->used) >= interval_ms(p, DBP_IDLE_INTERVAL))
			hang_up(p, s);
		else
			more = true;
	}
	p->watching = more;
	if (more)
		timer_set(&p->idle, deadline_ms(IDLE_LOOK_EVERY_MS));
}

/* One with a connection before one without. */
static struct slot *free_slot(struct dbpool *p)
{
	struct slot *found = NULL;

	for (unsigned i = 0; i < p->slots; i++)
		if (!p->slot[i].busy && (!found || (!found->conn && p->slot[i].conn)))
			found = &p->slot[i];
	return found;
}

static struct slot *take_slot(struct dbpool *p, deadline_t end)
{
	struct slot *s;

	while (!(s = free_slot(p)))
		if (!task_self() || waitq_wait(&p->freed, end) != RC_OK)
			return NULL;
	s->busy = true;
	return s;
}

static void give_back(struct dbpool *p, struct slot *s)
{
	s->busy = false;
	s->used = mono_now();
	waitq_wake_one(&p->freed);
	if (!s->conn || s->forever || p->watching || !task_self())
		return;
	p->watching = true;
	timer_set(&p->idle, deadline_ms(IDLE_LOOK_EVERY_MS));
}

enum rc dbpool_run(struct dbpool *p, void *job, struct err *e)
{
	struct run r = { .p = p, .job = job, .end = mono_after(mono_now(), DB_TOTAL_S * 1000) };

	r.s = take_slot(p, deadline_s(DB_TOTAL_S));
	if (!r.s)
		return err_set(e, RC_AGAIN, "all %u connections to %s are in use", p->slots, p->client->what);
	task_offload(run_now, &r);
	give_back(p, r.s);
	if (r.s->note[0] && (r.rc == RC_OK || r.rc == RC_NOTFOUND))
		log_warning("%s: %s", p->conf->source, r.s->note);
	if (r.rc == RC_OK || r.rc == RC_NOTFOUND)
		return r.rc;
	return err_set(e, r.rc == RC_LIMIT ? RC_LIMIT : RC_AGAIN, "%s", r.e.text);
}

/* ---- pools ---- */
static struct dbpool *find_pool(const struct db_client *client, const char *identity)
{
	if (!pools_ready)
		list_init(&pools);
	pools_ready = true;
	LIST_EACH(it, &pools)
	{
		struct dbpool *p = LIST_ENTRY(it, struct dbpool, link);
		if (p->client == client && span_is(span_str(p->identity), identity))
			return p;
	}
	return NULL;
}

static enum rc add_hosts(struct dbpool *p, struct span hosts, bool (*first)(const char *host), struct err *e)
{
	struct span word;

	while (span_next_word(&hosts, ", \t\r\n", &word)) {
		struct host *h = &p->host[p->hosts];
		if (p->hosts == HOSTS_MAX)
			return dbconf_bad(p->conf, DBP_HOSTS, e, "more than %d servers", HOSTS_MAX);
		h->name = arena_cstr(&p->conf->arena, word);
		h->first = first && first(h->name);
		p->hosts++;
	}
	return p->hosts ? RC_OK : dbconf_bad(p->conf, DBP_HOSTS, e, "names no server");
}

enum rc dbpool_open(const struct db_client *client, struct dbconf *c, struct span hosts,
		    bool (*first)(const char *host), unsigned connections_max, struct dbpool **out,
		    struct err *e)
{
	const char *identity = dbconf_identity(c, &c->arena);
	struct dbpool *p = find_pool(client, identity);

	if (p) {
		p->users++;
		*out = p;
		return RC_OK;
	}
	*out = p = xcalloc(1, sizeof *p);
	p->client = client;
	p->users = 1;
	p->conf = dbconf_keep(c);
	p->identity = xstrdup(identity);
	p->slots = connections_max < DB_CONNECTIONS_MAX ? connections_max : DB_CONNECTIONS_MAX;
	pthread_mutex_init(&p->lock, NULL);
	waitq_init(&p->freed);
	timer_init(&p->idle, close_idle, p);
	list_add_tail(&pools, &p->link);
	enum rc rc = add_hosts(p, hosts, first, e);
	if (rc != RC_OK)
		dbpool_close(out);
	return rc;
}

enum rc dbpool_lookup(struct dbpool *p, void *job, struct db_answer *answer, const char *table,
		      struct arena *a, struct span *value, struct err *e)
{
	enum rc rc = db_query_wants(answer->q, answer->key, e);

	if (rc != RC_OK)
		return rc;
	buf_init(&answer->text, DB_RESULT_MAX);
	rc = dbpool_run(p, job, e);
	if (rc == RC_OK)
		*value = span_dup(a, buf_span(&answer->text));
	if (answer->empty)
		log_warning("table \"%s\": empty lookup result for: \"" SPAN_FMT "\" -- ignored", table,
			    SPAN_ARG(answer->key));
	buf_release(&answer->text);
	return rc;
}

void dbpool_seed(struct dbpool *p, void *conn)
{
	if (p->slot[0].conn || p->slot[0].busy) {
		p->client->disconnect(conn);
		return;
	}
	p->slot[0].conn = conn;
	p->slot[0].forever = true;
}

void dbpool_close(struct dbpool **out)
{
	struct dbpool *p = *out;

	*out = NULL;
	if (!p || --p->users > 0)
		return;
	timer_cancel(&p->idle);
	for (unsigned i = 0; i < p->slots; i++)
		hang_up(p, &p->slot[i]);
	list_del(&p->link);
	pthread_mutex_destroy(&p->lock);
	dbconf_drop(&p->conf);
	free(p->identity);
	free(p);
}
