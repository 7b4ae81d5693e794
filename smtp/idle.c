/* idle.c - sessions kept for a moment after a delivery, because more mail for the same place is on its way.
 */
#include "client.h"

#include <poll.h>

#define IDLE_MAX 200 /* in this process */

static struct list all = { &all, &all }; /* oldest first */
static size_t count;

static struct session *take(struct session *s)
{
	timer_cancel(&s->expiry);
	list_del(&s->link);
	count--;
	return s;
}

static void expired(void *arg)
{
	struct session *s = take(arg);
	session_quit(&s);
}

/* An idle server has nothing to say: what comes is 421, or the end. */
static bool spoke(const struct session *s)
{
	struct pollfd p = { .fd = stream_fd(s->io), .events = POLLIN };
	return stream_has_input(s->io) || poll(&p, 1, 0) != 0;
}

void idle_put(struct session **sp, struct span key)
{
	struct session *s = *sp;
	*sp = NULL;
	bool old = mono_diff_ms(mono_now(), s->opened) >= settings.reuse_s * 1000 ||
		   (settings.reuse_count > 0 && s->uses > settings.reuse_count);
	if (s->unusable || s->closing || old || service_draining()) {
		session_quit(&s);
		return;
	}
	if (count >= IDLE_MAX)
		expired(LIST_ENTRY(list_first(&all), struct session, link));
	free(s->key);
	s->key = xmalloc(key.n + 1);
	memcpy(s->key, key.p, key.n);
	s->key[key.n] = '\0';
	list_add_tail(&all, &s->link);
	count++;
	timer_init(&s->expiry, expired, s);
	timer_set(&s->expiry, deadline_s(settings.cache_s));
}

struct session *idle_get(struct span key)
{
	for (struct list *it = all.prev, *next; it != &all;
	     it = next) { /* the youngest is the likeliest to live */
		struct session *s = LIST_ENTRY(it, struct session, link);
		next = it->prev;
		if (!span_is(key, s->key))
			continue;
		take(s);
		if (!spoke(s))
			return s;
		session_free(&s);
	}
	return NULL;
}

void idle_drop_all(void)
{
	while (!list_empty(&all))
		expired(LIST_ENTRY(list_first(&all), struct session, link));
}
