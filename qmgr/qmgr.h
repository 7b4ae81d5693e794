/* qmgr/qmgr.h - qmgr(8): the schedule. Which recipient goes to which transport when, how many at a time per
 * destination, when again.
 *
 * A message is in one of three places here:
 *   active   struct message: envelope in memory, recipients resolved and spread over jobs (message.c)
 *   waiting  a slot or incoming file for which there is no room in the active set yet (incoming.c)
 *   deferred struct later: id and time only (deferred.c); everything else is in the file
 * Deliveries are tasks (deliver.c). When no recipient of a message is left in flight or in a job, finish.c
 * settles it: bounce, defer, remove. What a crash leaves behind: recipients marked done are not delivered
 * again; everything else is.
 */
#ifndef QMGR_QMGR_H
#define QMGR_QMGR_H

#include "base/list.h"
#include "base/table.h"
#include "ipc/proto.h"
#include "queue/queue.h"
#include "task/task.h"

struct qmgr_conf {
	int64_t active_max; /* qmgr_message_active_limit */
	int64_t rcpt_max;   /* qmgr_message_recipient_limit; a message of no more than ... */
	int64_t
	    rcpt_min; /* ... qmgr_message_recipient_minimum comes in beyond that, too, as long as these have ... */
	int64_t rcpt_extra; /* ... default_extra_recipient_limit in all */
	int64_t clog_warn_s;
	const char *defer_transports, *filter_nexthop;
	bool delay_cleared, min_user; /* confirm_delay_cleared, allow_min_user */
	int64_t minimal_backoff_s, maximal_backoff_s, lifetime_s, bounce_lifetime_s, delay_warning_s,
	    queue_run_s;
	int64_t transport_retry_s, daemon_timeout_s, ipc_timeout_s;
};
extern struct qmgr_conf qmgr_conf;
extern struct queue *queue;

/* ---- message.c ---- */
enum message_end {
	END_NORMAL,
	END_DELETE,
	END_HOLD,
	END_RELEASE /* taken back: as END_NORMAL */,
	END_REQUEUE
};
struct ended {
	uint16_t status;    /* enum deliver_status of one that is done; 0: not in this pass */
	uint16_t expansion; /* of an alias: struct deliver_result */
	struct span relay;  /* who was asked; "" nobody */
};
enum run_state { RUN_TODO = 0, RUN_QUEUED, RUN_DONE, RUN_DEFERRED, RUN_BOUNCED };
struct message {
	struct list link; /* in the active list */
	struct qid id;
	enum queue_where where; /* QW_SLOT, QW_INCOMING, QW_DEFERRED */
	uint32_t slot, generation;
	struct list jobs;   /* one in each transport that its recipients wait for */
	struct arena arena; /* everything below */
	struct qimage im;
	uint8_t *run;		/* enum run_state per recipient */
	uint8_t *passed;	/* an agent gave the recipient to another transport: once in a pass */
	struct qstatus *status; /* per recipient: why it is not done (text in arena) */
	struct ended *ended;	/* per recipient: for reports of success */
	size_t unsettled;	/* recipients in jobs or in flight */
	bool routing;		/* more recipients may join its jobs */
	size_t at_once;		/* recipients of which one record tells an agent */
	size_t counted, *part;	/* its recipients; in which of the sums they are */
	bool flushed;		/* an operator or a client asked for it: defer_transports does not count */
	bool large;		/* it had to wait for room, because of its recipients */
	int64_t active_us;
	bool order_expire;    /* postsuper -e */
	bool told;	      /* came in for an operator's order: nothing is delivered */
	enum message_end end; /* what an operator asked for meanwhile */
};
extern struct list active_messages;
extern size_t active_count;
extern size_t active_rcpts; /* of these messages: qmgr_message_recipient_limit */
bool active_has_room(void); /* for a message; how many recipients it has is not known yet */
bool active_has_room_for_many(void);

/* From the envelope that cleanup sent, or from disk (envelope.n == 0). Starts the message; returns at once
 * when told, waits for the disk otherwise. A damaged one goes to corrupt/. */
struct message *message_start(enum queue_where where, uint32_t slot, uint32_t generation,
			      const struct qid *id);
