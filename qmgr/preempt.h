/* qmgr/preempt.h - when a message with few deliveries may go before one with many, in the same transport: the arithmetic of
 * SCHEDULER_README (delivery slots, loan and discount). Every `cost` deliveries of a message make a slot, and a message that needs no
 * more deliveries than there are slots may go before it, a part of them in advance. So a mailing list takes at most 1/cost longer. */
#ifndef QMGR_PREEMPT_H
#define QMGR_PREEMPT_H

#include <stdbool.h>
#include <stdint.h>

struct preempt_rules {
	int64_t cost; /* TRANSPORT_delivery_slot_cost; 0: nobody goes before another */
	int64_t loan; /* TRANSPORT_delivery_slot_loan: slots in advance ... */
	int64_t
	    discount; /* TRANSPORT_delivery_slot_discount: ... and this per cent of those that are needed */
	int64_t
	    minimum; /* TRANSPORT_minimum_delivery_slots: a message that never makes so many lets nobody pass */
};
struct preempt {
	int64_t left; /* deliveries still to be made */
	int64_t
	    saved; /* made, without those that paid for slots; below 0: what was lent has to be made first */
};
/* How many deliveries a message may have at most that goes before this one, now or later; 0: nobody does. */
int64_t preempt_most(const struct preempt_rules *r, const struct preempt *p);
/* Whether there are slots enough now for one that needs `need`. */
bool preempt_now(const struct preempt_rules *r, const struct preempt *p, int64_t need);
/* It went before. */
void preempt_pay(const struct preempt_rules *r, struct preempt *p, int64_t need);

#endif
