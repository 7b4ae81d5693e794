/* watch.h - one inotify instance per process (a uid has 128 of them): tells idling sessions that a mailbox
 * changed on disk. */
#ifndef IMAPD_WATCH_H
#define IMAPD_WATCH_H

#include "store/store.h"

struct watch; /* opaque */
/* fn(arg) is called from a task after every change; NULL: inotify is not to be had, poll instead. */
struct watch *watch_start(const struct mailbox *mb, void (*fn)(void *arg), void *arg);
void watch_stop(struct watch **w); /* NULL is fine */

#endif
