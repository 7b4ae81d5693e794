/* qmgr/message.c - a message in the active set: read it, ask router where each recipient goes, hand the
 * recipients to destinations. */
#include "qmgr.h"
#include "log/event.h"
#include "log/log.h"
#include "mime/address.h"
#include "queue/postfix_file.h"
#include "queue/verp.h"
#include "service/service.h"
#include "smtp/dlog.h"
#include "mime/address_log.h"
#include <unistd.h>

struct list active_messages = { &active_messages, &active_messages };
size_t active_count;
size_t active_rcpts;
static size_t extra_rcpts;   /* of those that came in beyond the limit */
static struct table *active; /* id -> struct message */

struct message *message_find(struct span id)
{
	return active ? table_get(active, id) : NULL;
}

int64_t message_since_us(const struct message *m)
{
	int64_t made = m->im.env.flags & ENVF_RESUBMITTED ? qid_made_us(&m->id, wall_now().us) : 0;

	return made > m->im.env.arrival_us ? made : m->im.env.arrival_us;
}

void message_log_result(const struct message *m, uint32_t rcpt, const struct qstatus *why, const char *status)
{
	const struct env_rcpt *r = envelope_rcpt(&m->im.env, rcpt);
	const struct deliver_rcpt to = { rcpt, r->addr, r->orig, r->orcpt, r->notify };
	int64_t now = wall_now().us;

	dlog_delivery(&(struct dlog){
	    .qid = qid_span(&m->id),
	    .rcpt = &to,
	    .times = { .arrival_us = m->im.env.arrival_us,
		       .active_us = m->active_us,
		       .handoff_us = now,
		       .done_us = now },
	    .relay = SPAN("none"),
	    .dsn = why->dsn,
	    .status =
		status != NULL ? status : dlog_status((enum deliver_status)why->status, message_is_probe(m)),
	    .reason = why->reason });
}

bool message_is_probe(const struct message *m)
{
	return m->im.env.flags & (ENVF_VERIFY_ONLY | ENVF_PROBE);
}

bool active_has_room_for_many(void)
{
	return (int64_t)active_rcpts < qmgr_conf.rcpt_max;
}

bool active_has_room(void)
{
	return (int64_t)active_count < qmgr_conf.active_max &&
	       (active_has_room_for_many() || (int64_t)extra_rcpts < qmgr_conf.rcpt_extra);
}

/* A single message may have more recipients than the limit. Beyond that a mailing list must not keep everybody waiting for as long as
 * its deliveries take: what has few recipients still comes in. What is only told something delivers nothing. */
static bool take_room(struct message *m)
{
	size_t n = m->im.env.rcpts.n;

	m->part = &active_rcpts;
	if (!active_has_room_for_many() && !m->told && m->end == END_NORMAL && !m->order_expire) {
		if ((int64_t)n > qmgr_conf.rcpt_min || (int64_t)extra_rcpts >= qmgr_conf.rcpt_extra)
			return false;
		m->part = &extra_rcpts;
	}
	m->counted = n;
	*m->part += n;
	return true;
}

struct span message_verp_sender(const struct message *m, uint32_t rcpt, struct arena *a)
{
	const struct env_rcpt *r = envelope_rcpt(&m->im.env, rcpt);

	/* as the list knows the recipient: before aliases and rewriting */
	return verp_sender(m->im.env.sender, m->im.env.verp, r->orig.n > 0 ? r->orig : r->addr, a);
}

void message_free(struct message *m)
{
	if (m->counted > 0)
		*m->part -= m->counted;
	list_del(&m->link);
	table_del(active, qid_span(&m->id));
	active_count--;
	arena_release(&m->arena);
	free(m);
}

/* ---- reading ---- */
struct read_job {
	struct message *m;
	enum rc rc;
	struct err e;
};

static void read_image(void *arg)
{
	struct read_job *j = arg;
	struct message *m = j->m;
	struct slot_pos pos;
	int fd = -1;

	if (m->where == QW_SLOT) {
		pos = queue_slot(queue, m->slot);
		j->rc = qimage_read(pos.fd, pos.base, pos.bytes, true, &m->arena, &m->im, &j->e);
		return;
	}
	j->rc = queue_file_open(queue, &m->id, m->where, false, &fd, &j->e);
	if (j->rc != RC_OK)
		return;
	j->rc = qimage_read(fd, 0, UINT64_MAX, false, &m->arena, &m->im, &j->e);
	if (j->rc == RC_SYNTAX && postfix_file_is(fd)) /* no damage: takeover.c tries again */
		j->rc = err_set(&j->e, RC_AGAIN, "a queue file of Postfix, not taken over yet");
	close(fd);
}

