/* queue/pool.c - the files that slots lie in: made once, zeros written and synced, then only ever overwritten
 * in place, so that a commit of a slot needs no change of the file's metadata: one flush of the device. */
#include "queue/qdir.h"
#include "queue/qheader.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define POOL_BYTES ((off_t)SLOT_BYTES * SLOT_COUNT)
#define ZEROS	   (1 << 20)

static void pool_name(unsigned i, char out[24])
{
	snprintf(out, 24, "slots.%u", i);
}

enum rc queue_pool_lock(struct queue *q, struct err *e)
{
	if (q->dir[QD_POOL] < 0)
		return err_set(e, RC_SYS, "no pool directory");
	if (flock(q->dir[QD_POOL], LOCK_EX | LOCK_NB) == 0)
		return RC_OK;
	if (errno == EWOULDBLOCK)
		return err_set(e, RC_AGAIN, "another process allocates slots");
	return err_sys(e, "lock pool");
}

void queue_pool_unlock(struct queue *q)
{
	(void)flock(q->dir[QD_POOL], LOCK_UN);
}

unsigned queue_slots(const struct queue *q)
{
	return q->pools * SLOT_COUNT;
}

static enum rc open_pool(struct queue *q, unsigned i, int *fd, struct err *e)
{
	char name[24];
	struct stat st;

	pool_name(i, name);
	*fd = openat(q->dir[QD_POOL], name, (q->rw ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return errno == ENOENT ? RC_NOTFOUND : err_sys(e, "open pool/%s", name);
	if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == POOL_BYTES)
		return RC_OK;
	close(*fd);
	*fd = -1;
	return err_set(e, RC_SYNTAX, "pool/%s has not the size of a pool file", name);
}

enum rc queue_pool_refresh(struct queue *q, struct err *e)
{
	enum rc rc = RC_OK;

	while (q->dir[QD_POOL] >= 0 && q->pools < POOL_FILES_MAX && rc == RC_OK)
		if ((rc = open_pool(q, q->pools, &q->pool[q->pools], e)) == RC_OK)
			q->pools++;
	return rc == RC_NOTFOUND ? RC_OK : rc;
}

void pool_close(struct queue *q)
{
	for (unsigned i = 0; i < q->pools; i++)
		close(q->pool[i]);
	q->pools = 0;
}

static enum rc write_zeros(int fd, struct err *e)
{
	char *zeros = xcalloc(1, ZEROS);
	enum rc rc = RC_OK;

	if (posix_fallocate(fd, 0, POOL_BYTES) == ENOSPC) {
		errno = ENOSPC;
		rc = err_sys(e, "allocate pool file");
	}
	/* written, not only allocated: a block that is merely reserved costs a journal commit at its first
	 * write */
	for (off_t off = 0; off < POOL_BYTES && rc == RC_OK; off += ZEROS) {
		size_t n = POOL_BYTES - off < ZEROS ? (size_t)(POOL_BYTES - off) : ZEROS;

		rc = pwrite_all(fd, zeros, n, off, e);
	}
	free(zeros);
	return rc;
}

enum rc queue_pool_grow(struct queue *q, struct err *e)
{
	char name[24];
	int fd;
	enum rc rc;

	if (q->pools == POOL_FILES_MAX)
		return err_set(e, RC_LIMIT, "the pool has %d files", POOL_FILES_MAX);
	if (q->dir[QD_POOL] < 0)
		return err_set(e, RC_SYS, "no pool directory");
	pool_name(q->pools, name);
	if ((rc = qfile_nameless(q, q->dir[QD_POOL], &fd, e)) != RC_OK)
		return rc;
	/* whole and durable before it has a name: a pool file is never seen half made */
	if ((rc = write_zeros(fd, e)) != RC_OK || (rc = sync_fd(fd, name, e)) != RC_OK ||
	    (rc = qfile_name(q, fd, q->dir[QD_POOL], name, e)) != RC_OK ||
	    (rc = sync_fd(q->dir[QD_POOL], "pool", e)) != RC_OK) {
		qfile_drop(q, fd);
		return rc;
	}
	q->pool[q->pools++] = fd;
	return RC_OK;
}

struct slot_pos queue_slot(const struct queue *q, uint32_t slot)
{
	INVARIANT(slot < queue_slots(q));
	return (struct slot_pos){ q->pool[slot / SLOT_COUNT], (int64_t)(slot % SLOT_COUNT) * SLOT_BYTES };
}

enum rc queue_pool_sync(struct queue *q, uint64_t files, struct err *e)
{
	enum rc rc = RC_OK;

	for (unsigned i = 0; i < q->pools && i < 64; i++)
		if ((files >> i & 1) != 0 && fdatasync(q->pool[i]) != 0)
			rc = err_sys(e, "sync pool/slots.%u", i);
	return rc;
}
