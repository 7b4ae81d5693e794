/* qmgr/schedule.c - which delivery of a transport is the next: SCHEDULER_README. Messages come first that were there first (jobs by
 * rank), and a message with few deliveries may go before one with many (preempt.h); of one message, destinations take turns.
 *
 * A job's rank orders its peers in all destinations. A destination that may be sent to stands in the heap `ready` with the first of its
 * peers; so what cannot be sent now is not even looked at. */
#include "dest_int.h"
#include "service/service.h"

#define SEARCH_MS  100
#define DEST_OF(i) LIST_ENTRY(i, struct dest, ready)

static bool before(struct heap_item *a, struct heap_item *b)
{
	const struct dest *x = DEST_OF(a), *y = DEST_OF(b);

	if (x->first->job->rank != y->first->job->rank)
		return x->first->job->rank < y->first->job->rank;
	return x->turn < y->turn;
}

void schedule_init(struct carrier *t)
{
	t->ready.before = before;
	list_init(&t->jobs);
}

/* ---- recipients into jobs ---- */

/* Recipients of one delivery: as many as allowed, and as one record holds. With VERP each has a sender of its own. */
static size_t batch(const struct peer *p)
{
	const struct message *m = p->job->m;
	size_t limit = dest_recipient_limit(p->dest);

	return m->im.env.verp.n > 0 ? 1 : limit < m->at_once ? limit : m->at_once;
}

static int64_t deliveries(const struct peer *p)
{
	return (int64_t)((p->n - p->next + batch(p) - 1) / batch(p));
}

static struct job *job_of(struct carrier *t, struct message *m)
{
	struct job *j;

	LIST_EACH(it, &m->jobs)
	{
		j = LIST_ENTRY(it, struct job, of_message);
		if (j->t == t)
			return j;
	}
	j = xcalloc(1, sizeof(*j));
	*j = (struct job){ .m = m, .t = t, .rank = ++t->back, .since = loop_now() };
	list_init(&j->peers);
	list_add_tail(&t->jobs, &j->link);
	list_add_tail(&m->jobs, &j->of_message);
	return j;
}

/* A job of a message that is being routed keeps its rank when nothing of it waits at the moment. */
static void job_unused(struct job *j)
{
	struct carrier *t = j->t;

	if (!list_empty(&j->peers) || j->m->routing)
		return;
	if (t->candidate == j)
		t->candidate = NULL;
	if (t->current == j)
		t->current = NULL;
	list_del(&j->link);
	list_del(&j->of_message);
	free(j);
}

/* The last in `d` that does not come after j: mostly the last of all. */
static struct list *place_of(struct dest *d, const struct job *j)
{
	struct list *it = d->peers.prev;

	while (it != &d->peers && LIST_ENTRY(it, struct peer, link)->job->rank > j->rank)
		it = it->prev;
	return it;
}

static struct peer *peer_of(struct dest *d, struct job *j)
{
	struct list *at = place_of(d, j);
	struct peer *p;

	if (at != &d->peers && LIST_ENTRY(at, struct peer, link)->job == j)
		return LIST_ENTRY(at, struct peer, link);
	p = xcalloc(1, sizeof(*p));
	p->job = j;
	p->dest = d;
	d->turn = list_empty(&d->peers) ? ++d->t->turns : d->turn; /* behind those that wait */
	list_add_head(at, &p->link);
	list_add_tail(&j->peers, &p->of_job);
	return p;
}

static void peer_free(struct peer *p)
{
	list_del(&p->link);
	list_del(&p->of_job);
	free(p->rcpt);
	free(p);
}

/* While its message is being routed a peer waits until it fills a delivery: recipients of one destination travel together. */
static bool complete(const struct peer *p)
{
	return !p->job->m->routing || p->n - p->next >= batch(p);
}

void schedule_add(struct dest *d, struct message *m, uint32_t rcpt)
{
	struct peer *p = peer_of(d, job_of(d->t, m));

	if ((p->n & (p->n - 1)) == 0) /* grows at powers of two */
		p->rcpt = xrealloc(p->rcpt, (p->n ? 2 * p->n : 1) * sizeof(*p->rcpt));
	p->job->slots.left += (p->n - p->next) % batch(p) == 0;
	p->rcpt[p->n++] = rcpt;
	if (complete(p))
		schedule_place(d);
}

void schedule_routed(struct message *m)
{
	LIST_EACH_SAFE(it, &m->jobs)
	{
		struct job *j = LIST_ENTRY(it, struct job, of_message);

		LIST_EACH(p, &j->peers)
		schedule_place(LIST_ENTRY(p, struct peer, of_job)->dest);
		j->t->news = true;
		job_unused(j);
	}
}