static void read_failed(struct message *m, const struct read_job *j)
{
	struct err e;

	if (j->rc == RC_NOTFOUND || j->rc == RC_GONE) {
		;						/* removed by an operator, or done already */
	} else if (j->rc == RC_SYNTAX && m->where == QW_SLOT) { /* cleanup clears it away when it starts */
		log_warning("%s: damaged queue slot %u: %s", m->id.s, m->slot, j->e.text);
	} else if (j->rc == RC_SYNTAX) {
		log_warning("%s: damaged queue file: %s: moved to corrupt", m->id.s, j->e.text);
		if (queue_file_corrupt(queue, m->id.s, m->where, &e) != RC_OK)
			log_warning("%s: %s", m->id.s, e.text);
	} else {
		log_warning("%s: %s: will try again", m->id.s, j->e.text);
		incoming_again(m->where, m->slot, m->generation, &m->id);
	}
	message_free(m);
	incoming_refill();
}

/* ---- routing ---- */
static bool is_deferred_transport(struct span transport)
{
	struct span rest = span_str(qmgr_conf.defer_transports), w;

	while (span_next_word(&rest, ", \t\r\n", &w))
		if (span_eq(w, transport))
			return true;
	return false;
}

/* content_filter = transport:nexthop wins over where the recipient belongs, so nobody has to find that out; what the address may hold
 * of a route is for who gets the mail back from the filter. A probe asks where the recipient belongs. */
static bool by_filter(const struct message *m, struct span addr, struct router_resolve_reply *to)
{
	struct span filter = m->im.env.content_filter;
	ptrdiff_t colon = span_chr(filter, ':');
	struct span nexthop = colon < 0 ? SPAN_NONE : span_skip(filter, (size_t)colon + 1);

	if (filter.n == 0 || message_is_probe(m))
		return false;
	if (nexthop.n == 0)
		nexthop = span_str(qmgr_conf.filter_nexthop);
	*to =
	    (struct router_resolve_reply){ .transport = colon < 0 ? filter : span_head(filter, (size_t)colon),
					   .nexthop = nexthop.n ? nexthop : address_split(addr).domain,
					   .rcpt = addr };
	return true;
}

/* Recipients that are not sent where they belong: programs behind a transport could take "-x" for an option;
 * some transports wait for a flush. */
static void divert(const struct message *m, struct router_resolve_reply *to)
{
	if (!qmgr_conf.min_user && to->rcpt.n > 0 && to->rcpt.p[0] == '-') {
		to->transport = span_str(conf_str(service_conf(), "error_service_name"));
		to->nexthop = SPAN("5.1.3 bad address syntax");
	} else if (!m->flushed && *qmgr_conf.defer_transports && is_deferred_transport(to->transport)) {
		to->transport = SPAN("retry");
		to->nexthop = SPAN("4.3.2 deferred transport");
	}
}

static void defer_unresolved(struct message *m, uint32_t i, struct span reason)
{
	struct qstatus why = { .index = i, .status = DS_DEFERRED, .dsn = SPAN("4.3.0"), .reason = reason };

	message_log_result(m, i, &why, NULL);
	message_settle(m, i, RUN_DEFERRED, &why);
}

static void take_route(struct message *m, uint32_t i, struct router_resolve_reply *to)
{
	struct env_rcpt *r = envelope_rcpt(&m->im.env, i);

	divert(m, to);
	if (!span_eq(to->rcpt, r->addr)) {
		if (r->orig.n == 0) /* the log and reports say what was asked for */
			r->orig = r->addr;
		r->addr = span_dup(&m->arena, to->rcpt);
	}
	dest_enqueue(m, i, to->transport, to->nexthop);
}

