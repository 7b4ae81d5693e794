/* qmgr/deliver.c - one delivery: message and recipients to an agent, its answer to the recipients' states. */
#include "qmgr.h"
#include "log/log.h"
#include "service/service.h"
#include "smtp/dsn_filter.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define AGENT_TRIES   5 /* an agent that is not there is asked so often, then the mail is deferred */
#define AGENT_DEATHS  2 /* one that ends under us: it may have delivered, and not all see that they did */
#define AGENT_WAIT_MS 300

struct content_job {
	const struct message *m;
	struct deliver *d;
	char *bytes; /* of a slot */
	enum rc rc;
	struct err e;
};

/* A copy that nobody can change, at the offset that the extents count from. */
static enum rc sealed_copy(const struct slot_pos *pos, size_t bytes, int *fd, struct err *e)
{
	off_t from = pos->base + QFILE_CONTENT_OFF;
	ssize_t n = 1;

	*fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0 || lseek(*fd, QFILE_CONTENT_OFF, SEEK_SET) < 0)
		return err_sys(e, "copy of the message");
	for (; bytes > 0 && n > 0; bytes -= n > 0 ? (size_t)n : 0)
		n = sendfile(*fd, pos->fd, &from, bytes);
	if (bytes > 0 ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
		return err_sys(e, "copy of the message");
	return RC_OK;
}

/* Small: the content's bytes from the slot. From a large slot: a copy in memory, since no agent may hold a
 * descriptor of a slot. From a file: its descriptor, read-only. With the extents. */
static void open_content(void *arg)
{
	struct content_job *j = arg;
	const struct message *m = j->m;
	struct slot_pos pos;
	ssize_t got;

	j->d->fd = -1;
	if (m->where != QW_SLOT) {
		j->rc = queue_file_open(queue, &m->id, m->where, false, &j->d->fd, &j->e);
		return;
	}
	pos = queue_slot(queue, m->slot);
	if (pos.bytes != SLOT_BYTES) {
		j->rc = sealed_copy(&pos, m->im.content_bytes, &j->d->fd, &j->e);
		return;
	}
	j->bytes = xmalloc(m->im.content_bytes + 1);
	got = pread(pos.fd, j->bytes, m->im.content_bytes, pos.base + QFILE_CONTENT_OFF);
	j->rc = got == (ssize_t)m->im.content_bytes ? RC_OK : err_sys(&j->e, "slot %u", m->slot);
	j->d->content = span_make(j->bytes, m->im.content_bytes);
}

static void fill_recipients(const struct delivery *dl, struct deliver *d, struct arena *a)
{
	struct deliver_rcpt *r = arena_array(a, dl->n, sizeof(*r));

	for (size_t i = 0; i < dl->n; i++) {
		const struct env_rcpt *er = envelope_rcpt(&dl->m->im.env, dl->rcpt[i]);

		r[i] = (struct deliver_rcpt){ dl->rcpt[i], er->addr, er->orig, er->orcpt, er->notify };
	}
	d->rcpts = (struct ipc_list){ r, dl->n };
}

static void fill_extents(const struct message *m, struct deliver *d, struct arena *a)
{
	struct extent_item *x = arena_array(a, m->im.extents + 1, sizeof(*x));

	for (size_t i = 0; i < m->im.extents; i++)
		x[i] = (struct extent_item){ m->im.extent[i].off, m->im.extent[i].len };
	d->extents = (struct ipc_list){ x, m->im.extents };
}

/* With VERP a delivery has one recipient (start_one()), whose name the sender's address carries. */
static void fill_envelope(const struct delivery *dl, struct deliver *d, struct arena *a)
{
	struct envelope env = dl->m->im.env;
	struct buf b;

	if (env.verp.n > 0)
		env.sender = message_verp_sender(dl->m, dl->rcpt[0], a);
	env.rcpts.n = 0;
	buf_init(&b, IPC_FRAME_MAX);
	if (envelope_encode(&env, &b) == RC_OK)
		d->envelope = span_dup(a, buf_span(&b));
	buf_release(&b);
}

/* Marks on disk: the recipient is not delivered again, whatever happens. Written now, on stable storage
 * within a second. */
