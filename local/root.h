/* local/root.h - mail for root itself. Postfix's local(8) puts it into root's mailbox, and on a fresh host
 * nobody has made an alias yet; it is the only thing that is ever done as root for a recipient (asuser.h:
 * root_dir). Commands and files of root's aliases are default_privs'. */
#ifndef LOCAL_ROOT_H
#define LOCAL_ROOT_H

#include "account.h"
#include "store/store.h"
#include "workers.h"

/* In prepare(), after local_conf_read(): which account root is, and where its mailbox is. NULL: it has none
 * that can be delivered to. */
const struct worker_root *root_mailbox_prepare(void);
/* False: not that account, or nothing was prepared. */
bool root_mailbox_of(const struct account *u, struct asuser_id *id, struct span *path);
/* mailbox_delivery_lock without what was locked for the child already. */
const struct store_lock *root_mailbox_lock(void);

#endif