/* Errors of router leave the recipient deferred, never lost. False: it gave no answer within its time. */
static bool route_recipient(struct message *m, uint32_t i)
{
	struct env_rcpt *r = envelope_rcpt(&m->im.env, i);
	struct router_resolve q = { .sender = m->im.env.sender,
				    .addr = r->addr,
				    .probe = (m->im.env.flags & ENVF_PROBE) != 0 };
	struct router_resolve_reply a = { .code = 0 };
	struct arena tmp;
	struct err e;
	enum rc rc = RC_OK;

	arena_init(&tmp);
	if (!by_filter(m, r->addr, &a))
		rc = service_request(conf_str(service_conf(), "rewrite_service_name"), true,
				     IPC_ROUTER_RESOLVE, &q, &a, &tmp, deadline_s(qmgr_conf.ipc_timeout_s),
				     &e);
	if (rc == RC_OK && a.code == 0)
		take_route(m, i, &a);
	else if (rc == RC_OK)
		defer_unresolved(m, i, a.text);
	arena_release(&tmp);
	return rc == RC_OK;
}

/* When router does not answer for one, the others are not asked for: each would wait as long. */
static void route_recipients(struct message *m)
{
	bool answers = true;

	for (uint32_t i = 0; i < m->im.env.rcpts.n; i++) {
		if (m->run[i] != RUN_QUEUED)
			continue;
		answers = answers && route_recipient(m, i);
		if (!answers)
			defer_unresolved(m, i, SPAN("address resolver failure"));
	}
}

/* With all recipients that it ever had, as log readers know it. */
static void log_active(const struct message *m)
{
	struct span from = address_log(m->im.env.sender);
	size_t n = 0;

	for (size_t i = 0; i < m->im.env.rcpts.n; i++)
		n += !(envelope_rcpt(&m->im.env, i)->notify & NOTIFY_ALIAS);
	log_info("%s: from=<" SPAN_FMT ">, size=%llu, nrcpt=%zu (queue active)", m->id.s, SPAN_ARG(from),
		 (unsigned long long)m->im.env.size, n);
	EVENT("queued", EV_TEXT("queue_id", qid_span(&m->id)), EV_TEXT("sender", m->im.env.sender),
	      EV_NUMBER("size", m->im.env.size), EV_NUMBER("recipients", n));
}

static void keep_status(struct message *m, uint32_t rcpt, const struct qstatus *why)
{
	struct qstatus *s = &m->status[rcpt];

	s->index = rcpt;
	s->status = why->status;
	s->dsn = span_dup(&m->arena, why->dsn);
	s->reason = span_dup(&m->arena, span_head(why->reason, ENV_TEXT_MAX));
	s->diag_type = span_dup(&m->arena, why->diag_type);
	s->diag_text = span_dup(&m->arena, span_head(why->diag_text, ENV_TEXT_MAX));
	s->remote_mta = span_dup(&m->arena, why->remote_mta);
}

/* An operator wants it out of the way: every recipient is left for later, and the end of the pass does the
 * rest. */
static void told_all(struct message *m)
{
	const struct qstatus why = { .status = DS_DEFERRED,
				     .dsn = SPAN("4.4.7"),
				     .reason = SPAN("expired before a delivery was tried") };

	for (uint32_t i = 0; i < m->im.env.rcpts.n; i++)
		if (m->run[i] == RUN_QUEUED) {
			m->run[i] = RUN_DEFERRED;
			if (m->order_expire) /* what the bounce says */
				keep_status(m, i, &why);
		}
	message_finish(m);
}

/* A probe of an address that stands for several finds it deliverable: each of them is probed by who asks for it. */
static void stands_for_several(struct message *m)
{
	struct env_rcpt *r = envelope_rcpt(&m->im.env, 0);
	const struct qstatus why = { .status = DS_SENT,
				     .dsn = SPAN("2.0.0"),
				     .reason = SPAN("aliased to multiple recipients") };

	if (r->orig.n > 0)
		r->addr = r->orig;
	r->orig = SPAN_NONE;
	message_log_result(m, 0, &why, NULL);
	for (size_t i = 0; i < m->im.env.rcpts.n; i++)
		m->run[i] = RUN_DONE;
	m->unsettled = 1;
	message_settle(m, 0, RUN_DONE, &why);
}

#define DELIVER_RCPTS	1000	    /* ipc/proto.c */
#define DELIVER_BESIDES (40 * 1024) /* envelope without recipients, extents */
#define DELIVER_CONTENT (64 * 1024) /* what is longer goes as a file */

/* How many of the recipients a record holds, whichever they are, with the content of a small message; an address may be
 * exchanged on its way, and is kept then. */