static void mark_done(struct message *m, uint32_t rcpt)
{
	struct err e;
	enum rc rc;
	int fd = -1;

	if (m->where == QW_SLOT) {
		struct slot_pos pos = queue_slot(queue, m->slot);

		rc = qimage_mark(pos.fd, pos.base, &m->im, rcpt, RCPT_DONE, &e);
	} else {
		rc = queue_file_open(queue, &m->id, m->where, true, &fd, &e);
		if (rc == RC_OK)
			rc = qimage_mark(fd, 0, &m->im, rcpt, RCPT_DONE, &e);
		if (fd >= 0)
			close(fd);
	}
	if (rc != RC_OK)
		log_warning("%s: mark recipient %u done: %s", m->id.s, rcpt, e.text);
}

/* best_mx_transport and the like: the recipient goes to another transport, unless that gave it back. */
static bool pass_on(const struct delivery *dl, uint32_t rcpt, const struct deliver_result *r)
{
	ptrdiff_t colon = span_chr(r->relay, ':');
	struct span transport = colon < 0 ? r->relay : span_head(r->relay, (size_t)colon);
	struct span nexthop = colon < 0 ? SPAN_NONE : span_skip(r->relay, (size_t)colon + 1);

	if (transport.n == 0 || dl->m->passed[rcpt])
		return false;
	dl->m->passed[rcpt] = true;
	dest_enqueue(dl->m, rcpt, transport, nexthop.n ? nexthop : dest_nexthop(dl->dest));
	return true;
}

/* What an agent gave back for good, and no other transport takes. */
static void give_up(struct message *m, uint32_t rcpt, struct qstatus *why)
{
	struct arena a;
	bool soft;

	arena_init(&a);
	why->status = DS_BOUNCED;
	soft = soft_bounce(service_conf(), false, &a, &why->status, &why->dsn);
	message_log_result(m, rcpt, why, soft ? SOFTBOUNCE_STATUS : NULL);
	message_settle(m, rcpt, soft ? RUN_DEFERRED : RUN_BOUNCED, why);
	arena_release(&a);
}

static void settle_one(struct delivery *dl, uint32_t rcpt, const struct deliver_result *r)
{
	struct message *m = dl->m;
	struct qstatus why = {
		rcpt, r->status, r->dsn, r->reason, r->diag_type, r->diag_text, r->remote_mta
	};

	message_note(m, rcpt, r);
	switch ((enum deliver_status)r->status) {
	case DS_SENT:
	case DS_RELAYED:
	case DS_EXPANDED:
	case DS_PASSED:
		/* A message whose last open recipient this is will be removed as a whole: no mark of its own.
		 */
		if (m->unsettled > 1 || m->im.env.rcpts.n > 1)
			mark_done(m, rcpt);
		message_settle(m, rcpt, RUN_DONE, &why);
		return;
	case DS_BOUNCED:
		message_settle(m, rcpt, RUN_BOUNCED, &why);
		return;
	case DS_SKIPPED:
		if (pass_on(dl, rcpt, r))
			return;
		if (r->dsn.n == 0 || r->dsn.p[0] != '5')
			break;
		give_up(m, rcpt, &why);
		return;
	case DS_DEFERRED:
		break;
	}
	why.status = DS_DEFERRED;
	message_settle(m, rcpt, RUN_DEFERRED, &why);
}

static void settle_all(struct delivery *dl, const struct deliver_reply *reply)
{
	static const struct deliver_result missing = { .status = DS_DEFERRED,
						       .dsn = { "4.3.0", 5 },
						       .reason = { "mail transport gave no answer", 29 } };
	const struct deliver_result *v = reply->results.v;

	for (size_t i = 0; i < dl->n; i++) {
		const struct deliver_result *r = &missing;

		for (size_t k = 0; k < reply->results.n; k++) {
			size_t guess = (i + k) % reply->results.n; /* agents answer in our order */

			if (v[guess].index == dl->rcpt[i]) {
				r = &v[guess];
				break;
			}
		}
		settle_one(dl, dl->rcpt[i], r);
	}
	dest_kick_all();
}

