/* deliver.c - one request of qmgr: find the hosts, try them in turn, tell the result of every recipient.
 *
 * A host that cannot be talked to, and recipients that it refuses for now, are left to the next one, up to
 * the limits on addresses and sessions; then what is left is deferred. */
#include "client.h"
#include "log/log.h"
#include "smtp/dsn_filter.h"
#include "smtp/results.h"

#include <unistd.h>

/* The course of one request. */
struct course {
	struct delivery dl;
	struct span nexthop, key; /* one or more destinations; key: of idle sessions */
	struct why last;
	struct span last_diag;
	char relay[360]; /* of the log: the last host */
	char host[256];
	bool reached; /* a session was made with some server */
	bool kept;    /* a kept session was used: its host is not tried again */
	struct inet_addr kept_addr;
};

/* ---- results ---- */

void rcpt_result(struct delivery *dl, struct rcpt *r, enum deliver_status st, struct span dsn,
		 struct span reason, struct span diag)
{
	bool probe = (dl->d->flags & DELF_VERIFY) != 0;
	struct span host = dl->s != NULL ? span_dup(dl->a, span_str(dl->s->host)) : SPAN("");
	struct span relay = dl->s != NULL ? span_dup(dl->a, span_str(dl->s->relay)) : SPAN("none");
	char tls[40] = "";
	if (r->done)
		return;
	r->done = true;
	dl->open--;
	if (settings.log_tls_status && dl->s != NULL && dl->tls != NULL)
		snprintf(tls, sizeof tls, "%s", dl->tls);
	else if (settings.log_tls_status && dl->s != NULL)
		policy_status(dl->s, tls, sizeof tls);
	uint16_t status = (uint16_t)st;
	(void)dsn_filter(settings.status_filter, dl->a, &status, &dsn, &reason);
	bool soft = soft_bounce(service_conf(), probe, dl->a, &status, &dsn);
	*r->res = (struct deliver_result){
		.index = r->r->index,
		.status = status,
		.dsn = span_dup(dl->a, dsn),
		.reason = span_head(span_dup(dl->a, reason), 1000),
		.diag_type = diag.n > 0 ? SPAN("smtp") : SPAN(""),
		.diag_text = span_head(span_dup(dl->a, diag), 1000),
		.remote_mta = host,
		.relay = relay,
	};
	struct dlog l = { .qid = dl->env.qid,
			  .rcpt = r->r,
			  .times = dl->times,
			  .relay = relay,
			  .tls = tls[0] != '\0' ? tls : NULL,
			  .conn_use = dl->s != NULL ? dl->s->uses : 0,
			  .dsn = dsn,
			  .status =
			      soft ? SOFTBOUNCE_STATUS : dlog_status((enum deliver_status)status, probe),
			  .reason = reason };
	dlog_delivery(&l);
}

void rcpt_failed(struct delivery *dl, struct rcpt *r, const struct why *w, struct span diag)
{
	if (w->dsn[0] == '4' && !dl->final && dl->hold) {
		struct why *copy = arena_alloc(dl->a, sizeof *copy);
		*copy = *w;
		r->held = copy;
		r->held_diag = span_dup(dl->a, diag);
		return;
	}
	rcpt_result(dl, r, w->dsn[0] == '5' ? DS_BOUNCED : DS_DEFERRED, span_str(w->dsn), span_str(w->text),
		    diag);
}

void delivery_fail(struct delivery *dl, const struct why *w, struct span diag)
{
	if (w->dsn[0] == '4' && !dl->final && !dl->hold) {
		log_info(SPAN_FMT ": %s", SPAN_ARG(dl->env.qid), w->text);
		return;
	}
	for (size_t i = 0; i < dl->rcpts; i++)
		if (!dl->rcpt[i].done)
			rcpt_failed(dl, &dl->rcpt[i], w, diag);
}

/* No session is there: what the log says of the relay is "none", or the host that refused. */
static void fail_without_session(struct course *c)
{
	struct session shown;
	memset(&shown, 0, sizeof shown);
	snprintf(shown.relay, sizeof shown.relay, "%s", c->relay);
	snprintf(shown.host, sizeof shown.host, "%s", c->host);
	c->dl.final = true;
	c->dl.s = c->relay[0] != '\0' ? &shown : NULL;
	c->dl.tls = c->last.tls;
	delivery_fail(&c->dl, &c->last, c->last_diag);
	c->dl.s = NULL;
	c->dl.tls = NULL;
}

