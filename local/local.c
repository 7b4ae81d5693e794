/* local/local.c - the list of destinations of one recipient, worked off one after the other, and what comes
 * of it. */
#include "local.h"
#include "log/log.h"
#include "service/service.h"

struct span local_lower(struct arena *a, struct span s)
{
	char *p = arena_cstr(a, s);

	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(p[i]);
	return span_make(p, s.n);
}

struct place *local_place(struct local *l, const struct place *up)
{
	struct place *p = arena_alloc(l->a, sizeof *p);

	*p = *up;
	p->up = up;
	p->alias = SPAN_NONE;
	p->depth = up->depth + 1;
	return p;
}

bool local_seen(struct local *l, const char *what, struct span text)
{
	struct span key = span_printf(l->a, "%s " SPAN_FMT, what, SPAN_ARG(text));

	if (table_get(l->seen, key) != NULL)
		return true;
	if (local_conf.duplicates == 0 || table_count(l->seen) < local_conf.duplicates)
		table_set(l->seen, key, l);
	return false;
}

void local_expanded(struct local *l, struct place *p)
{
	if (p->rcpt.notify & NOTIFY_SUCCESS)
		l->expansion = p->owned ? DS_SENT : DS_EXPANDED;
	p->rcpt.notify = notify_expanded(p->rcpt.notify);
	if (p->owned) /* its members are the list's: section 5.2.7.3 */
		p->rcpt.orcpt = SPAN_NONE;
}

void local_add(struct local *l, const struct place *p, const struct dest *d)
{
	struct outcome o;

	if (l->items >= LOCAL_ITEMS_MAX) {
		if (!local_seen(l, "limit", SPAN_NONE)) {
			outcome_set(&o, DS_DEFERRED, "4.3.5", l->a, "too many destinations");
			local_report(l, p, &o);
		}
		return;
	}
	if (l->items == l->cap)
		l->item = arena_grow(l->a, l->item, l->items, &l->cap, sizeof *l->item);
	l->item[l->items++] = (struct item){ *d, p };
}

/* ---- outcomes ---- */
static unsigned rank(enum deliver_status s)
{
	switch (s) {
	case DS_DEFERRED:
	case DS_SKIPPED:
		return 3;
	case DS_BOUNCED:
		return 2;
	case DS_SENT:
	case DS_RELAYED:
	case DS_EXPANDED:
	case DS_PASSED:
		break;
	}
	return 1;
}

/* What cannot be delivered is told the list's owner, not whoever wrote to the list. False: it could not be
 * told. */
static bool bounce_to_owner(struct local *l, const struct place *p, const struct outcome *o)
{
	struct envelope env = l->m->env;
	struct bounce_rcpt r = { .addr = p->rcpt.addr,
				 .orig = p->rcpt.orig,
				 .orcpt = p->rcpt.orcpt,
				 .notify = p->rcpt.notify,
				 .status = DS_BOUNCED,
				 .dsn = span_str(o->dsn),
				 .reason = o->reason,
				 .diag_type = o->unix.n ? SPAN("x-unix") : SPAN_NONE,
				 .diag_text = o->unix };
	struct bounce_send q = { .kind = BK_FAILURE,
				 .rcpts = { &r, 1 },
				 .content = l->m->d->content,
				 .fd = l->m->d->fd,
				 .extents = l->m->d->extents };
	struct bounce_send_reply reply = { .code = 0 };
	struct buf b;
	struct err e = { .text = "" };

	env.sender = p->sender;
	env.envid = SPAN_NONE; /* the list has sent it: RFC 3461 section 5.2.7.3 */
	env.rcpts.n = 0;
	buf_init(&b, IPC_FRAME_MAX);
	enum rc rc = envelope_encode(&env, &b);
	q.envelope = buf_span(&b);
	if (rc == RC_OK)
		rc = service_request(conf_str(service_conf(), "bounce_service_name"), false, IPC_BOUNCE_SEND,
				     &q, &reply, l->a, deadline_s(100), &e);
	buf_release(&b);
	return rc == RC_OK && reply.code == 0;
}

