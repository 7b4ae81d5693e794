/* Group commit of Maildir deliveries. A name in new/ is durable when the directory was flushed after it was made, and a
 * flush of a directory that somebody changed meanwhile makes the file system commit its journal once more. So
 * deliveries that run at the same time (threads of one process) do not each flush for themselves: the first becomes
 * the leader and commits for all that wait; who comes while it flushes has written its content already, but makes
 * no name until the next leader does it for him.
 *
 * The flushes of a batch are asked for at the same moment, by those who wait: a journalling file system then answers
 * all of them with one commit. One after the other, each but the first would find the commit done and send the
 * device a flush of its own. */
#include "store/paths.h"
#include "base/list.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define HELPER_STACK   (64 * 1024)
#define COMPANY_FACTOR 3
#define COMPANY_MAX_US 10000
#define COMPANY_ALONE  64

struct commit;
struct sync { /* one flush */
	struct list link;
	struct commit *commit;
	enum rc rc;
	struct err e;
};
struct commit {
	struct list link;
	struct maildir_file *f;
	const char *dir, *path;
	struct sync file_sync, dir_sync; /* a directory is flushed for the first of the batch that is in it */
	bool linked, done;
	enum rc rc;
	struct err e;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_once_t helper_started = PTHREAD_ONCE_INIT;
static struct list waiting = { &waiting, &waiting };
static struct list to_sync = { &to_sync, &to_sync }; /* of the batch, and not begun */
static unsigned unsynced;			     /* of the batch */
static bool busy;				     /* a leader is at work */
static unsigned waiting_n;
static struct {
	int64_t ended_us, took_us; /* the last batch */
	unsigned alone;		   /* batches to come that do not wait for company */
} pace;

static struct commit *entry(struct list *it)
{
	return LIST_ENTRY(it, struct commit, link);
}

static void link_all(struct list *batch)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		c->rc = maildir_file_link(c->f, c->path, &c->e);
		c->linked = c->rc == RC_OK;
	}
}

/* The blocks of all files are on their way, and written, before the first fsync commits the journal: what is
 * allocated behind that commit would need another. An error is told once only, so it counts; where the call is not
 * offered, the fsync that follows does the work. */
static void write_back(struct list *batch)
{
	static const unsigned step[] = { SYNC_FILE_RANGE_WRITE, SYNC_FILE_RANGE_WAIT_AFTER };

	for (size_t i = 0; i < ARRAY_LEN(step); i++)
		LIST_EACH(it, batch)
		{
			struct commit *c = entry(it);

			if (c->rc == RC_OK && sync_file_range(c->f->fd, 0, 0, step[i]) != 0 &&
			    errno != EINVAL && errno != ENOSYS && errno != ESPIPE)
				c->rc = err_sys(&c->e, "write %s", c->path);
		}
}

/* ---- flushes, shared out ---- */
static void sync_one(struct sync *s)
{
	struct commit *c = s->commit;
	char sub[STORE_FILE_MAX];

	if (s == &c->dir_sync)
		s->rc = path_join(sub, c->dir, "new") ? path_sync_dir(sub, &s->e)
						      : err_set(&s->e, RC_LIMIT, "path too long");
	else
		s->rc = fsync(c->f->fd) == 0 ? RC_OK : err_sys(&s->e, "fsync %s", c->path);
}

/* Takes one flush of the list; with the lock held. */
static void help(void)
{
	struct list *it = list_first(&to_sync);

	list_del(it);
	pthread_mutex_unlock(&lock);
	sync_one(LIST_ENTRY(it, struct sync, link));
	pthread_mutex_lock(&lock);
	if (--unsynced == 0)
		pthread_cond_broadcast(&changed);
}

/* A delivery that is alone has two flushes, too: file and directory. */
static void *helper(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	for (;;) {
		while (list_empty(&to_sync))
			pthread_cond_wait(&changed, &lock);
		help();
	}
	return NULL;
}

