/* local/setup.h - what the agents do alike when they start: tables, locks, commands. */
#ifndef LOCAL_SETUP_H
#define LOCAL_SETUP_H

#include "asuser/attributes.h"
#include "map/map.h"
#include "store/store.h"

/* The tables of a parameter, for lookups that decide whose rights are used: $1 in results is refused. Dies
 * when unusable. */
struct maps *setup_maps(const char *param);
/* The same for tables that give texts: $1 is allowed. */
struct maps *setup_text_maps(const char *param);
/* `param` names the parameter with the methods. */
void setup_lock(const char *param, struct store_lock *out);
/* The size that `param` allows a mailbox; 0: any. Dies when a message of the size that message_size_limit allows has no room in it. */
uint64_t setup_limit(const char *param);
/* The command of this service's line in master.cf, and whose rights it has; id->tag is the caller's. Dies when it makes no sense. */
void setup_command(bool spawn, struct arena *a, struct attributes *out, struct asuser_id *id);

#endif
