/* qmgr/dest.c - transports and destinations: who may be sent to now, and how many at a time (QSHAPE_README,
 * SCHEDULER_README's terms: initial_destination_concurrency, destination_concurrency_limit, positive and
 * negative feedback, failed cohort limit).
 *
 * A destination holds jobs, one per message; deliveries are taken from the jobs in turn, so that a long list
 * of recipients does not hold up the single message behind it. Destinations of a transport are served in
 * turn, too. */
#include "qmgr.h"
#include "log/log.h"
#include "service/service.h"
#include "window.h"
#include "mime/address.h"

struct carrier {
	struct list link;
	struct list ready; /* destinations with jobs, served round robin */
	char name[128];
	size_t busy, process_limit;
	struct window_rules rules;
	int64_t recipient_limit, rate_delay_s;
	int64_t own_delay_s; /* default_transport_rate_delay: one delivery at a time, with pauses */
	mono_t not_before;   /* ... and the end of this one */
	struct timer again;
	mono_t suspended_until;
	struct table *dests; /* name -> struct dest */
};
struct dest {
	struct list link; /* in transport->ready while it has jobs */
	struct carrier *t;
	char *name; /* in t->dests */
	char *nexthop;
	struct list jobs;
	size_t busy;
	struct window window;
	mono_t dead_until, not_before, remember_until; /* failures count together for minimal_backoff_time */
	char dead_dsn[16], dead_reason[512];
	struct timer again;
};
static struct list transports = { &transports, &transports };
static void kick_transport(struct carrier *t);

static void feedback_read(const char *transport, const char *suffix, const char *fallback,
			  struct feedback *out)
{
	const char *s = conf_transport_str(service_conf(), transport, suffix, fallback);

	if (!feedback_parse(span_str(s), out))
		log_warning("%s%s: bad feedback \"%s\", using 1", transport, suffix, s);
}

static void rules_read(struct carrier *t)
{
	const struct conf *c = service_conf();

	t->rules.limit = conf_transport_int(c, t->name, "_destination_concurrency_limit",
					    "default_destination_concurrency_limit");
	t->rules.initial = conf_transport_int(c, t->name, "_initial_destination_concurrency",
					      "initial_destination_concurrency");
	t->rules.cohorts = conf_transport_int(c, t->name, "_destination_concurrency_failed_cohort_limit",
					      "default_destination_concurrency_failed_cohort_limit");
	feedback_read(t->name, "_destination_concurrency_positive_feedback",
		      "default_destination_concurrency_positive_feedback", &t->rules.positive);
	feedback_read(t->name, "_destination_concurrency_negative_feedback",
		      "default_destination_concurrency_negative_feedback", &t->rules.negative);
}

static void kick_carrier(void *arg)
{
	kick_transport(arg);
}

static struct carrier *transport_get(struct span name)
{
	const struct conf *c = service_conf();
	struct carrier *t;

	LIST_EACH(it, &transports)
	{
		t = LIST_ENTRY(it, struct carrier, link);
		if (span_is(name, t->name))
			return t;
	}
	t = xcalloc(1, sizeof(*t));
	if (span_cstr(span_head(name, sizeof(t->name) - 1), t->name, sizeof(t->name)) != RC_OK)
		snprintf(t->name, sizeof(t->name), "%s", conf_str(c, "error_service_name"));
	rules_read(t);
	t->recipient_limit = conf_transport_int(c, t->name, "_destination_recipient_limit",
						"default_destination_recipient_limit");
	t->rate_delay_s =
	    conf_transport_int(c, t->name, "_destination_rate_delay", "default_destination_rate_delay");
	t->own_delay_s =
	    conf_transport_int(c, t->name, "_transport_rate_delay", "default_transport_rate_delay");
	timer_init(&t->again, kick_carrier, t);
	t->process_limit = (size_t)conf_int(c, "default_process_limit");
	t->dests = table_new();
	list_init(&t->ready);
	list_add_tail(&transports, &t->link);
	return t;
}

static void kick_dest(struct dest *d);

