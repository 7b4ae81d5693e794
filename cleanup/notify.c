/* notify.c - telling qmgr of new messages. What cannot be told is not kept: qmgr is asked to look for itself
 * (QOP_RESCAN), at its start and whenever it is asked it reads the headers of all slots and the names in
 * incoming/. */
#include "cleanup.h"

#define RETRY_MS 500

static bool rescan_wanted, rescan_running;

static bool ask_rescan(void)
{
	struct qmgr_control q = { .op = QOP_RESCAN, .arg = SPAN_NONE };
	struct qmgr_control_reply r;
	struct arena a;
	struct err e;
	enum rc rc;

	arena_init(&a);
	rc = service_request(conf_str(service_conf(), "queue_service_name"), true, IPC_QMGR_CONTROL, &q, &r,
			     &a, deadline_s(30), &e);
	if (rc == RC_OK && r.code != 0)
		log_warning("qmgr refused to look at the queue: %u", r.code);
	else if (rc != RC_OK)
		log_debug("qmgr: %s", e.text);
	arena_release(&a);
	return rc == RC_OK && r.code == 0;
}

static void rescan_task(void *arg)
{
	(void)arg;
	while (rescan_wanted && !service_draining()) {
		rescan_wanted = false;
		if (!ask_rescan()) {
			rescan_wanted = true;
			task_sleep_ms(RETRY_MS);
		}
	}
	rescan_running = false;
}

static void want_rescan(void)
{
	rescan_wanted = true;
	if (rescan_running)
		return;
	rescan_running = true;
	task_spawn(rescan_task, NULL);
}

/* What this process's forerunner stored and could not tell any more. */
void notify_start(void)
{
	want_rescan();
}

void notify_new(const struct job *j)
{
	struct qmgr_new m = { .where = (uint16_t)j->where,
			      .slot = j->slot,
			      .generation = j->generation,
			      .qid = qid_span(&j->qid) };
	struct ipc_chan *chan;
	struct err e;

	if (j->where != QW_SLOT && j->where != QW_INCOMING)
		return;
	if (rescan_wanted) /* qmgr is away, and will look when it is back */
		return;
	if (service_peer(conf_str(service_conf(), "queue_service_name"), &chan, deadline_s(5), &e) != RC_OK ||
	    ipc_notify(chan, IPC_QMGR_NEW, &m, deadline_s(5), &e) != RC_OK)
		want_rescan();
}
