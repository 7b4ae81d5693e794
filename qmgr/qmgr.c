/* qmgr/qmgr.c - qmgr(8): the process. One at a time per queue: a lock says so, since an old process may still
 * drain while its successor starts. */
#include "qmgr.h"
#include "log/log.h"
#include "mime/address.h"
#include "service/service.h"
#include "smtp/dlog.h"

struct qmgr_conf qmgr_conf;
struct queue *queue;

static void prepare(void)
{
	const struct conf *c = service_conf();

	qmgr_conf = (struct qmgr_conf){
		.active_max = conf_int(c, "qmgr_message_active_limit"),
		.rcpt_max = conf_int(c, "qmgr_message_recipient_limit"),
		.rcpt_min = conf_int(c, "qmgr_message_recipient_minimum"),
		.rcpt_extra = conf_int(c, "default_extra_recipient_limit"),
		.clog_warn_s = conf_bool(c, "helpful_warnings") ? conf_int(c, "qmgr_clog_warn_time") : 0,
		.defer_transports = conf_str(c, "defer_transports"),
		.filter_nexthop = conf_str(c, "default_filter_nexthop"),
		.delay_cleared = conf_bool(c, "confirm_delay_cleared"),
		.min_user = conf_bool(c, "allow_min_user"),
		.minimal_backoff_s = conf_int(c, "minimal_backoff_time"),
		.maximal_backoff_s = conf_int(c, "maximal_backoff_time"),
		.lifetime_s = conf_int(c, "maximal_queue_lifetime"),
		.bounce_lifetime_s = conf_int(c, "bounce_queue_lifetime"),
		.delay_warning_s = conf_int(c, "delay_warning_time"),
		.queue_run_s = conf_int(c, "queue_run_delay"),
		.transport_retry_s = conf_int(c, "transport_retry_time"),
		.daemon_timeout_s = conf_int(c, "daemon_timeout"),
		.ipc_timeout_s = conf_int(c, "qmgr_ipc_timeout"),
	};
	if (qmgr_conf.bounce_lifetime_s > qmgr_conf.lifetime_s) {
		log_warning("bounce_queue_lifetime is larger than maximal_queue_lifetime - adjusting "
			    "bounce_queue_lifetime");
		qmgr_conf.bounce_lifetime_s = qmgr_conf.lifetime_s;
	}
	carriers_prepare();
	dlog_settings(c);
}

/* The disk was full, or the like. */
static void takeover_again(void *unused)
{
	bool left = true;

	(void)unused;
	while (left && !service_draining()) {
		task_sleep_ms(1000 * qmgr_conf.minimal_backoff_s);
		left = takeover();
		incoming_scan();
	}
}

static void scan_task(void *unused)
{
	(void)unused;
	if (takeover())
		task_spawn(takeover_again, NULL);
	incoming_scan();
	deferred_found();
	deferred_run();
}

static void start(void)
{
	struct err e;

	if (queue_open(service_queue_dir(), true, &queue, &e) != RC_OK)
		die("%s", e.text);
	slots_start();
	task_spawn(scan_task, NULL);
}

static void answer_new(struct ipc_call *call, const void *request)
{
	const struct qmgr_new *q = request;
	struct qid id;
	struct err e;

	if (!qid_parse(q->qid, &id)) {
		log_warning("cleanup sent a malformed queue id");
	} else {
		if (q->where == QW_SLOT && q->slot >= queue_slots(queue) &&
		    queue_pool_refresh(queue, &e) != RC_OK)
			log_warning("%s", e.text);
		incoming_add(q->where == QW_SLOT ? QW_SLOT : QW_INCOMING, q->slot, q->generation, &id, false);
	}
	ipc_done(call);
}

static void wakeup(void)
{
	deferred_kick();
}

static const struct ipc_handler handlers[] = {
	{ IPC_QMGR_NEW, "cleanup", answer_new },
	{ IPC_QMGR_CONTROL, "*", answer_control },
	{ IPC_QMGR_ACTIVE, "*", answer_active },
	{ 0, NULL, NULL },
};

static const struct service qmgr = {
	.name = "qmgr",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd rpath wpath flock",
	/* maildrop: "postsuper -r" hands messages to pickup */
	.queue_dirs = "incoming active deferred hold corrupt pool maildrop",
	.prepare = prepare,
	.start = start,
	.handlers = handlers,
	.wakeup = wakeup,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &qmgr);
}
