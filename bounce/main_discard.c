/* bounce/main_discard.c - discard(8): says "sent" and keeps nothing. The next hop is the text for the log. */
#include "agent.h"
#include "service/service.h"

static void answer_deliver(struct ipc_call *call, const void *request)
{
	const struct deliver *d = request;
	struct fixed_result r = {
		.status = DS_SENT, .dsn = SPAN("2.0.0"), .reason = d->nexthop, .relay = "none"
	};

	agent_answer(call, d, &r);
}

static const struct ipc_handler handlers[] = {
	{ IPC_DELIVER, "qmgr local", answer_deliver },
	{ 0, NULL, NULL },
};

static const struct service discard = {
	.name = "discard",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.prepare = agent_prepare,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &discard);
}
