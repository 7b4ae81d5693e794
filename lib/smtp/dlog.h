/* smtp/dlog.h - the one log line per recipient and delivery attempt, as Postfix writes it and as every log reader
 * expects it:
 *
 *   QID: to=<a@b>, orig_to=<c@d>, relay=host[addr]:25, conn_use=2, delay=1.2, delays=0.1/0/0.5/0.6, dsn=2.0.0,
 *   status=sent (250 2.0.0 Ok: queued as X)
 *
 * With smtp_log_tls_feature_status "tls=LEVEL, " stands before dsn. orig_to is left out when it is the recipient, conn_use when the connection was not used before. */
#ifndef SMTP_DLOG_H
#define SMTP_DLOG_H

#include "conf/conf.h"
#include "ipc/proto.h"

/* Wall clock, microseconds; each at or after the one before it. */
struct dlog_times {
	int64_t arrival_us;   /* envelope.arrival_us */
	int64_t active_us;    /* deliver.active_us: entered the active queue; 0: unknown */
	int64_t handoff_us;   /* the agent got the request */
	int64_t connected_us; /* connection made (greeting, TLS, EHLO over), or given up; 0: agents without a
				 network */
	int64_t done_us;      /* 0: now */
};

/* What one line says. */
struct dlog {
	struct span qid;
	const struct deliver_rcpt *rcpt;
	struct dlog_times times;
	struct span relay;  /* "mx.example[192.0.2.1]:25", "local", "virtual", "none" */
	unsigned conn_use;  /* deliveries over this connection, this one included; 0 or 1: not said */
	const char *tls;    /* level of the client's TLS policy; NULL: not said */
	struct span dsn;    /* "2.0.0" */
	const char *status; /* dlog_status() or a word of the caller's */
	struct span reason; /* stands in parentheses; "" gives "()" */
};
void dlog_delivery(const struct dlog *l);

/* Once at the start: delay_logging_resolution_limit, address_verify_negative_cache. */
void dlog_settings(const struct conf *c);
/* "sent", "deferred", "bounced"; with `probe` (DELF_VERIFY) "deliverable", "undeliverable", or
 * "undeliverable-but-not-cached". */
const char *dlog_status(enum deliver_status status, bool probe);

/* "0.05", "1.2", "12": at most two significant digits after which nothing but whole seconds matter, no
 * trailing zeros; negative spans (the clock was set back) are 0. */
#define DLOG_DELAY_MAX 32
void dlog_format_delay(int64_t us, unsigned digits, char out[DLOG_DELAY_MAX]);

#endif
