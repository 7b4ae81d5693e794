/* cleanup.h - what the files of cleanup(8) share. A message is a `job` from its submission to its reply. */
#ifndef CLEANUP_H
#define CLEANUP_H

#include "base/codec.h"
#include "base/table.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "map/map.h"
#include "map/own_domains.h"
#include "mime/address.h"
#include "mime/header.h"
#include "queue/slots.h"
#include "service/service.h"

/* ---- settings.c: main.cf, read once ---- */
/* What is done with a message whose header ends with a line of text instead of an empty one. */
enum unended { UNENDED_FIX, UNENDED_TELL, UNENDED_REFUSE };

struct settings {
	const char *myhostname, *myorigin, *always_bcc, *undisclosed;
	struct address_extensions extensions;
	int64_t message_size_limit, header_size_limit, hopcount_limit, body_checks_limit, nesting_limit,
	    queue_minfree, in_flow_delay_s;
	int64_t boundary_limit, token_limit, duplicate_limit;
	bool add_missing, original_recipient, long_ids, replace_cr, soft_bounce;
	bool from_obsolete;	       /* header_from_format */
	enum unended unended;	       /* non_empty_end_of_header_action */
	struct span full_name_charset; /* full_name_encoding_charset; "": names go as they are */
	bool force_7bit;	       /* force_mime_input_conversion */
	bool mime, detect_8bit;	       /* !disable_mime_input_processing, detect_8bit_encoding_header */
	bool strict_headers, strict_body,
	    strict_domain;   /* strict_7bit_headers, _8bitmime_body, _mime_encoding_domain */
	bool remote_rewrite; /* remote_header_rewrite_domain is set */
	bool smtputf8;
	struct span autodetect;		       /* smtputf8_autodetect_classes */
	struct span reject_chars, strip_chars; /* message_reject_characters, message_strip_characters */
	bool mappings;			       /* some table or masquerading may change an envelope address */
	bool header_rewrite;		       /* ... or a header address that is complete already */
	struct span drop;		       /* message_drop_headers: names */
	struct maps *header_checks, *mime_header_checks, *nested_header_checks, *body_checks;
	struct own_domains *own;
	struct maps *sender_bcc, *recipient_bcc;
};
extern struct settings settings;
void settings_load(void);

/* ---- one message ---- */
struct large_file; /* largefile.c */

/* The message is a run of pieces: bytes of the content as submitted, or new text. */
struct piece {
	bool fresh;
	struct span text;  /* fresh, or content in memory */
	uint64_t off, len; /* !fresh: bytes of the content, counted from its first */
};

struct job {
	struct arena a;
	struct envelope env;
	struct qid qid;
	bool external; /* from outside: checks and copies apply (not to what bounce or local make) */
	bool checks;   /* header and body checks apply; PASS ends them */
	bool discard, hold;
	const char *peer;
	struct span content; /* small message, whole */
	struct large_file *file;
	uint64_t content_bytes;
	struct span header; /* of a large message: the first bytes, read */
	/* outcome of the edits: new header text, then the content from `body_off` on through the pieces */
	struct buf new_header;
	bool header_changed;
	uint64_t body_off;
	struct piece *piece;
	size_t pieces, piece_cap;
	struct span recip_log; /* first recipient, for log lines */
	/* bcc and redirect of checks */
	struct span *add_rcpt;
	size_t add_rcpts, add_cap;
	struct env_rcpt *alias; /* NOTIFY_ALIAS */
	size_t aliases, alias_cap;
	struct span redirect;
	/* refused: code != 0 */
	struct verdict verdict;
	/* where it went */
	enum queue_where where;
	uint32_t slot, generation;
	/* the commit it waits for */
	struct list link;
	struct batch *batch;
};
/* Refuses the message (the first reason counts); soft_bounce applied. */
void job_refuse(struct job *j, unsigned code, const char *dsn, const char *text);
void job_refuse_span(struct job *j, unsigned code, struct span dsn, struct span text);
static inline bool job_refused(const struct job *j)
{
	return j->verdict.code != 0;
}

/* By "postsuper -r": only pickup(8) may say so. */
static inline bool job_resubmitted(const struct job *j)
{
	return (j->env.flags & ENVF_RESUBMITTED) && span_is(span_str(j->peer), "pickup");
}

void answer_submit(struct ipc_call *call, const void *request);
/* Whether that program brings what others send. */
bool from_network(const char *program);

/* ---- recipients.c ---- */
/* Sender and recipients through the router: canonical, virtual aliases; copies; duplicates taken out. */
void job_expand(struct job *j);
/* Those that header and body checks asked for. */
void job_late_recipients(struct job *j);