/* ---- one host ---- */

static void finish_session(struct course *c)
{
	struct session *s = c->dl.s;
	struct err e;
	bool keep = (c->dl.d->flags & DELF_CONN_REUSE) && settings.cache_on_demand;
	c->dl.s = NULL;
	notice_end(s);
	if (!keep && match_domain(settings.cache_destinations, span_str(s->site), &e) == RC_OK)
		keep = true;
	if (keep && c->key.n > 0 && !s->unusable)
		idle_put(&s, c->key);
	else
		session_quit(&s);
}

static void use_session(struct course *c, struct session *s)
{
	c->dl.s = s;
	s->qid = c->dl.env.qid;
	s->uses++;
	c->reached = true;
	c->dl.times.connected_us = wall_now().us;
}

static struct session *open_session(struct course *c, struct span site, const struct target *t)
{
	bool plain_retry, old = (wall_now().us - c->dl.env.arrival_us) / 1000000 >= settings.min_backoff_s;
	struct span refused;
	struct session *s = session_open(&c->dl, t, site, false, &c->last, &plain_retry, &refused);
	if (s == NULL && plain_retry &&
	    old) /* the first attempts insist on TLS, later ones prefer delivery (RFC 7435) */
		s = session_open(&c->dl, t, site, true, &c->last, &plain_retry, &refused);
	c->last_diag = refused;
	return s;
}

static void note_host(struct course *c, const struct target *t, bool connected)
{
	char addr[INET_TEXT_MAX] = "";
	if (t->path == NULL)
		inet_addr_text(&t->addr, addr);
	snprintf(c->host, sizeof c->host, SPAN_FMT, SPAN_ARG(t->host));
	if (!connected)
		c->relay[0] = '\0';
	else if (t->path != NULL)
		snprintf(c->relay, sizeof c->relay, "%s[%.80s]", c->host, t->path);
	else
		snprintf(c->relay, sizeof c->relay, "%s[%s]:%u", c->host, addr, t->port);
}

/* Where one session is made: `last`, when nothing comes after it. *sessions counts those that got as far as a
 * transaction. */
static void try_target(struct course *c, struct span site, const struct target *t, bool last_site,
		       bool last_host, int64_t *sessions)
{
	struct session *s = open_session(c, site, t);
	bool connected = s != NULL || !c->last.no_connection;
	note_host(c, t, connected);
	c->dl.times.connected_us = wall_now().us;
	if (s != NULL)
		++*sessions;
	c->dl.final =
	    last_site && (last_host || (settings.session_limit > 0 && *sessions >= settings.session_limit));
	if (s == NULL) {
		if (c->last.dsn[0] == '5')
			fail_without_session(c);
		else if (connected && !c->dl.final)
			log_info(SPAN_FMT ": %s", SPAN_ARG(c->dl.env.qid), c->last.text);
		return;
	}
	use_session(c, s);
	(void)!transfer(&c->dl);
	finish_session(c);
}

#define SEPARATORS ", \t\r\n" /* between destinations */

/* The first `limit` targets, but when they would be of one family, up to half the room goes to the other one, in
 * the same order: a family that does not work here must not use up all attempts. */
static size_t balanced(struct target *v, size_t n, size_t limit)
{
	size_t count[2] = { 0, 0 }, room[2], keep = 0;
	for (size_t i = 0; i < n; i++)
		count[v[i].addr.family == AF_INET6]++;
	for (int f = 0; f < 2; f++) {
		size_t others = count[!f] < limit / 2 ? count[!f] : limit / 2;
		room[f] = limit - others;
	}
	for (size_t i = 0; i < n && keep < limit; i++) {
		size_t *left = &room[v[i].addr.family == AF_INET6];
		if (*left == 0)
			continue;
		--*left;
		v[keep++] = v[i];
	}
	return keep;
}

static size_t limited(struct target *v, size_t n)
{
	size_t limit = settings.address_limit > 0 ? (size_t)settings.address_limit : n;
	if (n <= limit)
		return n;
	return settings.balance && limit > 1 ? balanced(v, n, limit) : limit;
}

