/* session.h - one IMAP connection after log-in, in the process of its user.
 *
 *	AUTHENTICATED --SELECT/EXAMINE--> SELECTED --CLOSE/UNSELECT, failed SELECT--> AUTHENTICATED
 *	any --LOGOUT, error--> LOGOUT */
#ifndef IMAPD_SESSION_H
#define IMAPD_SESSION_H

#include "parse.h"
#include "store/store.h"
#include "task/stream.h"

enum session_state { ST_AUTHENTICATED = 1, ST_SELECTED = 2, ST_LOGOUT = 4 };
#define ST_ANY (ST_AUTHENTICATED | ST_SELECTED)

struct command;
struct session_conf {
	int64_t timeout_s;    /* imapd_timeout */
	uint64_t max_message; /* imapd_message_size_limit, 0 none */
};

struct session {
	struct stream *io;
	struct store *store;
	const struct session_conf *conf;
	const char *who; /* start of log lines */
	enum session_state state;
	struct mailbox *mb;
	bool readonly, condstore;
	struct arena a; /* the command at hand */
	struct buf cmd; /* its text */
	struct buf out; /* a response being put together */
	struct span tag;
	bool uid_command; /* "UID x": numbers are UIDs, and expunges may be told */
	bool done;	  /* the tagged reply was sent */
	const struct command *current;
	const char *why_ended;
	char why_buf[160];
	/* figures for the log */
	uint32_t deleted, expunged, hdr_count, body_count;
	uint64_t hdr_bytes, body_bytes;
};

struct command {
	const char *name;
	unsigned legal_in;
	unsigned flags;
	void (*run)(struct session *s, struct parse *p);
};
#define CMD_NO_EXPUNGE 1 /* RFC 3501 7.4.1: no EXPUNGE while FETCH, STORE, SEARCH */
#define CMD_UID	       2 /* has a UID form */
#define CMD_NO_POLL    4
extern const struct command commands[];

/* Serves until the end; the stream stays the caller's. `first`: the tag of the log-in command, answered here
 * ("" none). */
void session_run(struct session *s, struct span first_tag);
extern const char capability_after_login[];

/* ---- replies ---- */
/* Tagged OK and NO tell first what is new in the mailbox, as far as the command allows it. */
void reply(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3); /* untagged: "* " and CRLF are added */
void tagged_ok(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void tagged_no(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void tagged_bad(struct session *s, const struct parse *p);
/* NO with a response code (RFC 5530) that fits the failure. */
void tagged_failure(struct session *s, const struct err *e);
void session_end(struct session *s, const char *why);
/* Polls the mailbox and tells what is new. */
void session_news(struct session *s, bool expunge);
enum rc session_literal(struct session *s, uint64_t n, bool nonsync, struct buf *into);
/* Reads one line into *line (no end); false: the session is over. */
bool session_line(struct session *s, struct span *line, size_t max);

/* ---- text.c: pieces of responses into a buf ---- */
void put_string(struct buf *b, struct span s);	   /* quoted or literal */
void put_nstring(struct buf *b, struct span s);	   /* NIL when s.p is NULL */
void put_mailbox(struct buf *b, struct span name); /* atom-like names quoted, too: what clients expect */
void put_flags(struct buf *b, const struct session *s, const struct message *m, bool recent);
void put_date_time(struct buf *b, int64_t seconds);
void put_numset(struct buf *b, const uint32_t *v, size_t n); /* "1:3,7", in the order given */
/* Sequence numbers of the set (UIDs when s->uid_command) that are in the view; array in s->a. */
size_t session_numbers(struct session *s, struct numset *set, size_t **seq);
/* False after a BAD: a sequence number beyond the view. */
bool session_set(struct session *s, struct parse *p, size_t **seq, size_t *n);

/* ---- structure.c ---- */
struct structure {
	struct span envelope, bodystructure, body;
};
void structure_make(struct span message, struct arena *a, struct structure *out);
void structure_encode(const struct structure *st, struct buf *out); /* for mailbox_cache_put() */
bool structure_decode(struct span blob, struct structure *out);
/* From the cache, or made now from the message. */
MUST_CHECK enum rc session_structure(struct session *s, size_t seq, struct arena *a, struct structure *out,
				     struct err *e);

/* ---- search.c ---- */
struct search_key;
/* Texts are in `charset`, which charset_to_utf8() must know. */
bool search_parse(struct session *s, struct parse *p, struct span charset, struct search_key **out);
bool search_match(struct session *s, struct search_key *k, size_t seq, struct arena *a);
bool search_uses_modseq(const struct search_key *k);

/* ---- the commands ---- */
#define COMMAND(name) void name(struct session *s, struct parse *p)
COMMAND(cmd_capability);
COMMAND(cmd_noop);
COMMAND(cmd_logout);
COMMAND(cmd_id);
COMMAND(cmd_namespace);
COMMAND(cmd_enable);
COMMAND(cmd_select);
COMMAND(cmd_examine);
COMMAND(cmd_close);
COMMAND(cmd_unselect);
COMMAND(cmd_check);
COMMAND(cmd_expunge);
COMMAND(cmd_create);
COMMAND(cmd_delete);
COMMAND(cmd_rename);
COMMAND(cmd_subscribe);
COMMAND(cmd_unsubscribe);
COMMAND(cmd_list);
COMMAND(cmd_lsub);
COMMAND(cmd_status);
COMMAND(cmd_append);
COMMAND(cmd_fetch);
COMMAND(cmd_store);
COMMAND(cmd_search);
COMMAND(cmd_copy);
COMMAND(cmd_move);
COMMAND(cmd_idle);
COMMAND(cmd_already);

#endif
