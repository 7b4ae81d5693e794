/* queue/requeue.c - a message goes back to where local mail enters (postsuper(1), -r).
 *
 * One rename, so that the message is in one place at any moment: in its queue, or in maildrop/. The flag that tells pickup(8) what it is
 * reaches the disk before the name does: without it the file would be taken for a submission of mail_owner's. */
#include "queue/qdir.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static enum rc set_flag(struct queue *q, const struct qid *id, enum queue_where where, struct err *e)
{
	struct qimage im;
	struct arena a;
	int fd = -1;
	enum rc rc = queue_file_open(q, id, where, true, &fd, e);

	if (rc != RC_OK)
		return rc;
	arena_init(&a);
	rc = qimage_read(fd, 0, UINT64_MAX, false, &a, &im, e);
	if (rc == RC_OK)
		rc = qimage_schedule(fd, 0, 0, im.attempts, im.env.flags | ENVF_RESUBMITTED, e);
	if (rc == RC_OK)
		rc = sync_fd(fd, id->s, e);
	arena_release(&a);
	close(fd);
	return rc;
}

/* A file of that name in maildrop/ is somebody else's mail: never replaced. */
static enum rc rename_to(struct queue *q, const struct qid *id, int from, struct err *e)
{
	int to = q->dir[QD_MAILDROP];
	enum rc rc;

	if (renameat2(from, id->s, to, id->s, 1 /* RENAME_NOREPLACE */) != 0)
		return errno == ENOENT ? err_set(e, RC_NOTFOUND, "%s: no such queue file", id->s)
				       : err_sys(e, "move %s to maildrop", id->s);
	rc = sync_fd(to, "maildrop", e);
	return rc == RC_OK ? sync_fd(from, "queue directory", e) : rc;
}

enum rc queue_file_requeue(struct queue *q, const struct qid *id, enum queue_where where, struct err *e)
{
	bool own;
	int from;
	enum rc rc;

	if (q->dir[QD_MAILDROP] < 0)
		return err_set(e, RC_SYS, "maildrop: no such directory");
	if ((rc = set_flag(q, id, where, e)) != RC_OK)
		return rc;
	from = qfile_dir(q, id, where, &own);
	rc = from < 0 ? err_sys(e, "open directory of %s", id->s) : rename_to(q, id, from, e);
	qfile_dir_done(from, own);
	return rc;
}