/* Where mail for a site may be tried, without the host of a kept session. */
static enum rc find_targets(struct course *c, struct span site, struct target **v, size_t *n, bool *we_are_mx)
{
	enum rc rc = dest_find(site, c->dl.a, v, n, we_are_mx, &c->last);
	size_t keep = 0;
	if (rc != RC_OK)
		return rc;
	*n = limited(*v, *n);
	for (size_t i = 0; i < *n; i++)
		if (!c->kept || ((*v)[i].path == NULL && !inet_addr_eq(&(*v)[i].addr, &c->kept_addr)))
			(*v)[keep++] = (*v)[i];
	*n = keep;
	return RC_OK;
}

/* ---- kept sessions ---- */

static bool others_left(struct course *c)
{
	struct span rest = c->nexthop, site, next;
	struct target *v;
	size_t n;
	bool we_are_mx;
	if (!span_next_word(&rest, SEPARATORS, &site) || span_next_word(&rest, SEPARATORS, &next) ||
	    settings.fallback_relay[0] != '\0')
		return true;
	return find_targets(c, site, &v, &n, &we_are_mx) != RC_OK || n > 0;
}

/* What failed for now on a kept session: the other hosts get it, if there are any. */
static void settle_held(struct course *c)
{
	struct delivery *dl = &c->dl;
	const struct why *told = NULL;
	c->kept = true;
	c->kept_addr = dl->s->addr;
	bool others = others_left(c);
	dl->final = !others;
	dl->hold = false;
	for (size_t i = 0; i < dl->rcpts; i++) {
		struct rcpt *r = &dl->rcpt[i];
		if (r->done || r->held == NULL)
			continue;
		c->last = *r->held;
		c->last_diag = r->held_diag;
		if (!others)
			rcpt_failed(dl, r, r->held, r->held_diag);
		else if (told == NULL || strcmp(told->text, r->held->text) != 0)
			log_info(SPAN_FMT ": %s", SPAN_ARG(dl->env.qid), r->held->text);
		told = r->held;
	}
}

/* True: every recipient has a result. A connection that turned out to be dead costs nothing. */
static bool try_idle(struct course *c)
{
	struct session *s;
	while (c->key.n > 0 && c->dl.open > 0 && !c->kept && (s = idle_get(c->key)) != NULL) {
		use_session(c, s);
		c->dl.final = false;
		c->dl.hold = true;
		enum rc rc = transfer(&c->dl);
		c->dl.hold = false;
		if (rc != RC_AGAIN && c->dl.open > 0)
			settle_held(c);
		finish_session(c);
	}
	return c->dl.open == 0;
}

/* ---- all hosts ---- */

/* To qmgr(8): another transport's, not tried here. */
static void pass_on(struct course *c, struct span transport)
{
	for (size_t i = 0; i < c->dl.rcpts; i++) {
		struct rcpt *r = &c->dl.rcpt[i];

		if (r->done)
			continue;
		r->done = true;
		c->dl.open--;
		log_info(SPAN_FMT ": passing <" SPAN_FMT "> to transport=" SPAN_FMT, SPAN_ARG(c->dl.env.qid),
			 SPAN_ARG(r->addr), SPAN_ARG(transport));
		*r->res = (struct deliver_result){ .index = r->r->index,
						   .status = DS_SKIPPED,
						   .dsn = span_dup(c->dl.a, span_str(c->last.dsn)),
						   .reason = span_dup(c->dl.a, span_str(c->last.text)),
						   .relay = transport };
	}
}

/* False: no other site may be tried. Mail of a domain that this host is an MX of goes to a better one, and nowhere
 * else: anything else could send it in circles. */
