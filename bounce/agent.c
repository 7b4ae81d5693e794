/* bounce/agent.c - one result for all recipients of a delivery. */
#include "agent.h"
#include "base/clock.h"
#include "log/log.h"
#include "queue/envelope.h"
#include "service/service.h"
#include "smtp/dlog.h"
#include "smtp/dsn.h"
#include "smtp/dsn_filter.h"
#include "smtp/results.h"
#include <unistd.h>

void agent_split_dsn(struct span nexthop, const char *dsn_default, struct fixed_result *out)
{
	out->dsn = span_str(dsn_default);
	out->reason = nexthop;
	(void)dsn_take(&out->reason, "245", &out->dsn);
}

void agent_prepare(void)
{
	dlog_settings(service_conf());
}

void agent_answer(struct ipc_call *call, const struct deliver *d, const struct fixed_result *result)
{
	struct arena *a = ipc_call_arena(call);
	const struct deliver_rcpt *rcpt = d->rcpts.v;
	struct deliver_result *out = arena_array(a, d->rcpts.n + 1, sizeof(*out));
	struct deliver_reply reply = { .results = { out, d->rcpts.n } };
	struct envelope env = { .arrival_us = 0 };
	int64_t now = wall_now().us;
	bool probe = (d->flags & DELF_VERIFY) != 0;
	uint16_t status = (uint16_t)result->status;
	struct span dsn = result->dsn;
	bool soft = soft_bounce(service_conf(), probe, a, &status, &dsn);
	struct err e;

	if (envelope_decode(d->envelope, a, &env, &e) != RC_OK)
		log_warning("delivery request: %s", e.text);
	for (size_t i = 0; i < d->rcpts.n; i++) {
		struct dlog line = { .qid = env.qid,
				     .rcpt = &rcpt[i],
				     .relay = span_str(result->relay),
				     .dsn = dsn,
				     .reason = result->reason };

		line.times = (struct dlog_times){ .arrival_us = env.arrival_us,
						  .active_us = d->active_us,
						  .handoff_us = now };
		line.status = soft ? SOFTBOUNCE_STATUS : dlog_status((enum deliver_status)status, probe);
		dlog_delivery(&line);
		out[i] = (struct deliver_result){ .index = rcpt[i].index,
						  .status = status,
						  .dsn = dsn,
						  .reason = result->reason,
						  .relay = span_str(result->relay) };
	}
	if (d->fd >= 0)
		close(d->fd);
	results_reply(call, &reply);
}
