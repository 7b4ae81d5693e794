/* resolver.c - resolver(8): the one process that speaks DNS. It has a socket and nothing else: no files, no
 * keys, no mail. */
#include "resolver.h"
#include "base/table.h"
#include "log/log.h"

#define IN_FLIGHT_MAX 2000

/* A question that is on its way; equal ones wait for its end. */
struct flight {
	struct waitq done;
	unsigned waiting;
	bool finished;
	struct cached result;
	struct arena arena; /* the answer */
	char text[512];
};
static struct table *flights;

static void fly(struct flight *f, const struct dns_query *q, struct span key)
{
	struct question question;
	struct err e;
	if (question_make(q->name, q->qtype, setup.trust_ad, &question) != RC_OK) {
		f->result.status = 4;
		snprintf(f->text, sizeof f->text,
			 "Host or domain name not found. Name service error: invalid domain name");
		return;
	}
	enum rc rc = exchange(&question, &f->arena, &f->result.answer, &e);
	if (rc != RC_OK) {
		f->result.status = 3;
		snprintf(f->text, sizeof f->text, "%s", e.text);
		return;
	}
	f->result.status = answer_status(f->result.answer, q->qtype, &f->result.ttl_s);
	f->result.secure = setup.trust_ad && answer_secure(f->result.answer);
	if (f->result.ttl_s > 0)
		cache_put(key, &f->result);
	if (f->result.status == 4)
		snprintf(f->text, sizeof f->text, "malformed answer");
}

static void reply(struct ipc_call *call, const struct cached *c, const char *text)
{
	struct dns_query_reply r = { .status = c->status,
				     .secure = c->secure,
				     .ttl = c->ttl_s,
				     .message = c->status == 0 ? span_dup(ipc_call_arena(call), c->answer)
							       : SPAN(""),
				     .text = span_str(text) };
	ipc_reply(call, &r);
}

static void leave(struct flight *f)
{
	if (--f->waiting > 0)
		return;
	arena_release(&f->arena);
	free(f);
}

static void ask(struct ipc_call *call, const struct dns_query *q, struct span key)
{
	struct flight *f = table_get(flights, key);
	bool first = f == NULL;
	if (first) {
		f = xcalloc(1, sizeof *f);
		waitq_init(&f->done);
		arena_init(&f->arena);
		table_set(flights, key, f);
	}
	f->waiting++;
	if (first) {
		fly(f, q, key);
		f->finished = true;
		table_del(flights, key);
		waitq_wake_all(&f->done);
	} else
		while (!f->finished && waitq_wait(&f->done, DEADLINE_NEVER) == RC_OK)
			;
	reply(call, &f->result, f->text);
	leave(f);
}

static void query(struct ipc_call *call, const void *request)
{
	const struct dns_query *q = request;
	struct arena *a = ipc_call_arena(call);
	struct cached c = { 0 };
	struct span name = q->name;
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	if (q->hosts || q->hosts_first) {
		c.answer = answer_from_hosts(name, q->qtype, a);
		c.status = c.answer.n > 0 ? 0 : 1;
		if (q->hosts || c.status == 0) {
			reply(call, &c, "");
			return;
		}
	}
	struct span key = span_printf(a, "%u/" SPAN_FMT, q->qtype, SPAN_ARG(name));
	char *p = arena_cstr(a, key);
	for (size_t i = 0; i < key.n; i++)
		p[i] = ascii_lower(p[i]);
	key.p = p;
	if (flights == NULL)
		flights = table_new();
	if (cache_get(key, &c)) {
		reply(call, &c, "");
		return;
	}
	if (table_count(flights) >= IN_FLIGHT_MAX) {
		c.status = 3;
		reply(call, &c, "too many questions at once");
		return;
	}
	ask(call, q, key);
}

static const struct ipc_handler handlers[] = {
	{ IPC_DNS_QUERY, "*", query },
	{ 0, NULL, NULL },
};

static const struct service resolver = {
	.name = "resolver",
	.kind = SV_IPC,
	.user = "net_owner",
	.rights = "stdio accept recvfd udp", /* resolver(8) */
	.chroot_empty = true,
	.prepare = setup_read,
	.start = setup_watch,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &resolver);
}
