/* bounce/main_error.c - error(8): every recipient fails with the text that stands in the place of the next
 * hop; as the service "retry" they are deferred instead. */
#include "agent.h"
#include "log/log.h"
#include "service/service.h"

static void answer_deliver(struct ipc_call *call, const void *request)
{
	const struct deliver *d = request;
	bool retry = span_is(d->service, "retry");
	const char *usual = retry ? "4.0.0" : "5.0.0";
	struct fixed_result r = { .relay = "none", .status = retry ? DS_DEFERRED : DS_BOUNCED };

	agent_split_dsn(d->nexthop, usual, &r);
	if (r.dsn.p[0] != usual[0]) {
		log_warning("status " SPAN_FMT " in \"" SPAN_FMT "\" is not one of %s: taken for %s",
			    SPAN_ARG(r.dsn), SPAN_ARG(span_head(d->nexthop, 200)), retry ? "retry" : "error",
			    usual);
		r.dsn = span_str(usual);
	}
	if (r.reason.n == 0)
		r.reason = SPAN("mail for this address cannot be delivered");
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