/* A recipient reached its result for this pass; settles the message when it was the last. */
void message_settle(struct message *m, uint32_t rcpt, enum run_state state, const struct qstatus *why);
/* Before that, what an agent answered besides: kept when a report will need it. */
void message_note(struct message *m, uint32_t rcpt, const struct deliver_result *r);
void message_free(struct message *m);
struct message *message_find(struct span id); /* active ones */
/* The sender that recipient `rcpt` sees when the message asks for VERP; memory from `a`. */
struct span message_verp_sender(const struct message *m, uint32_t rcpt, struct arena *a);
bool message_is_probe(
    const struct message *m); /* nothing of it is delivered; the results are what is wanted */

/* When its time in the queue began: the arrival; of a requeued one, when it was. */
int64_t message_since_us(const struct message *m);
/* The line in the log (and event) of a recipient that no agent was asked for. `status`: another word than why->status has, or NULL. */
void message_log_result(const struct message *m, uint32_t rcpt, const struct qstatus *why,
			const char *status);

/* ---- incoming.c: what is known but not active yet ---- */
void incoming_add(enum queue_where where, uint32_t slot, uint32_t generation, const struct qid *id,
		  bool flushed);
/* m, which the caller frees, has more recipients than there is room for. Those with few may come in before it. */
void incoming_postpone(const struct message *m);
void incoming_was_read(const struct message *m); /* or could not be */
bool incoming_behind(void);			 /* more comes in than can be worked on */
/* After a while, from the same place: it could not be read or moved (disk full, no descriptors). */
void incoming_again(enum queue_where where, uint32_t slot, uint32_t generation, const struct qid *id);
void incoming_refill(void); /* there is room in the active set */
size_t incoming_count(void);
/* A message that waits ("": the first) becomes active at once, limit or not, to be told what an operator
 * wants; nothing of it is delivered in this pass. NULL: it does not wait. */
struct message *incoming_pull(struct span id);
void incoming_scan(void); /* at start and QOP_RESCAN: slots, incoming/, active/, deferred/ */

/* ---- takeover.c: what Postfix left in this queue; before the first scan. Waits for the disk. True: not all of it, to be tried again. ---- */
bool takeover(void);

/* ---- deferred.c ---- */
void deferred_add(const struct qid *id, int64_t next_try_us);
bool deferred_forget(struct span id);
/* An operator says so: "" all. Number of messages woken. */
uint32_t deferred_wake(struct span id);
void deferred_room(void); /* there is room in the active set that nobody else wants */
void deferred_found(
    void); /* the scan at the start is over: a flush that came before that counts for what it found */
void deferred_run(void);  /* the task that wakes them in time */
void deferred_kick(void); /* looks at the times now */
size_t deferred_count(void);

/* ---- carrier.c: transports ---- */
void carriers_prepare(void); /* as root: reads master.cf */

/* ---- schedule.c ---- */
/* All recipients of m are in their jobs (m->routing is over): what is there is all there is. */
void schedule_routed(struct message *m);

/* ---- dest.c: destinations, concurrency ---- */
struct dest;
/* Puts recipient `rcpt` of m into the job of (transport, nexthop). */
void dest_enqueue(struct message *m, uint32_t rcpt, struct span transport, struct span nexthop);
void dest_kick_all(void); /* starts deliveries as limits allow */
/* Forgets which transports and destinations are taken for dead: a flush tries them all. */
void dest_revive_all(void);
/* The destination that most active recipients wait for, for a warning; NULL: nobody waits. */
const struct dest *dest_fullest(size_t *recipients);
/* Outcome of one delivery. */
void dest_delivery_done(struct dest *d, bool destination_dead, struct span dsn, struct span reason);
const char *dest_transport_name(const struct dest *d);
struct span dest_nexthop(const struct dest *d);
bool dest_has_more(const struct dest *d);
size_t dest_recipient_limit(const struct dest *d);
/* The transport of d has no agent: what waits for it, and what comes within this time, is deferred, so that it
 * takes no place in the active queue from mail that can be delivered. */
void dest_suspend_transport(struct dest *d, int64_t seconds);

/* ---- deliver.c ---- */
struct delivery {
	struct dest *dest;
	struct message *m;
	uint32_t *rcpt; /* owned */
	size_t n;
	unsigned tries;
};
void delivery_start(struct dest *d, struct message *m, const uint32_t *rcpt, size_t n);

/* ---- finish.c ---- */
void message_finish(struct message *m);
/* Tells cleanup that a slot is free again. */
void slots_release(uint32_t slot, uint32_t generation);
void slots_start(void);

/* ---- control.c ---- */
void answer_control(struct ipc_call *call, const void *request);
/* What was asked of a message while its end was being written already. */
void control_late(enum message_end end, bool expire, const struct qid *id);
void answer_active(struct ipc_call *call, const void *request);

#endif
