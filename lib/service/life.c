/* service/life.c - how many sessions there are, and when the process is done.
 *
 *   serving --(session_limit reached)--> busy --(one ends)--> serving
 *   either  --(MP_DRAIN, session_total reached, idle for max_idle, master gone)--> draining --(nothing left)--> end */
#include "service/frame.h"
#include "log/log.h"

#define REPORT_MS     1000
#define CHECK_MS      50
#define IPC_LINGER_MS 200 /* a request that is on its way when MP_DRAIN comes still gets its answer */
#define TRIGGERS_MAX  32

static struct timer report_timer, check_timer, idle_timer;
static bool report_due, report_armed;
static deadline_t end_not_before;
static struct {
	bool running, again;
	char now[TRIGGERS_MAX], next[TRIGGERS_MAX];
} wake;

static void report(void *arg)
{
	(void)arg;
	report_armed = report_due;
	if (!report_due)
		return;
	report_due = false;
	channel_send(MP_SESSIONS, 0, frame.sessions, NULL);
	timer_set(&report_timer, deadline_ms(REPORT_MS));
}

/* At most once a second. */
static void report_soon(void)
{
	report_due = true;
	if (!report_armed)
		timer_set(&report_timer, deadline_ms(REPORT_MS));
	report_armed = true;
}

static void check(void *arg)
{
	(void)arg;
	life_check();
	if (frame.draining)
		timer_set(&check_timer, deadline_ms(CHECK_MS));
}

static void idle(void *arg)
{
	(void)arg;
	if (frame.sessions == 0 && frame.holds == 0)
		life_drain();
}

/* Programs started on demand end when nobody asked for a while; the next connection starts a fresh one. */
static void idle_restart(void)
{
	if (frame.s->kind == SV_STREAM && frame.s->wakeup == NULL)
		timer_set(&idle_timer, deadline_s(conf_int(frame.conf, "max_idle")));
}

void life_init(void)
{
	timer_init(&report_timer, report, NULL);
	timer_init(&check_timer, check, NULL);
	timer_init(&idle_timer, idle, NULL);
	idle_restart();
}

void life_session_begins(void)
{
	frame.sessions++;
	frame.served++;
	timer_cancel(&idle_timer);
	report_soon();
	if (!frame.busy && frame.session_limit > 0 && frame.sessions >= frame.session_limit) {
		frame.busy = true;
		channel_send(MP_BUSY, 0, frame.sessions, NULL);
	}
	if (frame.session_total > 0 && frame.served >= frame.session_total)
		life_drain();
}

void life_session_ends(void)
{
	INVARIANT(frame.sessions > 0);
	frame.sessions--;
	report_soon();
	if (frame.busy && frame.sessions < frame.session_limit) {
		frame.busy = false;
		if (!frame.draining)
			channel_send(MP_FREE, 0, frame.sessions, NULL);
		session_wake();
	}
	if (frame.sessions == 0)
		idle_restart();
	life_check();
}

static void call_drain(void *arg)
{
	(void)arg;
	frame.s->drain();
	service_unhold();
}

void life_drain(void)
{
	if (frame.draining)
		return;
	frame.draining = true;
	end_not_before = frame.s->kind == SV_IPC ? deadline_ms(IPC_LINGER_MS) : deadline_ms(0);
	channel_send(MP_RETIRE, 0, frame.sessions, NULL);
	accept_stop();
	session_wake();
	if (frame.s->drain != NULL) {
		service_hold();
		task_spawn(call_drain, NULL);
	}
	timer_set(&check_timer, deadline_ms(CHECK_MS));
}

/* A stop may follow a reload: those who serve streams are told again, since then there is a hurry. */
void life_end(bool soon)
{
	bool again =
	    soon && !frame.ending && frame.draining && frame.s->kind == SV_STREAM && frame.s->drain != NULL;

	frame.ending |= soon;
	if (again) {
		service_hold();
		task_spawn(call_drain, NULL);
	}
	life_drain();
}

bool service_ending(void)
{
	return frame.ending;
}

void life_check(void)
{
	if (!frame.draining || frame.holds > 0 || wake.running || !deadline_passed(end_not_before))
		return;
	if (frame.s->kind == SV_IPC ? session_any_busy() : frame.sessions > 0)
		return;
	loop_stop(0);
}

static void wakeup_task(void *arg)
{
	(void)arg;
	do {
		wake.again = false;
		memcpy(wake.now, wake.next, sizeof wake.now);
		wake.next[0] = '\0';
		frame.s->wakeup();
	} while (wake.again);
	wake.running = false;
	life_check();
}

void life_wakeup(const char *trigger)
{
	if (frame.s->wakeup == NULL || frame.draining)
		return;
	size_t n = strlen(wake.next);
	for (; *trigger != '\0' && n + 1 < sizeof wake.next; trigger++)
		if (ascii_isalnum(*trigger) && strchr(wake.next, *trigger) == NULL) {
			wake.next[n++] = *trigger;
			wake.next[n] = '\0';
		}
	wake.again = true;
	if (wake.running)
		return;
	wake.running = true;
	task_spawn(wakeup_task, NULL);
}

const char *service_trigger(void)
{
	return wake.now;
}

void service_retire(void)
{
	life_drain();
}

bool service_draining(void)
{
	return frame.draining;
}

void service_hold(void)
{
	frame.holds++;
}

void service_unhold(void)
{
	INVARIANT(frame.holds > 0);
	frame.holds--;
	life_check();
}