/* ---- header.c, header_names.c, header_addr.c, body.c, checks.c ---- */
enum header_id {
	HID_OTHER,
	HID_BCC,
	HID_CC,
	HID_CONTENT_LENGTH,
	HID_DATE,
	HID_FROM,
	HID_MESSAGE_ID,
	HID_RECEIVED,
	HID_RESENT_BCC,
	HID_RESENT_CC,
	HID_RESENT_DATE,
	HID_RESENT_FROM,
	HID_RESENT_MESSAGE_ID,
	HID_RESENT_TO,
	HID_RETURN_PATH,
	HID_TO,
	HID_MIME,
	HID_SENDER_ADDR,
	HID_RCPT_ADDR,
	HID_RESENT_OTHER,
	HID_COUNT
};
#define HB(id)	  (1u << (id))
#define HF_SENDER 1 /* holds addresses of senders */
#define HF_RCPT	  2
#define HF_MIME	  4
#define HF_RESENT 8
struct header_kind {
	const char *name; /* lower case */
	enum header_id id;
	unsigned flags;
};
const struct header_kind *header_kind_of(struct span name); /* never NULL */

struct out_field {
	struct span text; /* whole field with its final LF */
	const struct header_kind *kind;
};
void job_header(struct job *j); /* fills new_header, body_off */
void header_rewrite_addresses(struct job *j, struct out_field *v, size_t n);
void job_body(struct job *j); /* fills the pieces */

enum check_act { CA_KEEP, CA_DROP };
/* Asks `table` about `text` (a header or body line without its line end). *text may be replaced; *before: a
 * line to put in front, or "". `class` is "header" or "body". */
enum check_act check_text(struct job *j, struct maps *table, const char *class, struct span *text,
			  struct span *before);

/* ---- mime_rules.c: what strict_* parameters and the character lists refuse ---- */
/* "reject: mime-error text: what ..." is logged and the message refused, once. */
void mime_refuse(struct job *j, const char *why, struct span what);
/* Refused when it holds one of message_reject_characters; else without message_strip_characters. The result is `text`
 * itself when nothing had to go. */
struct span chars_filter(struct job *j, struct span text);
static inline bool chars_wanted(const struct job *j)
{
	return j->checks && (settings.reject_chars.n > 0 || settings.strip_chars.n > 0);
}
/* Marks mail that needs RFC 6531 though its sender did not say so. `header`: as it leaves. */
void smtputf8_detect(struct job *j, struct span header);

/* ---- checks.c ---- */
/* "QID: action: class what from client; ...: text" */
void check_log(struct job *j, const char *action, const char *class, struct span what, struct span text);

/* ---- store.c, commit.c, largefile.c ---- */
struct batch {
	struct list jobs;
	struct waitq done;
	uint64_t pools;	     /* files to sync */
	bool incoming, hold; /* directories to sync */
	unsigned users;	     /* frees the batch when the last has read its result */
	uint64_t failed_pools;
	bool failed_incoming, failed_hold;
};
extern struct queue *queue;
extern struct slots *slots; /* NULL: another process has the pool, or there is none */
void store_start(void);
void store_drain(void);
bool store_wants_copy(const struct job *j, uint64_t bytes);
/* Writes the message and waits until it is durable; refuses it when that is impossible. */
void job_store(struct job *j);
void commit_start(void);
/* Waits until what `files` and the directory bits name has been synced by a sync that began after this call.
 */
MUST_CHECK enum rc commit_pool(unsigned file);
MUST_CHECK enum rc commit_dir(enum queue_where where);
void commit_kick(void); /* sync files with DONE marks even when no message waits */

/* Whether `need` bytes are free for what the program brings: of what is sent from here, and what the queue's own work makes, any are enough. */
bool room_for_mail(const char *program, uint64_t need);
void answer_file(struct ipc_call *call, const void *request);
void answer_abort(struct ipc_call *call, const void *request);
void answer_slots(struct ipc_call *call, const void *request);
/* The file that `chan` was given for this id: taken out of the table. NULL: none. */
struct large_file *large_take(struct ipc_chan *chan, struct span qid);
int large_fd(const struct large_file *f);
void large_forget(struct ipc_chan *chan); /* the client went away */
void large_drop(struct large_file **f);	  /* closes; a file that got its name stays */
MUST_CHECK enum rc large_read(const struct large_file *f, uint64_t off, void *dst, size_t n, struct err *e);

/* ---- notify.c: telling qmgr ---- */
void notify_start(void);
void notify_new(const struct job *j);

/* ---- flow.c: in_flow_delay ---- */
void flow_wait(void); /* before a message from outside is looked at */

/* ---- bounce.c ---- */
/* A message that a local user handed in and that must be refused comes back as a report. true: the report is
 * queued. */
bool job_bounce(struct job *j);

#endif
