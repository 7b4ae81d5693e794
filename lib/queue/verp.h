/* queue/verp.h - variable envelope return paths: the sender's address says which recipient failed
 * (postconf(5), default_verp_delimiters). Pure. */
#ifndef QUEUE_VERP_H
#define QUEUE_VERP_H

#include "base/arena.h"
#include "base/span.h"

/* Two characters, both of them in `filter` (verp_delimiter_filter). */
bool verp_delims_ok(struct span delims, const char *filter);
/* "owner-list@origin" and "user@domain" with "+=" give "owner-list+user=domain@origin"; memory from `a`. The
 * null sender, and anything with other than two delimiters, is returned as it is. */
struct span verp_sender(struct span sender, struct span delims, struct span rcpt, struct arena *a);

#endif