static bool try_site(struct course *c, struct span site, bool last_site)
{
	struct target *v;
	size_t n;
	bool we_are_mx;
	int64_t sessions = 0;
	struct why before = c->last;
	struct span before_diag = c->last_diag;
	enum rc rc = find_targets(c, site, &v, &n, &we_are_mx);
	last_site = last_site || we_are_mx;
	c->last_diag = SPAN("");
	if (rc != RC_OK) {
		c->relay[0] = '\0';
		c->dl.times.connected_us = wall_now().us;
		if (rc == RC_NOTFOUND && c->last.best_mx_is_us &&
		    *conf_str(service_conf(), "best_mx_transport"))
			pass_on(c, span_str(conf_str(service_conf(), "best_mx_transport")));
		else if (rc == RC_NOTFOUND && last_site)
			fail_without_session(c);
		return !last_site;
	}
	if (n == 0) { /* there is only the host of the kept session */
		c->last = before;
		c->last_diag = before_diag;
	}
	for (size_t i = 0; i < n && c->dl.open > 0; i++) {
		try_target(c, site, &v[i], last_site, i + 1 == n, &sessions);
		if (settings.session_limit > 0 && sessions >= settings.session_limit)
			break;
	}
	return !last_site;
}

static void try_all(struct course *c)
{
	struct span rest =
	    span_printf(c->dl.a, SPAN_FMT ", %s", SPAN_ARG(c->nexthop), settings.fallback_relay);
	struct span site, next;
	bool more = span_next_word(&rest, SEPARATORS, &next), on = true;
	while (more && on && c->dl.open > 0) {
		site = next;
		more = span_next_word(&rest, SEPARATORS, &next);
		on = try_site(c, site, !more);
	}
	if (c->dl.open > 0) {
		if (c->last.dsn[0] == '\0')
			why_set(&c->last, "4.3.0", "no host could be tried");
		fail_without_session(c);
	}
}

/* ---- the request ---- */

/* Connections of one log-in are not used for another sender's mail. */
static struct span idle_key(const struct course *c)
{
	if (settings.auth_by_sender)
		return SPAN("");
	char *p = arena_cstr(c->dl.a, c->nexthop);
	for (size_t i = 0; i < c->nexthop.n; i++)
		p[i] = ascii_lower(p[i]);
	return span_make(p, c->nexthop.n);
}

static enum rc setup(struct course *c, const struct deliver *d, struct arena *a, struct err *e)
{
	struct delivery *dl = &c->dl;
	const struct deliver_rcpt *r = d->rcpts.v;
	dl->d = d;
	dl->a = a;
	enum rc rc = envelope_decode(d->envelope, a, &dl->env, e);
	if (rc != RC_OK)
		return rc;
	dl->rcpts = dl->open = d->rcpts.n;
	dl->rcpt = arena_array(a, d->rcpts.n + 1, sizeof *dl->rcpt);
	dl->results = arena_array(a, d->rcpts.n + 1, sizeof *dl->results);
	dl->times = (struct dlog_times){ .arrival_us = dl->env.arrival_us,
					 .active_us = d->active_us,
					 .handoff_us = wall_now().us };
	for (size_t i = 0; i < d->rcpts.n; i++) {
		dl->rcpt[i] = (struct rcpt){ .r = &r[i], .res = &dl->results[i] };
		if (rc == RC_OK)
			rc = generic_address(r[i].addr, a, &dl->rcpt[i].addr, e);
	}
	if (rc == RC_OK)
		rc = generic_address(dl->env.sender, a, &dl->sender, e);
	c->nexthop = d->nexthop;
	c->key = idle_key(c);
	return rc;
}

void deliver(struct ipc_call *call, const void *request)
{
	const struct deliver *d = request;
	struct deliver_reply reply = { 0 };
	struct course c = { .last = { .dsn = "" } };
	struct err e;
	enum rc rc = setup(&c, d, ipc_call_arena(call), &e);
	if (rc == RC_OK) {
		if (!try_idle(&c))
			try_all(&c);
	} else if (c.dl.rcpt != NULL) {
		log_warning("%s", e.text);
		why_set(&c.last, "4.3.0", "local data error");
		fail_without_session(&c);
	}
	reply.results = (struct ipc_list){ c.dl.results, c.dl.results != NULL ? c.dl.rcpts : 0 };
	reply.destination_dead = rc == RC_OK && !c.reached && c.last.dsn[0] == '4';
	if (reply.destination_dead) {
		reply.dead_dsn = span_str(c.last.dsn);
		reply.dead_reason = span_str(c.last.text);
	}
	int fd = d->fd; /* the request is gone after the reply */
	results_reply(call, &reply);
	if (fd >= 0)
		close(fd);
}