void schedule_drop(struct dest *d, void (*fn)(const struct dest *d, struct message *m, uint32_t rcpt))
{
	heap_del(&d->t->ready, &d->ready);
	while (!list_empty(&d->peers)) {
		struct peer *p = LIST_ENTRY(list_first(&d->peers), struct peer, link);
		struct job *j = p->job;
		struct message *m = j->m;
		uint32_t *rcpt = p->rcpt;
		size_t next = p->next, n = p->n;

		j->slots.left -= deliveries(p);
		p->rcpt = NULL;
		peer_free(p);
		job_unused(j);
		for (; next < n; next++)
			fn(d, m, rcpt[next]); /* the last may end the message */
		free(rcpt);
	}
}

/* ---- the order ---- */

static struct peer *first_of(const struct dest *d)
{
	LIST_EACH(it, &d->peers)
	if (complete(LIST_ENTRY(it, struct peer, link)))
		return LIST_ENTRY(it, struct peer, link);
	return NULL;
}

void schedule_place(struct dest *d)
{
	struct carrier *t = d->t;
	bool was = heap_has(&d->ready);

	heap_del(&t->ready, &d->ready);
	d->first = dest_may_start(d) ? first_of(d) : NULL;
	if (d->first == NULL)
		return;
	heap_add(&t->ready, &d->ready);
	t->news |= !was;
}

static bool blocked(const struct job *j)
{
	LIST_EACH(it, &j->peers)
	if (heap_has(&LIST_ENTRY(it, struct peer, of_job)->dest->ready))
		return false;
	return true;
}

/* Whether a has waited longer than b, for what it needs. */
static bool better(const struct job *a, const struct job *b, mono_t now)
{
	return (mono_diff_ms(now, a->since) + 1) * b->slots.left >
	       (mono_diff_ms(now, b->since) + 1) * a->slots.left;
}

/* The job that should go before `current`. Who has waited no longer than the best so far has for each of its deliveries cannot be
 * better, and nor can those that came later. */
static struct job *search(const struct carrier *t, const struct job *current, int64_t most)
{
	mono_t now = loop_now();
	struct job *best = NULL;

	LIST_EACH(it, &t->jobs)
	{
		struct job *j = LIST_ENTRY(it, struct job, link);

		if (best && (mono_diff_ms(now, j->since) + 1) * best->slots.left <=
				mono_diff_ms(now, best->since) + 1)
			break;
		if (j->rank <= current->rank || j->m->routing || j->slots.left > most || blocked(j))
			continue;
		if (!best || better(j, best, now))
			best = j;
	}
	return best;
}

/* What the last search found still holds. One that found nobody, which is the longest, is not repeated at once either: the active queue
 * may be full of mail that is blocked. */
static bool known(const struct carrier *t, const struct job *current, int64_t most)
{
	const struct job *j = t->candidate;

	if (t->current != current)
		return false;
	if (t->nobody)
		return !t->news || mono_diff_ms(loop_now(), t->searched) < SEARCH_MS;
	return !t->news && j && j->slots.left <= most && !blocked(j);
}

static struct job *candidate(struct carrier *t, const struct job *current, int64_t most)
{
	if (!known(t, current, most)) {
		t->candidate = search(t, current, most);
		t->current = current;
		t->nobody = t->candidate == NULL;
		t->searched = loop_now();
		t->news = false;
	}
	return t->candidate;
}

static void to_front(struct job *j)
{
	LIST_EACH(it, &j->peers)
	heap_del(&j->t->ready,
		 &LIST_ENTRY(it, struct peer, of_job)->dest->ready); /* the rank is what orders it */
	j->rank = --j->t->front;
	LIST_EACH(it, &j->peers)
	{
		struct peer *p = LIST_ENTRY(it, struct peer, of_job);

		list_del(&p->link);
		list_add_head(&p->dest->peers, &p->link);
		schedule_place(p->dest);
	}
}

static struct job *first_job(const struct carrier *t)
{
	const struct peer *first = DEST_OF(heap_first(&t->ready))->first;

	INVARIANT(first != NULL);
	return first->job;
}

/* Before a delivery of the first job: another may have earned its place. */
static void preempt(struct carrier *t)
{
	struct job *current = first_job(t), *j;
	int64_t most = preempt_most(&t->slots, &current->slots);

	if (most == 0 || !preempt_now(&t->slots, &current->slots, 1))
		return;
	j = candidate(t, current, most);
	if (!j || !preempt_now(&t->slots, &current->slots, j->slots.left))
		return;
	preempt_pay(&t->slots, &current->slots, j->slots.left);
	to_front(j);
}

static void start_one(struct dest *d)
{
	struct peer *p = d->first;
	struct job *j = p->job;
	size_t n = p->n - p->next < batch(p) ? p->n - p->next : batch(p);

	d->busy++;
	d->t->busy++;
	d->turn = ++d->t->turns;
	delivery_start(d, j->m, p->rcpt + p->next, n);
	p->next += n;
	j->slots.left--;
	j->slots.saved++;
	if (p->next == p->n) {
		peer_free(p);
		job_unused(j);
	}
	schedule_place(d);
}

void schedule_kick(struct carrier *t)
{
	while (!service_draining() && t->ready.n > 0 && carrier_may_start(t)) {
		preempt(t);
		start_one(DEST_OF(heap_first(&t->ready)));
	}
}