static void again(void *arg)
{
	struct dest *d = arg;
	mono_t until = mono_diff_ms(d->dead_until, d->remember_until) > 0 ? d->dead_until : d->remember_until;

	if (mono_diff_ms(until, loop_now()) > 0) /* it was a shorter pause that ended */
		timer_set(&d->again, (deadline_t){ mono_after(until, 1) });
	kick_dest(d);
}

static char *text_of(struct span s)
{
	char *out = xcalloc(1, s.n + 1);

	if (s.n > 0)
		memcpy(out, s.p, s.n);
	return out;
}

static struct dest *dest_get(struct carrier *t, struct span name, struct span nexthop)
{
	struct dest *d = table_get(t->dests, name);

	if (d)
		return d;
	d = xcalloc(1, sizeof(*d));
	d->t = t;
	d->name = text_of(name);
	d->nexthop = text_of(nexthop);
	list_init(&d->jobs);
	list_init(&d->link);
	window_init(&d->window, &t->rules);
	d->dead_until.ms = d->not_before.ms = 0;
	timer_init(&d->again, again, d);
	table_set(t->dests, name, d);
	return d;
}

/* Where a transport takes one recipient at a time, limits and pauses are those of the recipient (without its extension), not of the
 * next hop: local_destination_concurrency_limit is of a mailbox. The error agents have no such destinations. */
static struct span dest_name(const struct carrier *t, struct span rcpt, struct span nexthop, struct arena *a)
{
	const struct conf *c = service_conf();
	struct span local = address_split(rcpt).local, user, ext;

	if (t->recipient_limit != 1 || span_is(span_str(t->name), conf_str(c, "error_service_name")) ||
	    span_is(span_str(t->name), "retry"))
		return nexthop;
	if (address_split_extension(local, conf_str(c, "recipient_delimiter"), &user, &ext))
		local = user;
	return span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(local), SPAN_ARG(nexthop));
}

/* A destination with nothing to do and nothing to remember is forgotten. */
static void dest_idle(struct dest *d)
{
	mono_t now = loop_now();

	if (d->busy || !list_empty(&d->jobs) || mono_diff_ms(d->dead_until, now) > 0 ||
	    mono_diff_ms(d->not_before, now) > 0 || mono_diff_ms(d->remember_until, now) > 0)
		return;
	timer_cancel(&d->again);
	table_del(d->t->dests, span_str(d->name));
	list_del(&d->link);
	free(d->name);
	free(d->nexthop);
	free(d);
}

static void job_free(struct job *j)
{
	list_del(&j->link);
	free(j->rcpt);
	free(j);
}

static struct job *job_of(struct dest *d, struct message *m)
{
	struct job *j;

	if (!list_empty(&d->jobs)) { /* recipients of one message come in a row */
		j = LIST_ENTRY(d->jobs.prev, struct job, link);
		if (j->m == m)
			return j;
	}
	j = xcalloc(1, sizeof(*j));
	j->m = m;
	list_add_tail(&d->jobs, &j->link);
	return j;
}

static bool dest_dead(const struct dest *d)
{
	return mono_diff_ms(d->dead_until, loop_now()) > 0;
}

static bool suspended(const struct carrier *t)
{
	return mono_diff_ms(t->suspended_until, loop_now()) > 0;
}

static void defer_untried(struct message *m, uint32_t rcpt, const char *dsn, const char *reason)
{
	struct qstatus why = {
		.index = rcpt, .status = DS_DEFERRED, .dsn = span_str(dsn), .reason = span_str(reason)
	};

	message_log_result(m, rcpt, &why, NULL);
	message_settle(m, rcpt, RUN_DEFERRED, &why);
}

/* Why nothing is tried now: there is nobody to do it, or it failed just before. */
static void defer_dead(const struct dest *d, struct message *m, uint32_t rcpt)
{
	char reason[600];

	if (suspended(d->t)) {
		defer_untried(m, rcpt, "4.3.0", "mail transport unavailable");
		return;
	}
	snprintf(reason, sizeof(reason), "delivery temporarily suspended: %s", d->dead_reason);
	defer_untried(m, rcpt, d->dead_dsn, reason);
}

