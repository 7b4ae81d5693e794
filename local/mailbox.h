/* local/mailbox.h - final delivery into a mailbox, through the recipient's child: virtual and local alike. */
#ifndef LOCAL_MAILBOX_H
#define LOCAL_MAILBOX_H

#include "store/store.h"
#include "workers.h"

struct mailbox_target {
	const struct asuser_id *id;
	struct span path; /* absolute; a final slash makes it a Maildir */
	uint64_t limit;	  /* bytes; 0: none */
	const struct store_lock *lock;
	struct span recipient; /* as delivered to */
	struct span sender;
	struct span prefix;  /* header lines in front */
	const char *failure; /* "maildir delivery failed: ": before the reason when it fails */
	const char *done;    /* "delivered to maildir" */
	bool alone;	     /* a child for this delivery only */
};
/* Fills the outcome. Waits. */
void mailbox_deliver(struct agent *m, const struct mailbox_target *t, struct outcome *o);
/* Why the identity's child could not be asked. */
void mailbox_no_child(struct outcome *o, enum rc rc, struct arena *a, const char *text);

#endif
