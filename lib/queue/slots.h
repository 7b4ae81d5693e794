/* queue/slots.h - which slots of the pool may be written: the allocator's memory. One process has it: who holds queue_pool_lock().
 *
 *            take            written + synced          qmgr: all delivered       sync begun      synced
 *   FREE ----------> TAKEN ------------------> LIVE -----------------> DONE ------------> SYNCING -----> FREE
 *     ^                | failed, never written                          ^                    | the sync failed
 *     +----------------+                                                +---- (file out of use) 
 *
 * Why a slot waits after DONE: the DONE mark is written by qmgr and not synced. Were the slot overwritten at once and the power
 * cut in the middle of that, the disk could hold the LIVE header of the old message over half of a new one, or still the whole
 * old message, delivered long ago. So a slot is free only when a sync that began after the mark has ended well. The mark costs no sync of
 * its own: the next commit of any message in the same file carries it.
 *
 * What a power cut can leave in a slot, and what it means at the next start:
 *   header DONE, or zeros              free, whatever lies behind it
 *   header LIVE, all checksums right   a message (acknowledged, or written whole and never acknowledged: delivered all the same)
 *   header LIVE, a checksum wrong      a new message torn over a done one: never acknowledged, since its sync did not end. Kept in
 *                                      corrupt/ for the curious, free
 *   header wrong                       free
 * A status byte that an earlier message left behind carries another generation and counts as TODO. */
#ifndef QUEUE_SLOTS_H
#define QUEUE_SLOTS_H

#include "queue/queue.h"

struct slots; /* opaque: queue/slots.c */

/* Reads all headers and, of LIVE slots, the checksums. report() is told of damaged ones (already dealt with).
 * The queue's pool must be locked. Blocking. */
MUST_CHECK enum rc slots_open(struct queue *q, void (*report)(void *arg, uint32_t slot, const char *story),
			      void *arg, struct slots **out, struct err *e);
void slots_close(struct slots **s);
void slots_added(struct slots *s); /* after queue_pool_grow(): the new file's slots are free */
/* The slot that is free for the longest time, in the first file of that class that has one. false: none. */
bool slots_take(struct slots *s, enum slot_class class, uint32_t *slot, uint32_t *generation);
/* Taken, and nothing was written there. */
void slots_put_back(struct slots *s, uint32_t slot);
/* The message in it is durable and will be (or was) told to qmgr. true: qmgr has finished it already, having
 * found it by itself. */
bool slots_live(struct slots *s, uint32_t slot);
/* qmgr wrote DONE. A wrong generation is ignored: false. */
bool slots_done(struct slots *s, uint32_t slot, uint32_t generation);
/* Looks for DONE marks that nobody told us of. Returns how many. Blocking (reads of cached pages). */
size_t slots_rescan(struct slots *s);
/* A sync of the pool files `files` begins / has ended; failed files are not used again. */
void slots_sync_begin(struct slots *s, uint64_t files);
void slots_sync_end(struct slots *s, uint64_t files, uint64_t failed);
uint64_t slots_waiting_files(const struct slots *s); /* bits of files with slots in DONE */
size_t slots_count(const struct slots *s, enum slot_class class);
size_t slots_free_count(const struct slots *s, enum slot_class class);
size_t slots_live_count(const struct slots *s, enum slot_class class);

#endif
