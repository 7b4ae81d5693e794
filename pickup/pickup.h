/* pickup.h - what the files of pickup(8) share. */
#ifndef PICKUP_H
#define PICKUP_H

#include "ipc/proto.h"
#include "log/log.h"
#include "queue/queue.h"
#include "queue/envelope.h"
#include "service/service.h"

/* A message on its way to cleanup(8). Content is in memory or in file `fd`. */
struct pickup_message {
	struct envelope env; /* as handed in; cleaned up by submit() */
	uid_t uid;	     /* who handed it in */
	struct span content; /* fd < 0 */
	int fd;
	int64_t content_off;
	uint64_t content_bytes;
	int64_t arrival_us;
	bool
	    judged; /* postdrop(1) has asked who may submit, and as whom: what it took is not refused for that any more */
	const struct qid
	    *requeued; /* postsuper -r: the id that it had; the envelope is believed. NULL: a submission */
};
/* Submits it; the verdict's texts live in `a`. code 0: on stable storage. */
void submit(struct pickup_message *m, struct arena *a, struct cleanup_submit_reply *r);
void submit_prepare(void);

/* ---- requeued.c ---- */
/* What cleanup(8) gets of a message that was in the queue before. False: nobody of it is left to be delivered to. */
bool requeued_envelope(const struct qimage *was, struct envelope *out, struct arena *a);

/* authorized_submit_users. *name: the user's name, for the reply. */
void users_prepare(void);
/* RC_OK; RC_NOTFOUND: no; else a table does not answer. */
enum rc user_allowed(uid_t uid, const char **name, struct err *e);
void users_read(void);		  /* before the sandbox */
const char *user_name(uid_t uid); /* NULL: none, or users_read() was not called */

/* local_login_sender_maps. */
void senders_prepare(void);
/* RC_DENIED: that user may not; RC_AGAIN: the table cannot tell now. *name: as user_name(). */
MUST_CHECK enum rc sender_allowed(uid_t uid, struct span sender, struct arena *a, const char **name,
				  struct err *e);

void maildrop_start(void);
void maildrop_scan(void);

#endif