/* Without it the leader does what it would have done. */
static void start_helper(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;

	sigfillset(&all);
	if (pthread_attr_init(&attr) != 0)
		return;
	(void)pthread_attr_setstacksize(&attr, HELPER_STACK);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	(void)pthread_create(&thread, &attr, helper, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}

static bool same_dir_before(struct list *batch, const struct commit *c)
{
	LIST_EACH(it, batch)
	{
		const struct commit *other = entry(it);

		if (other == c)
			return false;
		if (other->linked && strcmp(other->dir, c->dir) == 0)
			return true;
	}
	return false;
}

static void hand_out(struct sync *s, struct commit *c)
{
	s->commit = c;
	list_add_tail(&to_sync, &s->link);
	unsynced++;
}

/* With the lock held; comes back when every file and directory of the batch is flushed. */
static void sync_all(struct list *batch)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		if (c->rc == RC_OK)
			hand_out(&c->file_sync, c);
		if (c->linked && !same_dir_before(batch, c))
			hand_out(&c->dir_sync, c);
	}
	pthread_cond_broadcast(&changed);
	while (!list_empty(&to_sync))
		help();
	while (unsynced > 0)
		pthread_cond_wait(&changed, &lock);
}

static void spread_failure(struct list *batch, const struct commit *from)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		if (c->rc == RC_OK && strcmp(c->dir, from->dir) == 0) {
			c->rc = from->dir_sync.rc;
			c->e = from->dir_sync.e;
		}
	}
}

static void collect(struct list *batch)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		if (c->rc == RC_OK && c->file_sync.rc != RC_OK) {
			c->rc = c->file_sync.rc;
			c->e = c->file_sync.e;
		}
		if (c->dir_sync.rc != RC_OK)
			spread_failure(batch, c);
	}
}

/* What is not safe on disk goes: the next attempt writes a new file. */
static void unlink_failed(struct list *batch)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		if (c->linked && c->rc != RC_OK)
			unlink(c->path);
	}
}

/* ---- company ---- */
static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* A flush costs as much for one as for many, and holds up everybody else on that disk: the queue's acknowledgements
 * above all. So in a stream of deliveries the leader waits for others, in proportion to what the last flushes took;
 * not where that brought nobody the last time. With the lock held. */
static void wait_for_company(void)
{
	int64_t now = now_us(), most = pace.took_us * COMPANY_FACTOR;
	unsigned before = waiting_n;

	if (most > COMPANY_MAX_US)
		most = COMPANY_MAX_US;
	if (pace.alone > 0) {
		pace.alone--;
		return;
	}
	if (now - pace.ended_us > most)
		return;
	int64_t until = now + most;
	struct timespec t = { .tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000 };
	while (waiting_n < STORE_DELIVERIES &&
	       pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &t) == 0)
		;
	if (waiting_n == before)
		pace.alone = COMPANY_ALONE;
}

static void take_waiting(struct list *batch)
{
	waiting_n = 0;
	list_init(batch);
	while (!list_empty(&waiting)) {
		struct list *first = list_first(&waiting);

		list_del(first);
		list_add_tail(batch, first);
	}
}

/* With the lock held. */
static void lead(void)
{
	struct list batch;

	busy = true;
	wait_for_company();
	int64_t began_us = now_us();
	take_waiting(&batch);
	pthread_mutex_unlock(&lock);
	pthread_once(&helper_started, start_helper);
	link_all(&batch);
	write_back(&batch);
	pthread_mutex_lock(&lock);
	sync_all(&batch);
	pthread_mutex_unlock(&lock);
	collect(&batch);
	unlink_failed(&batch);
	pthread_mutex_lock(&lock);
	busy = false;
	pace.ended_us = now_us();
	pace.took_us = pace.ended_us - began_us;
	LIST_EACH(it, &batch)
	entry(it)->done = true;
	pthread_cond_broadcast(&changed);
}

/* While somebody else leads: a flush of its batch, or wait. */
static void follow(void)
{
	if (list_empty(&to_sync))
		pthread_cond_wait(&changed, &lock);
	else
		help();
}

enum rc maildir_commit(struct maildir_file *f, const char *dir, const char *path, struct err *e)
{
	struct commit c = { .f = f, .dir = dir, .path = path };

	pthread_mutex_lock(&lock);
	list_add_tail(&waiting, &c.link);
	if (++waiting_n == STORE_DELIVERIES)
		pthread_cond_broadcast(&changed);
	while (busy && !c.done)
		follow();
	if (!c.done)
		lead();
	pthread_mutex_unlock(&lock);
	if (c.rc != RC_OK)
		*e = c.e;
	/* The analyser does not follow list_del(): whoever is done has left `waiting`. NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape) */
	return c.rc;
}
