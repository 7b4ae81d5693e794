/* smtp/results.c - what is said of many recipients in one record (results.h). */
#include "smtp/results.h"

#define ROOM	(IPC_FRAME_MAX - 8 * 1024)
#define FIXED	40   /* of a result: numbers and lengths */
#define LONGEST 1024 /* of a text: ipc/proto.c */
#define LEAST	16

static size_t bytes(const struct deliver_reply *r)
{
	const struct deliver_result *v = r->results.v;
	size_t sum = 0;

	for (size_t i = 0; i < r->results.n; i++)
		sum += FIXED + v[i].dsn.n + v[i].diag_type.n + v[i].reason.n + v[i].diag_text.n +
		       v[i].remote_mta.n + v[i].relay.n;
	return sum;
}

static void cut(struct deliver_reply *r, size_t most)
{
	struct deliver_result *v = r->results.v;

	for (size_t i = 0; i < r->results.n; i++) {
		v[i].reason = span_head(v[i].reason, most);
		v[i].diag_text = span_head(v[i].diag_text, most);
		v[i].remote_mta = span_head(v[i].remote_mta, most);
		if (v[i].status != DS_SKIPPED) /* there it is no text: it says who is next */
			v[i].relay = span_head(v[i].relay, most);
	}
}

void results_reply(struct ipc_call *call, struct deliver_reply *r)
{
	cut(r, LONGEST);
	for (size_t most = LONGEST / 2; most >= LEAST && bytes(r) > ROOM; most /= 2)
		cut(r, most);
	ipc_reply(call, r);
}
