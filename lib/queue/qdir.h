/* queue/qdir.h - the open queue directory. Internal to lib/queue. */
#ifndef QUEUE_QDIR_H
#define QUEUE_QDIR_H

#include "base/list.h"
#include "queue/queue.h"
#include <pthread.h>

enum qdir { QD_POOL, QD_INCOMING, QD_ACTIVE, QD_DEFERRED, QD_HOLD, QD_CORRUPT, QD_MAILDROP, QD_COUNT };

struct queue {
	int top;
	int dir[QD_COUNT]; /* -1: not there, or not ours to open */
	bool rw;
	bool named; /* O_TMPFILE + linkat does not work here: files being written have names (files.c) */
	struct list named_files;
	pthread_mutex_t lock; /* of named_files: calls run on helper threads */
	int pool[POOL_FILES_MAX];
	enum slot_class class[POOL_FILES_MAX];
	unsigned pools;
};

#define NEW_PREFIX ".new." /* a file being written, where it has to have a name: ".new.PID.N" */

enum qdir qdir_of(enum queue_where where);
const char *qdir_name(enum qdir dir);
/* Where a message's file belongs, from the queue's own directory on: "ID", in deferred/ "X/ID". */
void qfile_place(const struct qid *id, enum queue_where where, char out[QID_MAX + 3]);
/* The directory of a file: the queue's own descriptor, or (deferred/X) one that qfile_dir_done() closes: *own. -1: errno. */
int qfile_dir(struct queue *q, const struct qid *id, enum queue_where where, bool *own);
void qfile_dir_done(int dirfd, bool own);
void pool_close(struct queue *q);
/* A file without a name in directory `dirfd`, and giving it one. qfile_name: EEXIST stays in errno. */
MUST_CHECK enum rc qfile_nameless(struct queue *q, int dirfd, int *fd, struct err *e);
MUST_CHECK enum rc qfile_name(struct queue *q, int fd, int dirfd, const char *name, struct err *e);
void qfile_drop(struct queue *q, int fd); /* closes one that never got its name */
/* Which files want O_TMPFILE: tells what works here. */
void qfile_probe(struct queue *q);
MUST_CHECK enum rc sync_fd(int fd, const char *what, struct err *e);

#endif
