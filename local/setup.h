/* local/setup.h - what the agents do alike when they start: tables and locks. */
#ifndef LOCAL_SETUP_H
#define LOCAL_SETUP_H

#include "map/map.h"
#include "store/store.h"

/* The tables of a parameter, for lookups that decide whose rights are used: $1 in results is refused. Dies
 * when unusable. */
struct maps *setup_maps(const char *param);
/* The same for tables that give texts: $1 is allowed. */
struct maps *setup_text_maps(const char *param);
/* `param` names the parameter with the methods. */
void setup_lock(const char *param, struct store_lock *out);

#endif
