/* local/account.h - system accounts: asked on a helper thread, since the user database may be slow. */
#ifndef LOCAL_ACCOUNT_H
#define LOCAL_ACCOUNT_H

#include "base/arena.h"
#include <sys/types.h>

struct account {
	uid_t uid;
	gid_t gid;
	const char *name, *home, *shell;
};
/* Memory from `a`. RC_NOTFOUND: no such user; RC_AGAIN: the database cannot say now. */
MUST_CHECK enum rc account_by_name(struct span name, struct arena *a, struct account **out, struct err *e);
MUST_CHECK enum rc account_by_uid(uid_t uid, struct arena *a, struct account **out, struct err *e);

#endif