void dest_enqueue(struct message *m, uint32_t rcpt, struct span transport, struct span nexthop)
{
	struct carrier *t = transport_get(transport);
	struct dest *d;
	struct arena a;
	struct job *j;

	arena_init(&a);
	d = dest_get(t, dest_name(t, envelope_rcpt(&m->im.env, rcpt)->addr, nexthop, &a), nexthop);
	arena_release(&a);
	if (suspended(d->t) || dest_dead(d)) {
		defer_dead(d, m, rcpt);
		return;
	}
	j = job_of(d, m);
	if ((j->n & (j->n - 1)) == 0) /* grows at powers of two */
		j->rcpt = xrealloc(j->rcpt, (j->n ? 2 * j->n : 1) * sizeof(*j->rcpt));
	j->rcpt[j->n++] = rcpt;
	if (list_empty(&d->link))
		list_add_tail(&d->t->ready, &d->link);
}

size_t dest_recipient_limit(const struct dest *d)
{
	return d->t->recipient_limit > 0 ? (size_t)d->t->recipient_limit : 1000;
}

/* The job whose turn it is. While its message is being routed a job waits until it fills a delivery: recipients of one
 * destination travel together. NULL: none. */
static struct job *next_job(const struct dest *d)
{
	LIST_EACH(it, &d->jobs)
	{
		struct job *j = LIST_ENTRY(it, struct job, link);

		if (!j->m->routing || j->n - j->next >= dest_recipient_limit(d))
			return j;
	}
	return NULL;
}

static void start_one(struct dest *d, struct job *j)
{
	size_t n = j->n - j->next, limit = dest_recipient_limit(d);

	n = n > limit ? limit : n;
	n = n > 1000 ? 1000 : n; /* what one record holds */
	if (j->m->im.env.verp.n > 0)
		n = 1; /* each has a sender of its own */
	d->busy++;
	d->t->busy++;
	delivery_start(d, j->m, j->rcpt + j->next, n);
	j->next += n;
	list_del(&j->link);
	if (j->next == j->n)
		job_free(j);
	else
		list_add_tail(&d->jobs, &j->link);
}

static bool may_start(const struct dest *d)
{
	const struct carrier *t = d->t;
	int64_t window = d->window.concurrency;

	if (t->rules.limit > 0 && window > t->rules.limit)
		window = t->rules.limit;
	if (t->rate_delay_s > 0 && (d->busy > 0 || mono_diff_ms(d->not_before, loop_now()) > 0))
		return false;
	if (t->own_delay_s > 0 && (t->busy > 0 || mono_diff_ms(t->not_before, loop_now()) > 0))
		return false;
	return (int64_t)d->busy < window && t->busy < t->process_limit;
}

/* One delivery of each destination. Who had one stands behind the others, also in the next round. False: there was none to start. */
static bool kick_round(struct carrier *t)
{
	bool any = false;

	LIST_EACH_SAFE(it, &t->ready)
	{
		struct dest *d = LIST_ENTRY(it, struct dest, link);
		struct job *j;

		if (t->busy >= t->process_limit)
			return false;
		j = may_start(d) ? next_job(d) : NULL;
		if (j != NULL) {
			start_one(d, j);
			list_del(&d->link);
			list_add_tail(&t->ready, &d->link);
			any = true;
		}
		if (list_empty(&d->jobs))
			list_del(&d->link);
	}
	return any;
}

static void kick_transport(struct carrier *t)
{
	while (!service_draining() && kick_round(t))
		;
}

static void kick_dest(struct dest *d)
{
	struct carrier *t = d->t;

	dest_idle(d);
	kick_transport(t);
}

void dest_kick_all(void)
{
	LIST_EACH(it, &transports)
	kick_transport(LIST_ENTRY(it, struct carrier, link));
}

void dest_revive_all(void)
{
	LIST_EACH(it, &transports)
	{
		struct carrier *t = LIST_ENTRY(it, struct carrier, link);
		struct span nexthop;
		size_t pos = 0;
		void *d;

		t->suspended_until.ms = 0;
		while (table_next(t->dests, &pos, &nexthop, &d))
			((struct dest *)d)->dead_until.ms = 0;
	}
}

