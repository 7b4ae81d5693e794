/* cmd/smtp-sink/count.c - sessions and messages so far: shown with -c, and what -m, -M and -n compare with. */
#include "sink.h"
#include <stdio.h>

static int64_t active, sessions, quits, messages;
static struct waitq room;

static void show(void)
{
	if (!conf.counters)
		return;
	if (conf.qmqp)
		printf("%lld\r", (long long)messages);
	else
		printf("sess=%lld quit=%lld mesg=%lld\r", (long long)sessions, (long long)quits,
		       (long long)messages);
	fflush(stdout);
}

void count_session_begins(void)
{
	active++;
}

void count_session_ends(void)
{
	active--;
	sessions++;
	show();
	waitq_wake_one(&room);
	if (conf.quit_sessions > 0 && sessions >= conf.quit_sessions)
		loop_stop(0);
}

void count_quit(void)
{
	quits++;
	show();
}

void count_message(void)
{
	messages++;
	show();
}

bool count_messages_enough(void)
{
	return conf.quit_messages > 0 && messages >= conf.quit_messages;
}

void count_wait_for_room(void)
{
	if (room.waiters.next == NULL)
		waitq_init(&room);
	while (active >= conf.max_sessions)
		if (waitq_wait(&room, deadline_s(60)) != RC_OK)
			continue; /* asked again */
}
