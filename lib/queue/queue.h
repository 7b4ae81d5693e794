/* queue/queue.h - the queue directory: the pool of slots and the files of their own.
 *
 *   pool/slots.N     preallocated and written once: SLOT_COUNT slots of SLOT_BYTES; overwritten in place; a slot is reused only
 *   pool/large.N     after its DONE mark reached the disk (with the next commit), oldest first. large.N has a quarter as
 *                    many, four times as large, and is made when the first message comes that wants one. N counts both
 *                    kinds; slot numbers are N * SLOT_COUNT and up, so those of a large file have gaps
 *   incoming/ID      larger messages, and all when the pool is full; file being written has no name yet (O_TMPFILE)
 *   active/          unused on disk: being active is qmgr's memory (the directory stays for tools that count files)
 *   deferred/X/ID    X is the first digit of the id reversed in time (hash), one of 16 directories
 *   hold/ID, corrupt/ID
 *   maildrop/ID      what users submitted while nobody took it, and what goes through cleanup(8) once more (queue_file_requeue)
 * The life of a slot is told in queue/slots.h. qmgr leaves alone a slot that is damaged: cleanup may be writing it just now, and
 * tells of it when it is whole; cleanup clears damaged slots away when it starts. After IPC_QMGR_NEW for a (slot, generation) that
 * qmgr has finished already (it may have found the slot by itself) qmgr does nothing.
 * Who does what: cleanup allocates and commits; qmgr owns messages from IPC_QMGR_NEW on (marks, moves, removes); commands
 * touch files only when master is not running.
 * All calls block: use task_offload() inside daemons. */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "ipc/proto.h"
#include "queue/qfile.h"

#define SLOT_BYTES     (72 * 1024) /* header + 64 KiB content + 4 KiB envelope */
#define SLOT_COUNT     256	   /* per pool file: 18 MiB */
#define POOL_FILES_MAX 64
enum slot_class { SLOT_SMALL, SLOT_LARGE };
#define SLOT_CLASSES	 2
#define LARGE_SLOT_BYTES (4 * SLOT_BYTES)
#define LARGE_SLOT_COUNT (SLOT_COUNT / 4)
#define LARGE_CONTENT	 (LARGE_SLOT_BYTES - 16 * 1024) /* the rest is for header and envelope */

struct queue; /* opaque: directory descriptors */
/* One process at a time allocates slots: takes the lock of the pool, or RC_AGAIN. It ends with unlock, queue_close() or the process. */
MUST_CHECK enum rc queue_pool_lock(struct queue *q, struct err *e);
void queue_pool_unlock(struct queue *q);
/* dir: the queue directory ("" after a chroot). rw: false for listing only. */
MUST_CHECK enum rc queue_open(const char *dir, bool rw, struct queue **out, struct err *e);
void queue_close(struct queue **q);

/* ---- slots ---- */
struct slot_pos {
	int fd;		/* of the pool file, the queue's own */
	int64_t base;	/* offset of the image */
	uint64_t bytes; /* room for it; 0: there is no such slot */
};
unsigned queue_slots(const struct queue *q); /* numbers below it may be slots of existing pool files */
enum slot_class queue_pool_class(const struct queue *q, unsigned file);
/* One more pool file, written and synced; RC_LIMIT. */
MUST_CHECK enum rc queue_pool_grow(struct queue *q, enum slot_class class, struct err *e);
MUST_CHECK enum rc queue_pool_refresh(struct queue *q,
				      struct err *e); /* opens pool files that another process added */
struct slot_pos queue_slot(const struct queue *q, uint32_t slot);
/* fdatasync of every pool file of which a bit in `files` is set. A failure means that the data is lost: RC_SYS, and the
 * caller must not acknowledge, nor try the sync again, but write elsewhere. */
MUST_CHECK enum rc queue_pool_sync(struct queue *q, uint64_t files, struct err *e);

/* ---- files ---- */
/* A nameless file in incoming/. */
MUST_CHECK enum rc queue_file_new(struct queue *q, int *fd, struct err *e);
/* Closes one that is not wanted any more (one that was named: just close it). */
void queue_file_drop(struct queue *q, int fd);
/* Names it `where`/ID, fsyncs file and directory: after RC_OK it survives a power cut, name and all. */
MUST_CHECK enum rc queue_file_commit(struct queue *q, int fd, const struct qid *id, enum queue_where where,
				     struct err *e);
/* Only the name and file fsync; the directory is synced later for many at once. */
MUST_CHECK enum rc queue_file_link(struct queue *q, int fd, const struct qid *id, enum queue_where where,
				   struct err *e);
MUST_CHECK enum rc queue_dir_sync(struct queue *q, enum queue_where where, struct err *e);
MUST_CHECK enum rc queue_file_open(struct queue *q, const struct qid *id, enum queue_where where, bool rw,
				   int *fd, struct err *e);
MUST_CHECK enum rc queue_file_move(struct queue *q, const struct qid *id, enum queue_where from,
				   enum queue_where to, struct err *e);
MUST_CHECK enum rc queue_file_remove(struct queue *q, const struct qid *id, enum queue_where where,
				     struct err *e);
/* Hands the message of a file to pickup(8), which submits it as a new one: flagged ENVF_RESUBMITTED, then moved to maildrop/, durably. A
 * message that was in a slot has to be one of a file first, and the slot's DONE mark on the disk, or a crash brings it back beside
 * the new one. */
MUST_CHECK enum rc queue_file_requeue(struct queue *q, const struct qid *id, enum queue_where where,
				      struct err *e);
/* Copies a damaged slot to corrupt/ID, durably. cleanup's, at its start. */
MUST_CHECK enum rc queue_slot_corrupt(struct queue *q, uint32_t slot, const struct qid *id, struct err *e);
/* Moves a damaged file to corrupt/. `name` is as queue_list() gave it, or an id. */
MUST_CHECK enum rc queue_file_corrupt(struct queue *q, const char *name, enum queue_where where,
				      struct err *e);
/* Every name below `where` ("X/ID" in deferred/); id is NULL for one that is no queue id; fn returns false to stop. */
MUST_CHECK enum rc queue_list(struct queue *q, enum queue_where where,
			      bool (*fn)(void *arg, const struct qid *id, const char *name), void *arg,
			      struct err *e);
/* Writes a message that is in a slot into a file of its own in `where` with states and log (deferral, hold), synced; the
 * slot stays LIVE until the caller marks it done. */
MUST_CHECK enum rc queue_slot_to_file(struct queue *q, uint32_t slot, const struct qimage *im,
				      enum queue_where where, const struct qstatus *log, size_t n,
				      struct err *e);
/* Free bytes and inodes of the file system: for queue_minfree and 452. */
MUST_CHECK enum rc queue_space(struct queue *q, uint64_t *bytes, uint64_t *inodes, struct err *e);

#endif
