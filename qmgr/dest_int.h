/* qmgr/dest_int.h - transports, destinations, jobs and peers as carrier.c, dest.c and schedule.c share them (the words of
 * SCHEDULER_README). */
#ifndef QMGR_DEST_INT_H
#define QMGR_DEST_INT_H

#include "qmgr.h"
#include "base/heap.h"
#include "preempt.h"
#include "window.h"

struct carrier { /* a transport */
	struct list link;
	char name[128];
	size_t busy, process_limit; /* 0: none */
	struct window_rules rules;
	struct preempt_rules slots;
	int64_t recipient_limit, rate_delay_s;
	int64_t own_delay_s; /* default_transport_rate_delay: one delivery at a time, with pauses */
	mono_t not_before;   /* ... and the end of this one */
	struct timer again;
	mono_t suspended_until;
	struct table *dests; /* name -> struct dest */
	/* schedule.c */
	struct heap ready; /* destinations that may be sent to, in the order of their first peers */
	struct list jobs;  /* in the order of arrival */
	int64_t front, back;
	uint64_t turns;
	const struct job *current; /* the first, when it was looked who should go before it; found: */
	struct job *candidate;	   /* NULL also when it is gone since */
	bool nobody;
	mono_t searched;
	bool news; /* since then a job came up that could be a better one */
};

struct dest {
	struct carrier *t;
	char *name; /* in t->dests */
	char *nexthop;
	size_t busy;
	struct window window;
	mono_t dead_until, not_before, remember_until; /* failures count together for minimal_backoff_time */
	char dead_dsn[16], dead_reason[512];
	struct timer again;
	/* schedule.c */
	struct list peers;	/* by the rank of their jobs */
	struct heap_item ready; /* in t->ready */
	struct peer *first;	/* while it is there: whose turn it is */
	uint64_t turn;		/* of its last delivery, or since when it waits */
};

/* A message in one transport. */
struct job {
	struct list link;	/* in t->jobs */
	struct list of_message; /* in m->jobs */
	struct message *m;
	struct carrier *t;
	struct list peers;
	int64_t rank; /* the lower, the earlier */
	mono_t since;
	struct preempt slots;
};
/* Its recipients of one destination. */
struct peer {
	struct list link;   /* in dest->peers */
	struct list of_job; /* in job->peers */
	struct job *job;
	struct dest *dest;
	uint32_t *rcpt;
	size_t n, next;
};

/* ---- carrier.c ---- */
struct carrier *carrier_get(struct span name);
struct list *carriers(void);
bool carrier_suspended(const struct carrier *t);
/* Whether the transport takes one more delivery now. */
bool carrier_may_start(const struct carrier *t);
/* Its pause begins. */
void carrier_pause(struct carrier *t);

/* ---- dest.c ---- */
/* Whether the destination takes one more delivery now, as far as its own limits go. */
bool dest_may_start(const struct dest *d);

/* ---- schedule.c ---- */
void schedule_init(struct carrier *t);
void schedule_add(struct dest *d, struct message *m, uint32_t rcpt);
/* What dest_may_start() says may have changed. */
void schedule_place(struct dest *d);
/* Starts deliveries as limits allow. */
void schedule_kick(struct carrier *t);
/* Takes all recipients out that wait for d, and gives each to fn. */
void schedule_drop(struct dest *d, void (*fn)(const struct dest *d, struct message *m, uint32_t rcpt));

#endif
