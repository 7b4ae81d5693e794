/* sandbox/caps.h - capability sets by the system calls themselves. Not for daemons: they use sandbox_enter().
 */
#ifndef SANDBOX_CAPS_H
#define SANDBOX_CAPS_H

#include "base/rc.h"

/* The bounding set alone, while CAP_SETPCAP is still there; without it nothing happens. */
MUST_CHECK enum rc caps_drop_bounding(const int *keep, struct err *e);
/* Reduces bounding, permitted, effective and inheritable sets to `keep` (CAP_ numbers ended by -1; NULL:
 * none). Never adds. */
MUST_CHECK enum rc caps_keep(const int *keep, struct err *e);

#endif
