/* IDLE (RFC 2177): the session's task waits for DONE; news are told by a task that lives only as long as it
 * has something to tell, so that an idle session costs one stack. Sessions of one process tell each other at
 * once; changes by others come through inotify (watch.h). */
#include "session.h"
#include "watch.h"
#include <sys/socket.h>

#define STILL_HERE_S   120 /* keeps NAT tables warm, and finds dead connections */
#define POLL_WITHOUT_S 5   /* where inotify is not to be had */

struct idle {
	struct session *s;
	struct waitq done;
	struct watch *watch;
	bool changed, telling, ended;
};

static void tell(void *arg)
{
	struct idle *i = arg;
	struct session *s = i->s;
	struct err e;
	while (i->changed && !i->ended && s->state != ST_LOGOUT) {
		i->changed = false;
		session_news(s, true);
		if (stream_flush(s->io, deadline_s(300), &e) != RC_OK)
			session_end(s, "Connection closed in IDLE");
	}
	if (s->state == ST_LOGOUT) /* the waiting task finds the end of its input */
		shutdown(stream_fd(s->io), SHUT_RD);
	i->telling = false;
	waitq_wake_all(&i->done);
}

static void on_change(void *arg)
{
	struct idle *i = arg;
	i->changed = true;
	if (i->telling || i->ended)
		return;
	i->telling = true;
	task_spawn(tell, i);
}

static void still_here(struct idle *i)
{
	struct err e;
	if (i->telling)
		return;
	stream_puts(i->s->io, "* OK Still here\r\n");
	if (stream_flush(i->s->io, deadline_s(300), &e) != RC_OK)
		session_end(i->s, "Connection closed in IDLE");
}

static void wait_for_done(struct idle *i)
{
	struct session *s = i->s;
	deadline_t end = deadline_s(s->conf->timeout_s);
	mono_t told = loop_now();
	struct span got;
	struct err e;
	while (s->state != ST_LOGOUT) {
		bool poll = s->mb && !i->watch;
		enum rc rc = stream_peek(s->io, &got, deadline_s(poll ? POLL_WITHOUT_S : STILL_HERE_S), &e);
		if (rc == RC_OK)
			return;
		if (rc != RC_TIMEOUT || deadline_passed(end)) {
			session_end(s, rc == RC_TIMEOUT ? "Inactivity" : "Connection closed in IDLE");
			return;
		}
		if (poll)
			on_change(i);
		if (mono_diff_ms(loop_now(), told) >= STILL_HERE_S * 1000) {
			told = loop_now();
			still_here(i);
		}
	}
}

COMMAND(cmd_idle)
{
	struct idle i = { .s = s };
	struct span line;
	struct err e;
	if (!parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	struct span tag = span_dup(&s->a, s->tag);
	buf_release(&s->cmd); /* an idle session holds little */
	s->tag = tag;
	waitq_init(&i.done);
	stream_puts(s->io, "+ idling\r\n");
	if (s->mb) {
		i.watch = watch_start(s->mb, on_change, &i);
		mailbox_on_change(s->mb, on_change, &i);
		session_news(s, true);
	}
	if (stream_flush(s->io, deadline_s(300), &e) != RC_OK)
		session_end(s, "Connection closed in IDLE");
	wait_for_done(&i);
	i.ended = true;
	if (s->mb)
		mailbox_on_change(s->mb, NULL, NULL);
	watch_stop(&i.watch);
	while (i.telling)
		if (waitq_wait(&i.done, DEADLINE_NEVER) != RC_OK)
			break;
	if (s->state == ST_LOGOUT || !session_line(s, &line, COMMAND_LINE_MAX))
		return;
	if (!span_is_ci(line, "DONE")) {
		parse_fail(p, "Expected DONE.");
		tagged_bad(s, p);
		return;
	}
	tagged_ok(s, "Idle completed.");
}
