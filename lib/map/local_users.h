/* map/local_users.h - parameters that say which local users may do something: authorized_mailq_users, authorized_flush_users,
 * authorized_submit_users (lists of names), and which envelope senders a login name may use: local_login_sender_maps. Asked by the
 * commands themselves, and by pickup(8). */
#ifndef MAP_LOCAL_USERS_H
#define MAP_LOCAL_USERS_H

#include "conf/conf.h"
#include "map/map.h"
#include <sys/types.h>

/* Whether the list that is the value of `param` holds `name`: RC_OK, RC_NOTFOUND; RC_AGAIN a table failed, RC_SYNTAX. Opens
 * tables: for programs without a sandbox. */
MUST_CHECK enum rc local_user_listed(const struct conf *c, const char *param, const char *name,
				     struct err *e);

struct login_senders; /* opaque: map/local_users.c */
/* *out stays NULL when everybody may use any sender, as by default. What it takes from `c` has to live as long. A table that cannot
 * be opened is told of in the log and answers RC_AGAIN. */
MUST_CHECK enum rc login_senders_open(const struct conf *c, struct login_senders **out, struct err *e);
void login_senders_close(struct login_senders **ls);
/* name: NULL when that uid has none. RC_DENIED: may not; RC_AGAIN: a table cannot tell now. */
MUST_CHECK enum rc login_senders_match(const struct login_senders *ls, const char *name, uid_t uid,
				       struct span sender, struct arena *a, struct err *e);

#endif
