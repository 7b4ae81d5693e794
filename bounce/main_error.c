/* bounce/main_error.c - error(8): every recipient fails with the text that stands in the place of the next
 * hop; as the service "retry" (or with a 4.x.x code in the text) they are deferred instead. */
#include "agent.h"
#include "service/service.h"

static void answer_deliver(struct ipc_call *call, const void *request)
{
	const struct deliver *d = request;
	bool retry = span_is(d->service, "retry");
	struct fixed_result r = { .relay = "none" };

	agent_split_dsn(d->nexthop, retry ? "4.0.0" : "5.0.0", &r);
	if (r.reason.n == 0)
		r.reason = SPAN("mail for this address cannot be delivered");
	r.status = retry || r.dsn.p[0] == '4' ? DS_DEFERRED : DS_BOUNCED;
	agent_answer(call, d, &r);
}

static const struct ipc_handler handlers[] = {
	{ IPC_DELIVER, "qmgr local", answer_deliver },
	{ 0, NULL, NULL },
};

static const struct service error_service = {
	.name = "error",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.prepare = agent_prepare,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &error_service);
}
