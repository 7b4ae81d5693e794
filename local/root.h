/* local/root.h - mail for root itself. Postfix's local(8) reads root's .forward and puts mail into root's mailbox, and on
 * a fresh host nobody has made an alias yet; these are the only things that are ever done as root for a recipient
 * (asuser.h: root_dir, root_files). Commands, files and lists that root's aliases or .forward name are default_privs'. */
#ifndef LOCAL_ROOT_H
#define LOCAL_ROOT_H

#include "account.h"
#include "store/store.h"
#include "workers.h"

/* In prepare(), after local_conf_read(): which accounts have uid 0 (root's, and those that /etc/passwd has beside it), where their mailboxes are,
 * and what forward_path says for them without an extension. NULL: nothing is done as root. */
const struct worker_root *root_prepare(void);
/* False: not that account, or it has no mailbox that can be delivered to; *why says so. */
bool root_mailbox_of(const struct account *u, struct asuser_id *id, struct span *path, const char **why);
/* True: the child of *id may read that path of root's; false for all that was not known in prepare(). */
bool root_file_of(const struct account *u, struct span path, struct asuser_id *id);
/* mailbox_delivery_lock without what was locked for the child already. */
const struct store_lock *root_mailbox_lock(void);

#endif
