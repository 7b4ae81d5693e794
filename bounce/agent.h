/* bounce/agent.h - delivery agents that give every recipient the same result: error(8), retry, discard(8). */
#ifndef BOUNCE_AGENT_H
#define BOUNCE_AGENT_H

#include "ipc/proto.h"

struct fixed_result {
	enum deliver_status status;
	struct span dsn, reason;
	const char *relay;
};
/* What these services read of main.cf. */
void agent_prepare(void);
/* Logs a line per recipient, replies, closes what came with the request. Frees the call. */
void agent_answer(struct ipc_call *call, const struct deliver *d, const struct fixed_result *result);
/* "5.1.1 User unknown" -> dsn and text; a text without code gets `dsn_default`. */
void agent_split_dsn(struct span nexthop, const char *dsn_default, struct fixed_result *out);

#endif
