/* commit.c - group commit: messages written while one sync runs wait for the next, and one sync makes them
 * all durable.
 *
 * One task syncs. A message counts as durable when a sync that began after its last write has ended well.
 * Which files are to be synced is collected up to the moment the sync begins; who comes later joins the next
 * batch. */
#include "cleanup.h"

struct sync_call {
	uint64_t pools, failed_pools;
	bool incoming, hold, failed_incoming, failed_hold;
	struct err e;
};

/* Pool files of which a sync failed. The kernel reports an error once, and the pages count as clean after it:
 * what was written while the failing sync ran may be lost with it although the next sync would succeed. So
 * such a file never has success again. */
static uint64_t bad_pools;
static struct batch *next; /* NULL: nobody waits */
static struct waitq work;

static void sync_all(void *arg)
{
	struct sync_call *c = arg;

	for (unsigned i = 0; i < POOL_FILES_MAX; i++)
		if ((c->pools >> i & 1) && queue_pool_sync(queue, (uint64_t)1 << i, &c->e) != RC_OK)
			c->failed_pools |= (uint64_t)1 << i;
	c->failed_incoming = c->incoming && queue_dir_sync(queue, QW_INCOMING, &c->e) != RC_OK;
	c->failed_hold = c->hold && queue_dir_sync(queue, QW_HOLD, &c->e) != RC_OK;
}

static void run_batch(struct batch *b)
{
	struct sync_call c = { .pools = b->pools & ~bad_pools, .incoming = b->incoming, .hold = b->hold };

	if (slots != NULL)
		slots_sync_begin(slots, c.pools);
	task_offload(sync_all, &c);
	if (slots != NULL)
		slots_sync_end(slots, c.pools, c.failed_pools);
	if (c.failed_pools != 0 || c.failed_incoming || c.failed_hold)
		log_error("%s: the data of these messages is taken for lost and written elsewhere", c.e.text);
	bad_pools |= c.failed_pools;
	b->failed_pools = b->pools & bad_pools;
	b->failed_incoming |= c.failed_incoming;
	b->failed_hold |= c.failed_hold;
	if (next != NULL) { /* written while the sync failed: as with the pools */
		next->failed_incoming |= c.failed_incoming;
		next->failed_hold |= c.failed_hold;
	}
}

static void committer(void *arg)
{
	(void)arg;
	for (;;) {
		struct batch *b;

		if (next == NULL && waitq_wait(&work, DEADLINE_NEVER) != RC_OK)
			continue;
		task_yield(); /* who is about to write comes along */
		if ((b = next) == NULL)
			continue;
		next = NULL;
		run_batch(b);
		waitq_wake_all(&b->done);
		if (b->users == 0)
			free(b);
	}
}

void commit_start(void)
{
	waitq_init(&work);
	task_spawn(committer, NULL);
}

static struct batch *join(void)
{
	if (next == NULL) {
		next = xcalloc(1, sizeof(*next));
		waitq_init(&next->done);
		waitq_wake_one(&work);
	}
	return next;
}

static void leave(struct batch *b)
{
	if (--b->users == 0)
		free(b);
}

enum rc commit_pool(unsigned file)
{
	struct batch *b = join();
	bool failed;

	b->pools |= (uint64_t)1 << file;
	b->users++;
	INVARIANT(waitq_wait(&b->done, DEADLINE_NEVER) == RC_OK);
	failed = (b->failed_pools >> file & 1) != 0;
	leave(b);
	return failed ? RC_SYS : RC_OK;
}

enum rc commit_dir(enum queue_where where)
{
	struct batch *b = join();
	bool failed;

	if (where == QW_HOLD)
		b->hold = true;
	else
		b->incoming = true;
	b->users++;
	INVARIANT(waitq_wait(&b->done, DEADLINE_NEVER) == RC_OK);
	failed = where == QW_HOLD ? b->failed_hold : b->failed_incoming;
	leave(b);
	return failed ? RC_SYS : RC_OK;
}

void commit_kick(void)
{
	uint64_t files = slots != NULL ? slots_waiting_files(slots) : 0;

	if (files != 0)
		join()->pools |= files;
}
