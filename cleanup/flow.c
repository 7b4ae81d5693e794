/* flow.c - in_flow_delay: while more comes in than qmgr can work on, each new message from outside waits a little, so that deliveries
 * get their share of the disk. Reports do not: they are what makes room. */
#include "cleanup.h"

#define ASK_MS 1000

static bool behind, asking;
static mono_t asked;

static void ask(void *unused)
{
	struct qmgr_control q = { .op = QOP_BEHIND, .arg = SPAN_NONE };
	struct qmgr_control_reply r;
	struct arena a;
	struct err e; /* who is away is not behind */

	(void)unused;
	arena_init(&a);
	behind = service_request(conf_str(service_conf(), "queue_service_name"), true, IPC_QMGR_CONTROL, &q,
				 &r, &a, deadline_s(10), &e) == RC_OK &&
		 r.code == 0 && r.count > 0;
	arena_release(&a);
	asked = mono_now();
	asking = false;
}

void flow_wait(void)
{
	if (settings.in_flow_delay_s == 0)
		return;
	if (!asking && mono_diff_ms(mono_now(), asked) > ASK_MS) {
		asking = true;
		task_spawn(ask, NULL);
	}
	if (behind && !service_draining())
		task_sleep_ms(1000 * settings.in_flow_delay_s);
}
