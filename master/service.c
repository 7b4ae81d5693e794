/* master/service.c - one line of master.cf at work: when a child is started, woken, replaced.
 *
 *   watched --(a connection waits)--> starting --(MP_READY)--> served --(MP_BUSY of all)--> watched (another child may start)
 *   any     --(children keep dying)--> throttled --(time)--> watched
 *   any     --(reload)--> retired --(last child ended)--> freed */
#include "master.h"
#include "log/log.h"
#include <unistd.h>

#define HANDED_MAX    4096
#define HAND_RETRY_MS 50 /* a child that was told very much at once reads it first */
#define LOCK_RETRY_MS 50 /* the former only process of its kind has not ended yet */

struct service *service_find(const char *name)
{
	LIST_EACH(it, &master.now->services)
	{
		struct service *s = LIST_ENTRY(it, struct service, link);
		if (s->entry->type != ST_INET && strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

/* ---- may, wants ---- */

static bool takes_more(const struct child *c)
{
	return !c->busy && !c->retiring && !c->drained && !c->killed && !c->exited && !c->gone;
}

static bool served(const struct service *s)
{
	LIST_EACH(it, &s->children)
	if (takes_more(LIST_ENTRY(it, struct child, link)))
		return true;
	return false;
}

/* Sessions count; of channels, which stay open, only the processes do. */
static int64_t load(const struct service *s)
{
	int64_t n = 0;
	bool stream = s->entry->type == ST_INET || s->socket_type == SOCK_STREAM;
	LIST_EACH(it, &s->children)
	{
		const struct child *c = LIST_ENTRY(it, struct child, link);
		if (stream)
			n += c->sessions > 0 ? c->sessions : 1;
		else
			n += c->retiring || c->drained ? 0 : 1;
	}
	return n;
}

static bool may_start(const struct service *s)
{
	if (s->retired || s->backoff.throttled || master.stopping)
		return false;
	if (s->single)
		return list_empty(&s->children);
	return s->entry->maxproc == 0 || load(s) < s->entry->maxproc;
}

bool service_wants_watch(const struct service *s)
{
	return !served(s) && may_start(s);
}

static void tell_limit(struct service *s)
{
	if (s->limit_told || s->single || s->retired || served(s) || s->entry->maxproc == 0 ||
	    load(s) < s->entry->maxproc)
		return;
	s->limit_told = true;
	log_warning("service \"%s\" has reached its process limit \"%lld\": new clients may experience "
		    "noticeable delays",
		    s->name, (long long)s->entry->maxproc);
}

/* ---- starting ---- */

static void hold_back(struct service *s, int64_t ms)
{
	s->backoff.throttled = true;
	timer_set(&s->start_timer, deadline_ms(ms));
}

static void start_due(void *arg)
{
	struct service *s = arg;
	s->backoff.throttled = false;
	service_changed(s);
}

static void start(struct service *s)
{
	struct err e;
	enum rc rc = child_start(s, &e);
	if (rc == RC_AGAIN)
		hold_back(s, LOCK_RETRY_MS);
	else if (rc != RC_OK) {
		log_warning("service %s: %s", s->name, e.text);
		backoff_died(s, false);
	}
}

void service_activity(struct service *s)
{
	if (!served(s) && may_start(s))
		start(s);
	service_changed(s);
}

static void service_free(struct service *s)
{
	struct running *r = s->config;
	timer_cancel(&s->start_timer);
	timer_cancel(&s->wake_timer);
	timer_cancel(&s->hand_timer);
	list_del(&s->link);
	list_del(&s->all);
	free(s);
	config_unref(r);
}

/* ---- connections of listeners that are gone ---- */

struct handed {
	struct list link;
	int fd;
	unsigned listener;
};

static void handed_free(struct service *s, struct handed *h)
{
	list_del(&h->link);
	s->handed_n--;
	free(h);
}

static struct child *child_for_more(const struct service *s)
{
	LIST_EACH(it, &s->children)
	{
		struct child *c = LIST_ENTRY(it, struct child, link);
		if (c->ready && takes_more(c))
			return c;
	}
	return NULL;
}

static void hand_out(struct service *s)
{
	struct child *c = child_for_more(s);
	if (c == NULL)
		return;
	LIST_EACH_SAFE(it, &s->handed)
	{
		struct handed *h = LIST_ENTRY(it, struct handed, link);
		if (!child_send(c, MP_SESSION, 0, h->listener, h->fd)) {
			timer_set(&s->hand_timer, deadline_ms(HAND_RETRY_MS));
			return;
		}
		close(h->fd);
		handed_free(s, h);
	}
}

static void hand_due(void *arg)
{
	service_changed(arg);
}

void service_hand(struct service *s, int fd, unsigned listener)
{
	if (s->handed_n >= HANDED_MAX) {
		close(fd);
		return;
	}
	struct handed *h = xcalloc(1, sizeof *h);
	*h = (struct handed){ .fd = fd, .listener = listener };
	list_add_tail(&s->handed, &h->link);
	s->handed_n++;
	if (s->begun)
		service_changed(s);
}

/* The service is of a configuration that is no longer in force: who listens there now takes them. */
static void place_handed(struct service *s)
{
	LIST_EACH_SAFE(it, &s->handed)
	{
		struct handed *h = LIST_ENTRY(it, struct handed, link);
		overlap_place(h->fd);
		handed_free(s, h);
	}
}

void service_changed(struct service *s)
{
	if (s->retired) {
		if (list_empty(&s->children))
			service_free(s);
		return;
	}
	if (master.stopping)
		return;
	hand_out(s);
	if ((s->always || s->wake_due || s->handed_n > 0) && !served(s) && may_start(s))
		start(s);
	if (served(s))
		s->limit_told = false;
	tell_limit(s);
	listen_wanted(s);
}

/* ---- waking ---- */

static struct child *ready_child(const struct service *s)
{
	LIST_EACH(it, &s->children)
	{
		struct child *c = LIST_ENTRY(it, struct child, link);
		if (c->ready && !c->retiring && !c->drained && !c->gone && !c->exited)
			return c;
	}
	return NULL;
}

void service_wake(struct service *s)
{
	struct child *c = ready_child(s);
	if (c != NULL)
		child_send(c, MP_WAKEUP, 0, 0, -1);
	else if (!s->entry->wakeup_if_used && !s->retired) {
		s->wake_due = true;
		service_changed(s);
	}
}

static void wake_due(void *arg)
{
	struct service *s = arg;
	timer_set(&s->wake_timer, deadline_s(s->entry->wakeup_s));
	service_wake(s);
}

void service_child_ready(struct child *c)
{
	struct service *s = c->service;
	c->ready = true;
	if (s->wake_due)
		child_send(c, MP_WAKEUP, 0, 0, -1);
	s->wake_due = false;
	service_changed(s);
}

/* ---- beginning and end ---- */

void service_begin(struct service *s)
{
	timer_init(&s->start_timer, start_due, s);
	timer_init(&s->wake_timer, wake_due, s);
	timer_init(&s->hand_timer, hand_due, s);
	child_follow(s);
	s->begun = true;
	if (s->entry->wakeup_s > 0)
		wake_due(s);
	service_changed(s);
}

void service_child_ended(struct child *c, int wait_status)
{
	struct service *s = c->service;
	if (wait_status != 0 && !c->killed)
		backoff_died(s, c->ready);
}

void service_stop(struct service *s)
{
	timer_cancel(&s->start_timer);
	timer_cancel(&s->wake_timer);
	timer_cancel(&s->hand_timer);
}

void service_retire(struct service *s)
{
	service_stop(s);
	s->retired = true;
	s->listeners = 0;
	place_handed(s);
	LIST_EACH_SAFE(it, &s->children)
	child_drain(LIST_ENTRY(it, struct child, link), s->single ? SINGLE_DRAIN_S : 0);
	service_changed(s);
}
