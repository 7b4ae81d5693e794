/* bounce/main_verify.c - verify(8): can mail be delivered to this address? What is not known is found out
 * with a probe: a message that goes the way of all mail up to the point where an agent would deliver it.
 * qmgr(8) tells how it ended. What is known is in memory, and in address_verify_map for the time after this process.
 */
#include "base/list.h"
#include "base/table.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "queue/envelope.h"
#include "queue/qid.h"
#include "service/service.h"
#include "smtp/probe_sender.h"
#include "verify_cache.h"

#define ENTRIES_MAX                                                                                          \
	20000		/* the one that changed longest ago makes room: a flood costs probes, not memory     \
			 */
#define TEXT_KEPT  250	/* of the reason: more does not fit a reply */
#define PROBE_LOST 1000 /* seconds after which a probe without result is taken for lost */

struct entry {
	struct list link; /* by the time of the last change, oldest first */
	struct span addr; /* lower case */
	int64_t since;	  /* when the status was found, wall clock in seconds: the machine may sleep */
	int64_t probed;	  /* when the probe left that has no result yet; 0: none */
	uint16_t status;
	size_t text_n;
	char text[TEXT_KEPT];
	char bytes[]; /* of addr */
};

static struct list entries = { &entries, &entries };
static struct table *by_addr;
static size_t probes; /* entries with `probed` */
static bool keep_bad;
static int64_t good_life, good_refresh, bad_life, bad_refresh, probes_max;

/* ---- what is known ---- */

static void set_probed(struct entry *en, int64_t when)
{
	probes += (when != 0) - (en->probed != 0);
	en->probed = when;
}

static void forget(struct entry *en)
{
	set_probed(en, 0);
	list_del(&en->link);
	table_del(by_addr, en->addr);
	free(en);
}

static void changed(struct entry *en)
{
	list_del(&en->link);
	list_add_tail(&entries, &en->link);
}

static struct entry *make_entry(struct span addr)
{
	struct entry *en = xcalloc(1, sizeof(*en) + addr.n);

	if (table_count(by_addr) >= ENTRIES_MAX)
		forget(LIST_ENTRY(list_first(&entries), struct entry, link));
	if (addr.n > 0)
		memcpy(en->bytes, addr.p, addr.n);
	en->addr = span_make(en->bytes, addr.n);
	en->status = UNKNOWN;
	list_add_tail(&entries, &en->link);
	table_set(by_addr, en->addr, en);
	return en;
}

static struct span fold(struct arena *a, struct span addr)
{
	char *p = arena_alloc(a, addr.n + 1);

	for (size_t i = 0; i < addr.n; i++)
		p[i] = ascii_lower(addr.p[i]);
	return span_make(p, addr.n);
}

static int64_t life(const struct entry *en)
{
	return en->status == DELIVERABLE ? good_life : bad_life;
}

/* From the table: what an earlier process found out. Others may have made the entry while we waited. */
static struct entry *recall(struct span key, struct arena *a)
{
	struct known k;
	struct entry *en;

	if (!verify_cache_used() || !verify_cache_get(key, a, &k))
		return table_get(by_addr, key);
	if ((en = table_get(by_addr, key)) != NULL)
		return en;
	en = make_entry(key);
	en->status = k.status;
	en->since = k.updated;
	en->text_n = k.text.n < TEXT_KEPT ? k.text.n : TEXT_KEPT;
	if (en->text_n > 0)
		memcpy(en->text, k.text.p, en->text_n);
	return en;
}

static void remember(const struct entry *en, struct arena *a)
{
	struct known k = { en->status, en->since, span_dup(a, span_make(en->text, en->text_n)) };

	if (verify_cache_used() && (keep_bad || en->status == DELIVERABLE))
		verify_cache_put(span_dup(a, en->addr), &k, a);
}

static bool too_old(const struct known *k, int64_t now)
{
	return now - k->updated >= (k->status == DELIVERABLE ? good_life : bad_life);
}

static void clean_task(void *unused)
{
	(void)unused;
	verify_cache_clean(too_old);
}

static void start(void)
{
	task_spawn(clean_task, NULL);
}

/* What is too old to be told is not known. */
static void expire(struct entry *en, int64_t now)
{
	if (en->status != UNKNOWN && now - en->since >= life(en)) {
		en->status = UNKNOWN;
		en->text_n = 0;
	}
	if (en->probed != 0 && (now - en->probed >= PROBE_LOST || now < en->probed))
		set_probed(en, 0);
}

/* ---- probes ---- */

static enum rc submit(struct span addr, struct arena *a, struct err *e)
{
	struct qid id = qid_new(service_lane());
	struct env_rcpt rcpt = { .addr = addr, .orig = addr, .notify = NOTIFY_NEVER };
	struct span sender = probe_sender(service_conf(), wall_s(wall_now()), a);
	struct span content = span_printf(a, "From: <" SPAN_FMT ">\nTo: <" SPAN_FMT ">\nSubject: probe\n\n",
					  SPAN_ARG(sender), SPAN_ARG(addr));
	struct envelope env = { .qid = qid_span(&id),
				.arrival_us = wall_now().us,
				.sender = sender,
				.flags = ENVF_PROBE | ENVF_NO_HEADERBODY | ENVF_NO_MILTERS,
				.size = content.n,
				.rcpts = { &rcpt, 1 } };
	struct cleanup_submit q = { .content = content };
	struct cleanup_submit_reply r = { .code = 451 };
	struct buf b;
	enum rc rc;

