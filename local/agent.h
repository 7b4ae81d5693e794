/* local/agent.h - one delivery request of qmgr's in progress: what local, virtual and pipe do alike. */
#ifndef LOCAL_AGENT_H
#define LOCAL_AGENT_H

#include "queue/envelope.h"
#include "smtp/dlog.h"

#define AGENT_REASON_MAX 900 /* bytes of a reason; the record has room for 1024 */

struct agent {
	struct ipc_call *call;
	const struct deliver *d;
	struct arena *a; /* of the call */
	struct envelope env;
	struct dlog_times times;
	struct deliver_result *out; /* one per recipient, in their order */
	size_t open;		    /* recipients without result */
};

/* How one recipient fared. */
struct outcome {
	enum deliver_status status;
	const char *dsn; /* "2.0.0" */
	struct span reason;
	struct span relay;  /* "" the service's name */
	bool unlogged;	    /* somebody else has logged it, or will */
	bool softened;	    /* soft_bounce made a bounce wait */
	uint16_t expansion; /* struct deliver_result */
	struct span
	    unix; /* what a command said, or its exit status means: the diagnostic of type x-unix; "" none */
};

/* RC_SYNTAX: the request was damaged, and has been answered already. */
MUST_CHECK enum rc agent_begin(struct ipc_call *call, const void *request, struct agent **out);
static inline const struct deliver_rcpt *agent_rcpt(const struct agent *m, size_t i)
{
	return (const struct deliver_rcpt *)m->d->rcpts.v + i;
}
/* Logs and keeps the result; the last one answers qmgr and frees the request (m is gone then). */
void agent_result(struct agent *m, size_t i, const struct outcome *o);
static inline bool agent_probe(const struct agent *m)
{
	return (m->d->flags & DELF_VERIFY) != 0;
}
/* Tables of the parameter, one of *_delivery_status_filter: applied to every outcome before it is logged. In prepare(). */
void agent_filter_open(const char *param);
/* What the filter and soft_bounce make of it. An outcome that somebody else has logged stays as it is. */
struct outcome agent_filtered(const struct agent *m, const struct outcome *o);
/* The word of the log for an outcome that went through them. */
const char *agent_status(const struct agent *m, const struct outcome *o);
/* outcome_set(o, DS_BOUNCED, "5.1.1", a, "unknown user: ...") */
void outcome_set(struct outcome *o, enum deliver_status status, const char *dsn, struct arena *a,
		 const char *fmt, ...) PRINTF_LIKE(5, 6);
/* The bytes of the message from `off` on, at most n; of content in memory or in the file. Blocks for the
 * file. RC_EOF at its end. */
MUST_CHECK enum rc agent_pread(const struct agent *m, uint64_t off, char *dst, size_t n, size_t *got,
			       struct err *e);
/* The header of the message (at most 64 KiB of it), in the call's arena. Waits. */
MUST_CHECK enum rc agent_header(struct agent *m, struct span *header, struct err *e);

/* ---- header lines in front of a delivered message ---- */
#define HEAD_FROM      1 /* From_ line */
#define HEAD_RETURN    2 /* Return-Path: */
#define HEAD_ORIGINAL  4 /* X-Original-To:, when enable_original_recipient */
#define HEAD_DELIVERED 8 /* Delivered-To: */
struct span agent_head(struct agent *m, unsigned what, struct span sender, struct span original,
		       struct span delivered);
/* True when a Delivered-To: field of the header names `addr`. */
bool agent_was_delivered(struct span header, struct span addr);

#endif