void local_report(struct local *l, const struct place *p, const struct outcome *unfiltered)
{
	struct outcome filtered = agent_filtered(l->m, unfiltered), *o = &filtered, mine = filtered;
	struct dlog line = { .qid = l->m->env.qid,
			     .rcpt = &p->rcpt,
			     .times = l->m->times,
			     .relay = o->relay.n ? o->relay : l->m->d->service,
			     .dsn = span_str(o->dsn),
			     .status = agent_status(l->m, o),
			     .reason = o->reason };

	if (!o->unlogged)
		dlog_delivery(&line);
	if (o->status == DS_BOUNCED && p->owned && !agent_probe(l->m) && bounce_to_owner(l, p, o))
		mine.status = DS_SENT;
	mine.unlogged = true;
	if (!l->any || rank(mine.status) > rank(l->worst.status))
		l->worst = mine;
	l->any = true;
}

/* ---- destinations ---- */
static void restricted(struct local *l, const struct place *p, const char *what)
{
	struct outcome o;

	outcome_set(&o, DS_BOUNCED, "5.7.1", l->a, "mail to %s is restricted", what);
	local_report(l, p, &o);
}

static void address(struct local *l, const struct place *p, const struct dest *d)
{
	struct span addr = SPAN_NONE;
	struct err e = { .text = "" };
	struct outcome o;
	bool ours = false;
	enum rc rc = local_resolve(l, p, d->text, &addr, &ours, &e);

	if (rc != RC_OK) {
		log_warning("%s", e.text);
		outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "address resolver failure");
		local_report(l, p, &o);
	} else if (ours) {
		struct place *q = local_place(l, p);
		q->rcpt.addr = addr;
		if (q->rcpt.orig.n == 0)
			q->rcpt.orig = p->rcpt.addr;
		q->from = 0;
		q->as = NULL;
		/* Met again inside its own alias, it means the mailbox: not the same as the first time. */
		if (!local_seen(l,
				q->up->alias.n ? arena_cstr(l->a, q->up->alias)
				: d->plain     ? "\\"
					       : "rcpt",
				local_lower(l->a, addr)))
			local_recipient(l, q, d->plain);
	} else if (!local_seen(l, "forward", local_lower(l->a, addr))) {
		local_forward(l, p, addr);
	}
}

static void work_off(struct local *l, const struct item *it)
{
	const struct place *p = it->place;

	switch (it->dest.kind) {
	case DEST_ADDRESS:
		address(l, p, &it->dest);
		return;
	case DEST_COMMAND:
		if ((p->from & ~local_conf.commands_from) != 0)
			restricted(l, p, "command");
		else
			local_command(l, p, it->dest.text, p->as);
		return;
	case DEST_FILE:
		if ((p->from & ~local_conf.files_from) != 0)
			restricted(l, p, "file");
		else
			local_file(l, p, it->dest.text);
		return;
	case DEST_INCLUDE:
		local_include(l, p, it->dest.text);
		return;
	}
}

static void expand_all(struct local *l)
{
	while (l->next < l->items) {
		struct item it = l->item[l->next++];

		work_off(l, &it);
	}
}

void local_deliver_recipient(struct agent *m, size_t i)
{
	struct local *l = arena_alloc(m->a, sizeof *l);
	struct place *p = arena_alloc(m->a, sizeof *p);
	struct err e = { .text = "" };
	struct outcome o;

	*l = (struct local){ .m = m, .i = i, .a = m->a };
	*p = (struct place){ .rcpt = *agent_rcpt(m, i), .sender = m->env.sender };
	l->seen = table_new();
	if (agent_header(m, &l->header, &e) != RC_OK) {
		log_warning("%s", e.text);
		outcome_set(&o, DS_DEFERRED, "4.3.0", m->a, "message content cannot be read");
		local_report(l, p, &o);
	} else {
		(void)local_seen(l, "rcpt", local_lower(l->a, p->rcpt.addr));
		local_recipient(l, p, false);
		expand_all(l);
		local_forward_finish(l, l->any && rank(l->worst.status) == 3);
	}
	if (!l->any) {
		/* nothing but what was met before */
		outcome_set(&o, DS_BOUNCED, "5.4.6", m->a, "alias database loop for " SPAN_FMT,
			    SPAN_ARG(p->rcpt.addr));
		local_report(l, p, &o);
	}
	table_free(&l->seen, NULL);
	l->worst.expansion = l->expansion;
	agent_result(m, i, &l->worst);
}