static size_t fit_record(const struct message *m)
{
	size_t content = m->im.content_bytes <= DELIVER_CONTENT ? (size_t)m->im.content_bytes : 0;
	size_t room = IPC_FRAME_MAX - DELIVER_BESIDES - content, longest = room / DELIVER_RCPTS;

	for (size_t i = 0; i < m->im.env.rcpts.n; i++) {
		const struct env_rcpt *r = envelope_rcpt(&m->im.env, i);
		size_t bytes = 32 + r->addr.n + (r->orig.n > 0 ? r->orig.n : r->addr.n) + r->orcpt.n;

		longest = bytes > longest ? bytes : longest;
	}
	return room / longest;
}

static void route_all(struct message *m)
{
	size_t n = m->im.env.rcpts.n, todo = 0;

	m->at_once = fit_record(m);
	m->run = arena_array(&m->arena, n + 1, 1);
	m->passed = arena_array(&m->arena, n + 1, 1);
	m->status = arena_array(&m->arena, n + 1, sizeof(*m->status));
	m->ended = arena_array(&m->arena, n + 1, sizeof(*m->ended));
	for (size_t i = 0; i < n; i++) {
		const struct env_rcpt *r = envelope_rcpt(&m->im.env, i);

		m->run[i] = r->state == RCPT_DONE ? RUN_DONE : RUN_QUEUED;
		if ((r->notify & NOTIFY_ALIAS) &&
		    m->im.attempts == 0) /* by cleanup(8); the first pass reports it */
			m->ended[i].expansion = DS_EXPANDED;
		todo += m->run[i] == RUN_QUEUED;
	}
	if (m->told) {
		told_all(m);
		return;
	}
	log_active(m);
	if ((m->im.env.flags & ENVF_PROBE) && n > 1) {
		stands_for_several(m);
		return;
	}
	m->unsettled = todo + 1; /* one more while we route: nothing finishes under our feet */
	m->routing = true;
	route_recipients(m);
	m->routing = false;
	schedule_routed(m);
	dest_kick_all();
	if (--m->unsettled == 0)
		message_finish(m);
}

static void message_task(void *arg)
{
	struct message *m = arg;
	struct read_job j = { .m = m, .rc = RC_OK };

	if (m->where == QW_SLOT)
		read_image(&j); /* page cache: no need for another thread */
	else
		task_offload(read_image, &j);
	if (j.rc == RC_OK && m->where == QW_SLOT && !span_eq(qid_span(&m->im.qid), qid_span(&m->id)))
		j.rc = RC_GONE; /* the slot was used again */
	incoming_was_read(m);
	if (j.rc != RC_OK) {
		read_failed(m, &j);
	} else if (!take_room(m)) {
		incoming_postpone(m);
		message_free(m);
		incoming_refill();
	} else {
		m->active_us = wall_now().us;
		route_all(m);
	}
	service_unhold();
}

struct message *message_start(enum queue_where where, uint32_t slot, uint32_t generation,
			      const struct qid *id)
{
	struct message *m = xcalloc(1, sizeof(*m));

	m->id = *id;
	m->where = where;
	m->slot = slot;
	m->generation = generation;
	arena_init(&m->arena);
	list_init(&m->jobs);
	list_add_tail(&active_messages, &m->link);
	active_count++;
	if (!active)
		active = table_new();
	table_set(active, qid_span(id), m);
	service_hold();
	task_spawn(message_task, m);
	return m;
}

/* What became of a recipient that is done matters only to reports of success, and to verify(8). */
static bool reports_success(const struct message *m, uint32_t rcpt)
{
	return (m->im.env.flags & (ENVF_TRACE | ENVF_PROBE)) ||
	       (qmgr_conf.delay_cleared && (m->im.env.flags & ENVF_WARNED)) ||
	       (envelope_rcpt(&m->im.env, rcpt)->notify & NOTIFY_SUCCESS);
}

void message_note(struct message *m, uint32_t rcpt, const struct deliver_result *r)
{
	m->ended[rcpt].expansion = r->expansion;
	if (reports_success(m, rcpt))
		m->ended[rcpt].relay = span_dup(&m->arena, r->relay);
}

void message_settle(struct message *m, uint32_t rcpt, enum run_state state, const struct qstatus *why)
{
	INVARIANT(m->unsettled > 0);
	m->run[rcpt] = (uint8_t)state;
	if (why && (state != RUN_DONE || reports_success(m, rcpt)))
		keep_status(m, rcpt, why);
	if (why && state == RUN_DONE)
		m->ended[rcpt].status = why->status;
	if (--m->unsettled == 0)
		message_finish(m);
}