static void defer_all(struct delivery *dl, const char *dsn, const char *reason)
{
	for (size_t i = 0; i < dl->n; i++) {
		struct qstatus why = { .index = dl->rcpt[i],
				       .status = DS_DEFERRED,
				       .dsn = span_str(dsn),
				       .reason = span_str(reason) };

		message_log_result(dl->m, dl->rcpt[i], &why, NULL);
		message_settle(dl->m, dl->rcpt[i], RUN_DEFERRED, &why);
	}
}

/* Asks the agent; one that ended without an answer (killed, replaced) is asked again. A service that master.cf does not have will not be there in a moment either. */
static enum rc ask_agent(struct delivery *dl, const struct deliver *d, struct deliver_reply *reply,
			 struct arena *a, struct err *e)
{
	const char *service = dest_transport_name(dl->dest);
	unsigned deaths = 0;
	enum rc rc = RC_AGAIN;

	for (unsigned i = 0; i < AGENT_TRIES; i++) {
		rc = service_request(service, false, IPC_DELIVER, d, reply, a,
				     deadline_s(qmgr_conf.daemon_timeout_s), e);
		if ((rc != RC_EOF && rc != RC_AGAIN) || (rc == RC_AGAIN && e->sys == ENOENT) ||
		    service_draining())
			break;
		deaths += rc == RC_EOF;
		if (deaths == AGENT_DEATHS)
			break;
		if (i + 1 < AGENT_TRIES)
			task_sleep_ms(AGENT_WAIT_MS << i);
	}
	return rc;
}

static void no_agent(struct delivery *dl, enum rc rc, const struct err *e)
{
	bool missing = rc == RC_AGAIN || rc == RC_DENIED;

	log_warning("%s private/%s: %s", missing ? "connect to transport" : "transport",
		    dest_transport_name(dl->dest), e->sys == ENOENT ? strerror(ENOENT) : e->text);
	defer_all(dl, "4.3.0", missing ? "mail transport unavailable" : "unknown mail transport error");
}

static void delivery_task(void *arg)
{
	struct delivery *dl = arg;
	struct dest *dest = dl->dest;
	struct deliver d = { .service = span_str(dest_transport_name(dest)),
			     .nexthop = dest_nexthop(dest),
			     .fd = -1 };
	struct deliver_reply reply = { .destination_dead = false };
	struct content_job j = { .m = dl->m, .d = &d };
	struct arena a;
	struct err e = { .text = "" };
	enum rc rc;

	arena_init(&a);
	if (dl->m->where == QW_SLOT)
		open_content(&j); /* page cache: no need for another thread */
	else
		task_offload(open_content, &j);
	if (j.rc == RC_OK) {
		fill_recipients(dl, &d, &a);
		fill_extents(dl->m, &d, &a);
		fill_envelope(dl, &d, &a);
		d.active_us = dl->m->active_us;
		d.flags = dest_has_more(dest) ? DELF_CONN_REUSE : 0;
		if (message_is_probe(dl->m))
			d.flags |= DELF_VERIFY;
		rc = ask_agent(dl, &d, &reply, &a, &e);
		if (rc == RC_OK) {
			settle_all(dl, &reply);
		} else {
			no_agent(dl, rc, &e);
			dest_suspend_transport(dest, qmgr_conf.transport_retry_s);
		}
	} else {
		log_warning("%s: %s", dl->m->id.s, j.e.text);
		defer_all(dl, "4.3.0", "queue file cannot be read");
	}
	if (d.fd >= 0)
		close(d.fd);
	free(j.bytes);
	dest_delivery_done(dest, reply.destination_dead, reply.dead_dsn, reply.dead_reason);
	arena_release(&a);
	free(dl->rcpt);
	free(dl);
	service_unhold();
}

void delivery_start(struct dest *d, struct message *m, const uint32_t *rcpt, size_t n)
{
	struct delivery *dl = xcalloc(1, sizeof(*dl));

	dl->dest = d;
	dl->m = m;
	dl->n = n;
	dl->rcpt = xcalloc(n, sizeof(*rcpt));
	memcpy(dl->rcpt, rcpt, n * sizeof(*rcpt));
	service_hold();
	task_spawn(delivery_task, dl);
}
