/* local/mailbox.c - final delivery into a mailbox: the request to the child and what its answer means for the
 * sender. */
#include "mailbox.h"
#include "log/log.h"
#include "service/service.h"
#include <errno.h>

#define STORE_TIMEOUT_S 600 /* locks and slow disks */

/* RFC 3463: what may go away by itself, or by an administrator's hand, is deferred. */
static const struct {
	int sys;
	enum deliver_status status;
	const char *dsn;
} failures[] = {
	{ EFBIG, DS_BOUNCED, "5.2.2" },	  { EDQUOT, DS_DEFERRED, "4.2.2" },
	{ ENOSPC, DS_DEFERRED, "4.3.0" }, { EIO, DS_DEFERRED, "4.3.0" },
	{ EROFS, DS_DEFERRED, "4.3.0" },  { ENAMETOOLONG, DS_BOUNCED, "5.2.0" },
};

static void failed(struct agent *m, const struct mailbox_target *t, const struct user_store_reply *r,
		   struct outcome *o)
{
	enum deliver_status status = DS_DEFERRED;
	const char *dsn = "4.2.0";
	struct span why = r->text;

	if (r->rc == RC_LIMIT) {
		outcome_set(o, DS_BOUNCED, "5.2.2", m->a, "%serror writing message: File too large",
			    t->failure);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(failures); i++)
		if ((int)r->sys == failures[i].sys) {
			status = failures[i].status;
			dsn = failures[i].dsn;
		}
	if (r->sys == EACCES || r->sys == EPERM)
		log_warning(SPAN_FMT ": mailbox access problem for UID/GID=%lu/%lu: " SPAN_FMT,
			    SPAN_ARG(m->env.qid), (unsigned long)t->id->uid, (unsigned long)t->id->gid,
			    SPAN_ARG(why));
	outcome_set(o, status, dsn, m->a, "%s" SPAN_FMT, t->failure, SPAN_ARG(why));
}

void mailbox_no_child(struct outcome *o, enum rc rc, struct arena *a, const char *text)
{
	log_warning("%s", text);
	if (rc == RC_GONE)
		service_retire(); /* only a new process gets a monitor */
	if (rc == RC_DENIED)
		outcome_set(o, DS_DEFERRED, "4.3.5", a, "mail system configuration error");
	else
		outcome_set(o, DS_DEFERRED, "4.3.0", a, "cannot act as the recipient now: %s", text);
}

void mailbox_deliver(struct agent *m, const struct mailbox_target *t, struct outcome *o)
{
	bool maildir = t->path.n > 1 && t->path.p[t->path.n - 1] == '/';
	const struct store_lock *l = t->lock != NULL ? t->lock : &store_lock_default;
	struct user_store q = { .mbox = !maildir,
				.owned = conf_bool(service_conf(), "strict_mailbox_ownership"),
				.path = t->path,
				.qid = m->env.qid,
				.recipient = t->recipient,
				.sender = t->sender,
				.prefix = t->prefix,
				.content = m->d->content,
				.fd = m->d->fd,
				.extents = m->d->extents,
				.arrival_us = m->env.arrival_us,
				.max_bytes = t->limit,
				.lock = (uint16_t)((l->fcntl ? USER_LOCK_FCNTL : 0) |
						   (l->flock ? USER_LOCK_FLOCK : 0) |
						   (l->dotlock ? USER_LOCK_DOTLOCK : 0)),
				.lock_attempts = l->attempts,
				.lock_delay_ms = l->delay_ms,
				.lock_stale_s = l->stale_s };
	struct user_store_reply r = { .rc = RC_OK };
	struct err e = { .text = "" };

	while (q.path.n > 1 && q.path.p[q.path.n - 1] == '/')
		q.path.n--;
	enum rc rc = t->alone ? worker_run_alone(t->id, IPC_USER_STORE, &q, &r, m->a, STORE_TIMEOUT_S, &e)
			      : worker_ask(t->id, IPC_USER_STORE, &q, &r, m->a, STORE_TIMEOUT_S, &e);
	if (rc != RC_OK)
		mailbox_no_child(o, rc, m->a, e.text);
	else if (r.rc != RC_OK)
		failed(m, t, &r, o);
	else
		outcome_set(o, DS_SENT, "2.0.0", m->a, "%s", t->done);
}
