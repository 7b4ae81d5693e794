/* Group commit of Maildir deliveries. A name in new/ is durable when the directory was flushed after it was made, and a
 * flush of a directory that somebody changed meanwhile makes the file system commit its journal once more. So
 * deliveries that run at the same time (threads of one process) do not each flush for themselves: the first becomes
 * the leader and commits for all that wait; who comes while it flushes has written its content already, but makes
 * no name until the next leader does it for him. A journalling file system then commits once per batch, instead of
 * twice per message. */
#include "store/paths.h"
#include "base/list.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

struct commit {
	struct list link;
	struct maildir_file *f;
	const char *dir, *path;
	bool linked, done;
	enum rc rc;
	struct err e;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static struct list waiting = { &waiting, &waiting };
static bool busy; /* a leader is at work */

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
 * allocated behind that commit would need another. Alone, fsync does as much. An error is told once only, so
 * it counts; where the call is not offered, the fsync that follows does the work. */
static void write_back(struct list *batch)
{
	static const unsigned step[] = { SYNC_FILE_RANGE_WRITE, SYNC_FILE_RANGE_WAIT_AFTER };

	if (list_first(batch)->next == batch)
		return;
	for (size_t i = 0; i < ARRAY_LEN(step); i++)
		LIST_EACH(it, batch)
		{
			struct commit *c = entry(it);

			if (c->rc == RC_OK && sync_file_range(c->f->fd, 0, 0, step[i]) != 0 &&
			    errno != EINVAL && errno != ENOSYS && errno != ESPIPE)
				c->rc = err_sys(&c->e, "write %s", c->path);
		}
}

static void sync_files(struct list *batch)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		if (c->rc == RC_OK && fsync(c->f->fd) != 0)
			c->rc = err_sys(&c->e, "fsync %s", c->path);
	}
}

static bool synced_before(struct list *batch, const struct commit *c)
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

static void spread_failure(struct list *batch, const struct commit *from)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		if (c->rc == RC_OK && strcmp(c->dir, from->dir) == 0) {
			c->rc = from->rc;
			c->e = from->e;
		}
	}
}

static void sync_directories(struct list *batch)
{
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it), d = { .dir = c->dir };
		char sub[STORE_FILE_MAX];

		if (!c->linked || synced_before(batch, c))
			continue;
		d.rc = path_join(sub, c->dir, "new") ? path_sync_dir(sub, &d.e)
						     : err_set(&d.e, RC_LIMIT, "path too long");
		if (d.rc != RC_OK)
			spread_failure(batch, &d);
	}
}

static void commit_all(struct list *batch)
{
	link_all(batch);
	write_back(batch);
	sync_files(batch);
	sync_directories(batch);
	LIST_EACH(it, batch)
	{
		struct commit *c = entry(it);

		if (c->linked && c->rc != RC_OK)
			unlink(c->path); /* not safe on disk: the next attempt writes a new file */
	}
}

static void take_waiting(struct list *batch)
{
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
	take_waiting(&batch);
	pthread_mutex_unlock(&lock);
	commit_all(&batch);
	pthread_mutex_lock(&lock);
	busy = false;
	LIST_EACH(it, &batch)
	entry(it)->done = true;
	pthread_cond_broadcast(&ended);
}

enum rc maildir_commit(struct maildir_file *f, const char *dir, const char *path, struct err *e)
{
	struct commit c = { .f = f, .dir = dir, .path = path };

	pthread_mutex_lock(&lock);
	list_add_tail(&waiting, &c.link);
	while (busy && !c.done)
		pthread_cond_wait(&ended, &lock);
	if (!c.done)
		lead();
	pthread_mutex_unlock(&lock);
	if (c.rc != RC_OK)
		*e = c.e;
	return c.rc;
}
