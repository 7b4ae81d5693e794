/* local/child_store.c - in the child: one message into one mailbox. */
#include "store/store.h"
#include "workers.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct store_job {
	const struct user_store *q;
	struct arena *a;
	enum rc rc;
	struct err e;
	struct store_delivered done;
};

static enum rc location(const struct user_store *q, struct store_loc *loc, struct err *e)
{
	*loc = (struct store_loc){ .kind = q->mbox ? STORE_MBOX : STORE_MAILDIR };
	enum rc rc = span_cstr(q->path, loc->inbox, sizeof loc->inbox);
	if (rc == RC_OK && !q->mbox)
		rc = span_cstr(q->path, loc->root, sizeof loc->root);
	return rc == RC_OK && loc->inbox[0] == '/' ? RC_OK : err_set(e, RC_SYNTAX, "bad mailbox path");
}

/* strict_mailbox_ownership: what stands there must be ours. */
static enum rc check_owner(const struct user_store *q, const char *path, struct err *e)
{
	struct stat st;

	if (!q->owned || stat(path, &st) < 0 || st.st_uid == geteuid())
		return RC_OK;
	return err_set(e, RC_DENIED, "destination %s is not owned by recipient", path);
}

static void store_one(void *arg)
{
	struct store_job *j = arg;
	const struct user_store *q = j->q;
	const struct extent_item *x = q->extents.v;
	struct store_loc loc;
	struct store_lock lock = { .fcntl = q->lock & USER_LOCK_FCNTL,
				   .flock = q->lock & USER_LOCK_FLOCK,
				   .dotlock = q->lock & USER_LOCK_DOTLOCK,
				   .attempts = q->lock_attempts,
				   .delay_ms = q->lock_delay_ms,
				   .stale_s = q->lock_stale_s };
	struct store_extent *extent = arena_array(j->a, q->extents.n + 1, sizeof *extent);
	struct store_delivery m = { .qid = q->qid,
				    .recipient = q->recipient,
				    .sender = q->sender,
				    .prefix = q->prefix,
				    .piece = &q->content,
				    .pieces = q->fd < 0 ? 1 : 0,
				    .fd = q->fd,
				    .extent = extent,
				    .extents = q->extents.n,
				    .arrival_us = q->arrival_us,
				    .max_bytes = q->max_bytes,
				    .lock = &lock };

	for (size_t i = 0; i < q->extents.n; i++)
		extent[i] = (struct store_extent){ x[i].off, x[i].len };
	j->rc = location(q, &loc, &j->e);
	if (j->rc == RC_OK && q->mbox)
		j->rc = check_owner(q, loc.inbox, &j->e);
	if (j->rc == RC_OK)
		j->rc = store_deliver(&loc, "INBOX", &m, &j->done, &j->e);
}

void child_store(struct ipc_call *call, const void *request)
{
	const struct user_store *q = request;
	struct store_job j = { .q = q, .a = ipc_call_arena(call) };
	struct user_store_reply r = { .rc = RC_OK };

	child_begin();
	task_offload(store_one, &j);
	r.rc = (uint16_t)j.rc;
	if (j.rc != RC_OK) {
		r.sys = (uint32_t)j.e.sys;
		r.text = span_str(j.e.text);
	} else {
		r.repeated = j.done.repeated;
		r.bytes = j.done.bytes;
	}
	if (q->fd >= 0)
		close(q->fd);
	ipc_reply(call, &r);
	child_end();
}
