/* qmgr/dest.c - destinations: how many deliveries each gets at a time, with what pauses, and when it counts as dead (QSHAPE_README,
 * SCHEDULER_README's terms: initial_destination_concurrency, destination_concurrency_limit, positive and negative feedback, failed
 * cohort limit). */
#include "dest_int.h"
#include "service/service.h"
#include "mime/address.h"

static void dest_idle(struct dest *d);

static void again(void *arg)
{
	struct dest *d = arg;
	struct carrier *t = d->t;
	mono_t until = mono_diff_ms(d->dead_until, d->remember_until) > 0 ? d->dead_until : d->remember_until;

	if (mono_diff_ms(until, loop_now()) > 0) /* it was a shorter pause that ended */
		timer_set(&d->again, (deadline_t){ mono_after(until, 1) });
	schedule_place(d);
	dest_idle(d);
	schedule_kick(t);
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
	list_init(&d->peers);
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
	if (address_split_extension(local, address_extensions_of(c), &user, &ext))
		local = user;
	return span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(local), SPAN_ARG(nexthop));
}

/* A destination with nothing to do and nothing to remember is forgotten. */
static void dest_idle(struct dest *d)
{
	mono_t now = loop_now();

	if (d->busy || !list_empty(&d->peers) || mono_diff_ms(d->dead_until, now) > 0 ||
	    mono_diff_ms(d->not_before, now) > 0 || mono_diff_ms(d->remember_until, now) > 0)
		return;
	timer_cancel(&d->again);
	table_del(d->t->dests, span_str(d->name));
	free(d->name);
	free(d->nexthop);
	free(d);
}

static bool dest_dead(const struct dest *d)
{
	return mono_diff_ms(d->dead_until, loop_now()) > 0;
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

	if (carrier_suspended(d->t)) {
		defer_untried(m, rcpt, "4.3.0", "mail transport unavailable");
		return;
	}
	snprintf(reason, sizeof(reason), "delivery temporarily suspended: %s", d->dead_reason);
	defer_untried(m, rcpt, d->dead_dsn, reason);
}

void dest_enqueue(struct message *m, uint32_t rcpt, struct span transport, struct span nexthop)
{
	struct carrier *t = carrier_get(transport);
	struct dest *d;
	struct arena a;

	arena_init(&a);
	d = dest_get(t, dest_name(t, envelope_rcpt(&m->im.env, rcpt)->addr, nexthop, &a), nexthop);
	arena_release(&a);
	if (carrier_suspended(d->t) || dest_dead(d)) {
		defer_dead(d, m, rcpt);
		return;
	}
	schedule_add(d, m, rcpt);
}

size_t dest_recipient_limit(const struct dest *d)
{
	return d->t->recipient_limit > 0 ? (size_t)d->t->recipient_limit : 1000;
}

bool dest_may_start(const struct dest *d)
{
	const struct carrier *t = d->t;
	int64_t window = d->window.concurrency;

	if (t->rules.limit > 0 && window > t->rules.limit)
		window = t->rules.limit;
	if (t->rate_delay_s > 0 && (d->busy > 0 || mono_diff_ms(d->not_before, loop_now()) > 0))
		return false;
	return (int64_t)d->busy < window;
}

void dest_kick_all(void)
{
	LIST_EACH(it, carriers())
	schedule_kick(LIST_ENTRY(it, struct carrier, link));
}

static void each_dest(struct carrier *t, void (*fn)(void *arg, struct dest *d), void *arg)
{
	struct span name;
	size_t pos = 0;
	void *d;

	while (table_next(t->dests, &pos, &name, &d))
		fn(arg, d);
}

static void revive(void *unused, struct dest *d)
{
	(void)unused;
	d->dead_until.ms = 0;
}

void dest_revive_all(void)
{
	LIST_EACH(it, carriers())
	{
		struct carrier *t = LIST_ENTRY(it, struct carrier, link);

		t->suspended_until.ms = 0;
		each_dest(t, revive, NULL);
	}
}

struct fullest {
	const struct dest *dest;
	size_t waiting;
};

static void look(void *arg, struct dest *d)
{
	struct fullest *best = arg;
	size_t n = 0;

	LIST_EACH(it, &d->peers)
	n += LIST_ENTRY(it, struct peer, link)->n - LIST_ENTRY(it, struct peer, link)->next;
	if (n > best->waiting)
		*best = (struct fullest){ d, n };
}

const struct dest *dest_fullest(size_t *recipients)
{
	struct fullest best = { NULL, 0 };

	LIST_EACH(it, carriers())
	each_dest(LIST_ENTRY(it, struct carrier, link), look, &best);
	*recipients = best.waiting;
	return best.dest;
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
	schedule_drop(d, defer_dead);
}

/* The pauses begin when a delivery has ended (default_destination_rate_delay, default_transport_rate_delay). */
static void pause_after(struct dest *d)
{
	carrier_pause(d->t);
	if (d->t->rate_delay_s > 0) {
		d->not_before = mono_after(loop_now(), d->t->rate_delay_s * 1000);
		timer_set(&d->again, (deadline_t){ mono_after(d->not_before, 1) });
	}
}

void dest_delivery_done(struct dest *d, bool destination_dead, struct span dsn, struct span reason)
{
	struct carrier *t = d->t;
	size_t busy = d->busy--;

	t->busy--;
	if (destination_dead) {
		unreachable(d, dsn, reason);
	} else {
		d->remember_until.ms = 0;
		window_succeeded(&d->window, &t->rules, busy);
	}
	pause_after(d);
	schedule_place(d);
	dest_idle(d);
	schedule_kick(t);
}

static void drop_suspended(void *unused, struct dest *d)
{
	(void)unused;
	schedule_drop(d, defer_dead);
}

void dest_suspend_transport(struct dest *d, int64_t seconds)
{
	d->t->suspended_until = mono_after(loop_now(), seconds * 1000);
	each_dest(d->t, drop_suspended, NULL);
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
	return !list_empty(&d->peers) || (d->t->recipient_limit == 1 && d->t->ready.n > 0);
}
