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

static const struct {
	const char *name;
	uint32_t bytes, count;
} classes[SLOT_CLASSES] = {
	[SLOT_SMALL] = { "slots", SLOT_BYTES, SLOT_COUNT },
	[SLOT_LARGE] = { "large", LARGE_SLOT_BYTES, LARGE_SLOT_COUNT },
};

static void pool_name(unsigned i, enum slot_class class, char out[24])
{
	snprintf(out, 24, "%s.%u", classes[class].name, i);
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

enum slot_class queue_pool_class(const struct queue *q, unsigned file)
{
	INVARIANT(file < q->pools);
	return q->class[file];
}

unsigned queue_slots(const struct queue *q)
{
	return q->pools * SLOT_COUNT;
}

static enum rc open_pool(struct queue *q, unsigned i, enum slot_class class, int *fd, struct err *e)
{
	char name[24];
	struct stat st;

	pool_name(i, class, name);
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

	while (q->dir[QD_POOL] >= 0 && q->pools < POOL_FILES_MAX && rc == RC_OK) {
		unsigned i = q->pools;

		rc = RC_NOTFOUND;
		for (unsigned c = 0; c < SLOT_CLASSES && rc == RC_NOTFOUND; c++) {
			q->class[i] = (enum slot_class)c;
			rc = open_pool(q, i, q->class[i], &q -> pool[i], e);
		}
		if (rc == RC_OK)
			q->pools++;
	}
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

enum rc queue_pool_grow(struct queue *q, enum slot_class class, struct err *e)
{
	char name[24];
	int fd;
	enum rc rc;

	if (q->pools == POOL_FILES_MAX)
		return err_set(e, RC_LIMIT, "the pool has %d files", POOL_FILES_MAX);
	if (q->dir[QD_POOL] < 0)
		return err_set(e, RC_SYS, "no pool directory");
	pool_name(q->pools, class, name);
	if ((rc = qfile_nameless(q, q->dir[QD_POOL], &fd, e)) != RC_OK)
		return rc;
	/* whole and durable before it has a name: a pool file is never seen half made */
	if ((rc = write_zeros(fd, e)) != RC_OK || (rc = sync_fd(fd, name, e)) != RC_OK ||
	    (rc = qfile_name(q, fd, q->dir[QD_POOL], name, e)) != RC_OK ||
	    (rc = sync_fd(q->dir[QD_POOL], "pool", e)) != RC_OK) {
		qfile_drop(q, fd);
		return rc;
	}
	q->class[q->pools] = class;
	q->pool[q->pools++] = fd;
	return RC_OK;
}

struct slot_pos queue_slot(const struct queue *q, uint32_t slot)
{
	unsigned file = slot / SLOT_COUNT, i = slot % SLOT_COUNT;

	INVARIANT(slot < queue_slots(q));
	if (i >= classes[q->class[file]].count)
		return (struct slot_pos){ .fd = -1 };
	return (struct slot_pos){ q->pool[file], (int64_t)i * classes[q->class[file]].bytes,
				  classes[q->class[file]].bytes };
}

enum rc queue_pool_sync(struct queue *q, uint64_t files, struct err *e)
{
	enum rc rc = RC_OK;

	for (unsigned i = 0; i < q->pools && i < 64; i++)
		if ((files >> i & 1) != 0 && fdatasync(q->pool[i]) != 0)
			rc = err_sys(e, "sync pool/slots.%u", i);
	return rc;
}