	for (size_t i = 0; i < addr.n; i++)
		if ((unsigned char)addr.p[i] >= 0x80) /* RFC 6531 */
			env.flags |= ENVF_SMTPUTF8;
	buf_init(&b, IPC_FRAME_MAX);
	rc = envelope_encode(&env, &b);
	q.envelope = buf_span(&b);
	if (rc == RC_OK)
		rc = service_request(conf_str(service_conf(), "cleanup_service_name"), false,
				     IPC_CLEANUP_SUBMIT, &q, &r, a, deadline_s(100), e);
	else
		(void)err_set(e, rc, "the envelope is too large");
	buf_release(&b);
	if (rc == RC_OK && r.code != 0)
		rc = err_set(e, RC_DENIED, SPAN_FMT, SPAN_ARG(r.text));
	return rc;
}

static void probe_task(void *arg)
{
	struct span *addr = arg;
	struct arena a;
	struct err e = { .text = "" };

	arena_init(&a);
	if (submit(*addr, &a, &e) != RC_OK) {
		struct entry *en = table_get(by_addr, fold(&a, *addr));

		log_warning("probe of <" SPAN_FMT ">: %s", SPAN_ARG(*addr), e.text);
		if (en != NULL)
			set_probed(en, 0); /* the next question tries again */
	}
	arena_release(&a);
	free(addr);
	service_unhold();
}

static void forget_lost(int64_t now)
{
	LIST_EACH_SAFE(l, &entries)
	{
		struct entry *en = LIST_ENTRY(l, struct entry, link);

		expire(en, now);
		if (en->status == UNKNOWN && en->probed == 0)
			forget(en);
	}
}

/* No more at a time than address_verify_pending_request_limit: who asks for more is told "not known yet". */
static bool room_for_probe(int64_t now)
{
	static int64_t swept;

	if (probes_max > 0 && (int64_t)probes >= probes_max && now - swept >= 60) {
		swept = now;
		forget_lost(now);
	}
	return probes_max == 0 || (int64_t)probes < probes_max;
}

static void send_probe(struct entry *en, struct span addr, int64_t now)
{
	struct span *copy = xcalloc(1, sizeof(*copy) + addr.n + 1);
	char *bytes = (char *)(copy + 1);

	if (addr.n > 0)
		memcpy(bytes, addr.p, addr.n);
	*copy = span_make(bytes, addr.n);
	set_probed(en, now);
	changed(en);
	service_hold();
	task_spawn(probe_task, copy);
}

/* ---- requests ---- */

static bool wants_probe(const struct entry *en, int64_t now)
{
	if (en->probed != 0)
		return false;
	return en->status == UNKNOWN ||
	       now - en->since >= (en->status == DELIVERABLE ? good_refresh : bad_refresh);
}

static void answer_query(struct ipc_call *call, const void *request)
{
	const struct verify_query *q = request;
	struct arena *a = ipc_call_arena(call);
	struct verify_reply r = { .status = UNKNOWN, .text = SPAN("Address verification in progress") };
	struct span key = fold(a, q->addr);
	struct entry *en = table_get(by_addr, key);
	int64_t now = wall_s(wall_now());
	bool room;

	if (en == NULL)
		en = recall(key, a);
	if (en != NULL)
		expire(en, now);
	room = (en != NULL && !wants_probe(en, now)) || room_for_probe(now);
	en = table_get(by_addr, key); /* room may have been made of it */
	if (en == NULL && room)
		en = make_entry(key);
	if (en != NULL && room && wants_probe(en, now))
		send_probe(en, q->addr, now);
	if (en != NULL && en->status != UNKNOWN) {
		r.status = en->status;
		r.text = span_dup(a, span_make(en->text, en->text_n));
		if (!keep_bad && en->status != DELIVERABLE)
			forget(en); /* told once */
	}
	ipc_reply(call, &r);
}

static void answer_result(struct ipc_call *call, const void *request)
{
	const struct verify_result *q = request;
	struct arena *a = ipc_call_arena(call);
	struct span key = fold(a, q->addr);
	struct entry *en = table_get(by_addr, key) ? table_get(by_addr, key) : recall(key, a);
	int64_t now = wall_s(wall_now());

	if (q->status > TROUBLE) {
		log_warning("a result with the unknown status %u", q->status);
	} else {
		if (en == NULL)
			en = make_entry(key);
		set_probed(en, 0);
		expire(en, now);
		/* One failure does not take back a success that is still good: it is asked again later. */
		if (en->status != DELIVERABLE || q->status == DELIVERABLE) {
			en->status = q->status;
			en->since = now;
			en->text_n = q->text.n < TEXT_KEPT ? q->text.n : TEXT_KEPT;
			if (en->text_n > 0)
				memcpy(en->text, q->text.p, en->text_n);
			changed(en);
			remember(en, a); /* others may forget the entry while we wait: not used after this */
		} else {
			changed(en);
		}
	}
	ipc_done(call);
}

/* ---- the process ---- */

static void prepare(void)
{
	const struct conf *c = service_conf();

	keep_bad = conf_bool(c, "address_verify_negative_cache");
	good_life = conf_int(c, "address_verify_positive_expire_time");
	good_refresh = conf_int(c, "address_verify_positive_refresh_time");
	bad_life = conf_int(c, "address_verify_negative_expire_time");
	bad_refresh = conf_int(c, "address_verify_negative_refresh_time");
	probes_max = conf_int(c, "address_verify_pending_request_limit");
	qid_configure(c);
	by_addr = table_new();
	verify_cache_prepare();
}

static const struct ipc_handler handlers[] = {
	{ IPC_VERIFY, "smtpd lmtpd", answer_query },
	{ IPC_VERIFY_RESULT, "qmgr", answer_result },
	{ 0, NULL, NULL },
};

static const struct service verify = {
	.name = "verify",
	.kind = SV_IPC,
	.user = "aux_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.prepare = prepare,
	.start = start,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &verify);
}