static size_t waiting_of(const struct dest *d)
{
	size_t n = 0;

	LIST_EACH(it, &d->jobs)
	n += LIST_ENTRY(it, struct job, link)->n - LIST_ENTRY(it, struct job, link)->next;
	return n;
}

const struct dest *dest_fullest(size_t *recipients)
{
	const struct dest *best = NULL;

	*recipients = 0;
	LIST_EACH(it, &transports)
	LIST_EACH(d, &LIST_ENTRY(it, struct carrier, link)->ready)
	{
		size_t n = waiting_of(LIST_ENTRY(d, struct dest, link));

		if (n > *recipients) {
			best = LIST_ENTRY(d, struct dest, link);
			*recipients = n;
		}
	}
	return best;
}

/* Everything that waits for a dead destination is deferred for its reason, without trying. */
static void fail_jobs(struct dest *d)
{
	while (!list_empty(&d->jobs)) {
		struct job *j = LIST_ENTRY(list_first(&d->jobs), struct job, link);
		struct message *m = j->m;
		uint32_t *rcpt = j->rcpt;
		size_t next = j->next, n = j->n;

		j->rcpt = NULL;
		job_free(j);
		for (; next < n; next++)
			defer_dead(d, m, rcpt[next]); /* the last may end the message */
		free(rcpt);
	}
	list_del(&d->link);
}

static void unreachable(struct dest *d, struct span dsn, struct span reason)
{
	d->remember_until = mono_after(loop_now(), qmgr_conf.minimal_backoff_s * 1000);
	timer_set(&d->again, (deadline_t){ mono_after(d->remember_until, 1) });
	if (!window_failed(&d->window, &d->t->rules))
		return;
	d->dead_until = mono_after(loop_now(), qmgr_conf.minimal_backoff_s * 1000);
	snprintf(d->dead_dsn, sizeof(d->dead_dsn), SPAN_FMT,
		 SPAN_ARG(span_head(dsn, sizeof(d->dead_dsn) - 1)));
	snprintf(d->dead_reason, sizeof(d->dead_reason), SPAN_FMT,
		 SPAN_ARG(span_head(reason, sizeof(d->dead_reason) - 1)));
	timer_set(&d->again, (deadline_t){ mono_after(d->dead_until, 1) });
	fail_jobs(d);
}

/* The pause begins when a delivery has ended (default_destination_rate_delay, default_transport_rate_delay). */
static void pause_after(struct dest *d)
{
	struct carrier *t = d->t;

	if (t->own_delay_s > 0) {
		t->not_before = mono_after(loop_now(), t->own_delay_s * 1000);
		timer_set(&t->again, (deadline_t){ mono_after(t->not_before, 1) });
	}
	if (t->rate_delay_s > 0) {
		d->not_before = mono_after(loop_now(), t->rate_delay_s * 1000);
		timer_set(&d->again, (deadline_t){ mono_after(d->not_before, 1) });
	}
}

void dest_delivery_done(struct dest *d, bool destination_dead, struct span dsn, struct span reason)
{
	size_t busy = d->busy--;

	d->t->busy--;
	if (destination_dead) {
		unreachable(d, dsn, reason);
	} else {
		d->remember_until.ms = 0;
		window_succeeded(&d->window, &d->t->rules, busy);
	}
	pause_after(d);
	kick_dest(d);
}

void dest_suspend_transport(struct dest *d, int64_t seconds)
{
	d->t->suspended_until = mono_after(loop_now(), seconds * 1000);
	while (!list_empty(&d->t->ready))
		fail_jobs(LIST_ENTRY(list_first(&d->t->ready), struct dest, link));
}

const char *dest_transport_name(const struct dest *d)
{
	return d->t->name;
}

struct span dest_nexthop(const struct dest *d)
{
	return span_str(d->nexthop);
}

bool dest_has_more(const struct dest *d)
{
	/* other recipients are destinations of their own, mostly behind the same next hop */
	return !list_empty(&d->jobs) || (d->t->recipient_limit == 1 && !list_empty(&d->t->ready));
}
