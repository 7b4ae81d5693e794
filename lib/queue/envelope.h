/* queue/envelope.h - what is known of a message besides its content. Encoded (with the codec of ipc/ipc.h, one parser)
 * it travels from smtpd to cleanup to qmgr and stands in the queue file; decoded it is this struct.
 * All addresses are without angle brackets, in external (quoted) form, "" is the null reverse-path (RFC 5321 4.5.5). */
#ifndef QUEUE_ENVELOPE_H
#define QUEUE_ENVELOPE_H

#include "base/arena.h"
#include "ipc/ipc.h"

#define ENV_RCPT_MAX 100000
#define ENV_ADDR_MAX 1024 /* RFC 5321 4.5.3.1 allows 256; extensions and xtext are longer */
#define ENV_TEXT_MAX 1024

/* RFC 3461 NOTIFY; 0: not given */
#define NOTIFY_NEVER   1
#define NOTIFY_SUCCESS 2
#define NOTIFY_FAILURE 4
#define NOTIFY_DELAY   8
#define NOTIFY_ALIAS                                                                                         \
	16 /* no recipient, and done: an alias that was expanded, which a report of success names (RFC 3461 section 5.2.7) */
#define NOTIFY_TEXT 32 /* bytes of the longest list of words, and its NUL */

/* The bit of a word of NOTIFY (RFC 3461 section 4.1), in any case; 0: it is none. */
uint16_t notify_bit(struct span word);
/* The words of these bits, into `out`: "NEVER", "SUCCESS,DELAY"; "" for 0. */
const char *notify_words(uint16_t bits, char out[NOTIFY_TEXT]);
/* What those are asked for whom an alias stands for: all but the success, which is that it was expanded. */
uint16_t notify_expanded(uint16_t bits);

enum env_ret { RET_NONE = 0, RET_FULL = 1, RET_HDRS = 2 };
enum env_body { BODY_7BIT = 0, BODY_8BITMIME = 1 };

/* envelope.flags */
#define ENVF_SMTPUTF8	   (1u << 0)
#define ENVF_HOLD	   (1u << 1) /* goes to hold/ */
#define ENVF_LOCAL	   (1u << 2) /* local rewriting context: complete and rewrite headers */
#define ENVF_NO_CANONICAL  (1u << 3) /* receive_override_options no_address_mappings */
#define ENVF_NO_HEADERBODY (1u << 4) /* no_header_body_checks */
#define ENVF_NO_MILTERS	   (1u << 5)
#define ENVF_BOUNCE	   (1u << 6) /* made by bounce: never bounced again to its sender */
#define ENVF_TRACE	   (1u << 7) /* sendmail -v / -bv: report by mail */
#define ENVF_VERIFY_ONLY   (1u << 8) /* sendmail -bv: probe, do not deliver */
#define ENVF_PROBE	   (1u << 9) /* address probe of verify(8) */
#define ENVF_DISCARD	   (1u << 10)
#define ENVF_WARNED	   (1u << 11) /* the delay warning was sent */
#define ENVF_EXPIRE	   (1u << 12) /* postsuper -e: force expiry */
#define ENVF_MIME_CONVERT  (1u << 13) /* content holds 8-bit data */
#define ENVF_RESUBMITTED   (1u << 14) /* postsuper -r: on its way to maildrop/, and the message made of it */
#define ENVF_EXTRACT	   (1u << 15) /* sendmail -t: recipients from the header; such Bcc: is removed */
#define ENVF_GATEWAY	   (1u << 16) /* sendmail -G: pickup leaves out ENVF_LOCAL */

enum rcpt_state {
	RCPT_TODO = 0,	  /* to be delivered (at first or again) */
	RCPT_DONE = 1,	  /* delivered, or its DSN was sent: nothing left to do */
	RCPT_BOUNCED = 2, /* failed for good, the DSN is not sent yet */
};
struct env_rcpt {
	struct span addr;  /* forward-path after rewriting and alias expansion */
	struct span orig;  /* as it came in RCPT TO; "" when the same */
	struct span orcpt; /* RFC 3461: "rfc822;xtext-decoded address" or "" */
	uint16_t notify;   /* NOTIFY_ bits */
	uint16_t state;	   /* enum rcpt_state; on disk the byte in the status area counts */
};
struct envelope {
	struct span qid;
	int64_t arrival_us; /* wall clock */
	struct span sender;
	uint32_t flags;
	uint16_t ret, body;
	struct span envid;	/* xtext-decoded */
	struct span message_id; /* for the log; with its angle brackets */
	uint64_t size;		/* of the content as it is logged (queue/msgsize.h) */
	uint16_t hops;		/* Received: fields seen */
	/* where it came from: XFORWARD/XCLIENT names, for agents, filters, pipe(8) macros and logs; "" unknown */
	struct span client_name, client_addr, client_port, helo, protocol;
	struct span rev_client_name;
	struct span sasl_method, sasl_username, sasl_sender;
	struct span ident;	    /* log id at the first hop */
	struct span content_filter; /* "transport:nexthop" */
	struct span redirect;	    /* all recipients replaced by this one */
	struct span verp;	    /* VERP delimiters */
	struct span full_name;	    /* sendmail -F: for a From: that has to be made */
	struct ipc_list rcpts;	    /* struct env_rcpt */
};
extern const struct field envelope_fields[], env_rcpt_fields[];

MUST_CHECK enum rc envelope_encode(const struct envelope *env, struct buf *out);
/* Spans point into `bytes`, the recipient array lives in `a`. RC_SYNTAX: damaged. */
MUST_CHECK enum rc envelope_decode(struct span bytes, struct arena *a, struct envelope *out, struct err *e);
static inline struct env_rcpt *envelope_rcpt(const struct envelope *env, size_t i)
{
	return (struct env_rcpt *)env->rcpts.v + i;
}

#endif
