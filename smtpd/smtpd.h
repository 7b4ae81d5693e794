/* smtpd.h - what the files of smtpd(8) share: configuration, the session, the transaction.
 *
 *	CONNECT --greeting--> START --HELO--> READY --MAIL--> transaction --DATA, BDAT LAST--> READY
 *	                        ^               ^                  |
 *	                        |               +------------------+ RSET, HELO, EHLO, an error in a chunk
 *	                        +-- STARTTLS, XCLIENT
 *
 * A session is one task (session.c) and reads top to bottom. Memory: the session's arena lives as long as the
 * connection, the transaction's ends in one act, transaction_end(). */
#ifndef SMTPD_SMTPD_H
#define SMTPD_SMTPD_H

#include "client.h"
#include "data_scan.h"
#include "log/log.h"
#include "map/map.h"
#include "map/own_domains.h"
#include "mime/address.h"
#include "net/endpoint.h"
#include "net/hostname.h"
#include "net/tls.h"
#include "smtp/params.h"
#include "smtp/transcript.h"
#include "queue/envelope.h"
#include "queue/qid.h"
#include "sasl/authclient.h"
#include "service/service.h"

/* ---- configuration (settings.c): read once, in prepare() ---- */
enum bare_lf { BARE_LF_ALLOW, BARE_LF_NORMALIZE, BARE_LF_NOTE, BARE_LF_REJECT };
enum stage {
	AT_CLIENT,
	AT_HELO,
	AT_SENDER,
	AT_RELAY,
	AT_RECIPIENT,
	AT_DATA,
	AT_END_OF_DATA,
	AT_ETRN,
	STAGES
};
struct rule_list;

struct smtpd_conf {
	bool lmtp;
	const char *banner, *myhostname, *mail_name;
	const char *cleanup_service, *rewrite_service;
	int64_t proxy_timeout_s; /* 0: no PROXY header is expected */
	int64_t timeout_s, starttls_timeout_s, ipc_timeout_s;
	bool per_request_deadline;
	int64_t line_length_limit, message_size_limit;
	int64_t junk_limit, soft_error_limit, hard_error_limit, error_sleep_s;
	int64_t rcpt_limit, rcpt_overshoot;
	bool helo_required, delay_reject, allow_min_user, resolve_numeric_domain, strict_envelopes,
	    disable_vrfy, soft_bounce, smtputf8, peername_lookup;
	unsigned notice_classes; /* transcript.h: sessions that the postmaster is told of */
	int64_t history_max;	 /* smtpd_history_flush_threshold */
	bool reject_unlisted_rcpt, reject_unlisted_sender, relay_first, forbid_unauth_pipe;
	enum bare_lf bare_lf;
	int64_t bare_lf_code;
	bool strict_utf8,
	    delay_open;	 /* delay_open: a message has no queue id before its first good recipient */
	bool show_table; /* show_user_unknown_table_name */
	const char *reject_footer, *null_key;
	struct address_extensions extensions;
	bool expansion_ok[256]; /* smtpd_expansion_filter, by octet */
	unsigned discard_ehlo;	/* bits of ehlo keywords */
	unsigned env_flags;	/* receive_override_options */
	bool takes_unlisted;	/* no_unknown_recipient_checks */
	const char *content_filter;
	const char *rbl_reply;
	struct {
		int64_t reject, defer, access_reject, access_defer, rbl, relay, invalid_host, non_fqdn,
		    unknown_client, unknown_host, unknown_address, multi_bounce, plaintext;
	} code;
	struct {
		int64_t reject, defer; /* codes */
		const char *reason;    /* instead of the probe's; "" none */
		bool defer_action;     /* _tempfail_action = defer */
	} unverified[2];	       /* sender, recipient */
	int64_t verify_polls, verify_delay_s;
	const char *verify_service;
	bool defer_unknown_helo, defer_unknown_address; /* ..._tempfail_action = defer, not defer_if_permit */
	/* AUTH */
	bool auth, auth_tls_only, auth_broken_clients;
	unsigned auth_forbid, auth_forbid_tls; /* AUTHMECH_ bits; of AUTHMECH_WANTED: demanded */
	const char *sasl_service, *sasl_path, *sasl_local_domain;
	int64_t sasl_limit;
	bool sasl_header;
	/* TLS */
	enum tls_level tls; /* TLS_NONE, TLS_MAY, TLS_ENCRYPT */
	bool tls_wrapper, tls_header, tls_ask, tls_req;
	struct maps *relay_certs; /* relay_clientcerts */
	int tls_loglevel;
	struct tls_server *tls_server;
	/* smtpd_proxy_filter */
	bool before_on, before_speed;
	struct endpoint before;
	const char *before_ehlo;
	int64_t before_timeout_s;
	/* lists and tables */
	struct match_list *mynetworks, *xclient, *xforward, *verp_clients, *bare_lf_except, *auth_except,
	    *limit_except, *local_ip, *mech_filter, *backup_networks, *log_permits, *debug_peers;
	struct maps *command_filter, *footer_maps, *reject_filter;
	const char *verp_delims, *verp_filter;
	struct own_domains *own;
	struct maps *rewrite_table, *discard_maps, *login_maps, *rbl_reply_maps, *forbidden_table;
	bool rewrite_inet, rewrite_mynetworks, rewrite_sasl, rewrite_certs, rewrite_all_certs, rewrite_all;
	struct span *noop_cmd, *forbidden_cmd;
	size_t noops, forbidden;
	struct rule_list *restrict_at[STAGES];
	/* Defaults of an older compatibility_level are in force. */
	bool old_networks, old_relay, old_order, old_no_relay_list, old_digest;
	bool access_parents;	  /* parent_domain_matches_subdomains has smtpd_access_maps */
	int64_t prefix4, prefix6; /* bits of an address that tell clients apart */
	bool hide_session, log_port, untrusted_routing;
	int64_t min_data_rate, limit_tls_rate;
	struct endpoint sasl_server;
	int64_t limit_connections, limit_connect_rate, limit_mail_rate, limit_rcpt_rate, limit_auth_rate;
};
extern struct smtpd_conf conf;
void settings_load(void);

/* ---- a message on its way to cleanup(8) (content.c) ---- */
struct content;

/* ---- the mail transaction: from MAIL to the end of data ---- */
struct transaction {
	struct span sender; /* external form, "" the null reverse-path */
	struct mail_params mail;
	struct env_rcpt *rcpt;
	size_t rcpts, rcpt_cap, rcpt_bytes, overshoot;
	struct qid qid; /* from the first accepted recipient on */
	bool
	    settled; /* the end of data was judged: the log has more to tell of qid than that nothing came of it */
	int64_t arrival_us;
	/* what access tables said */
	bool hold, discard;
	struct span filter, redirect, prepend;
	struct span *bcc;
	size_t bccs, bcc_cap;
	struct before_queue *before; /* the filter's side; NULL: not asked yet */
	struct content *content;     /* between BDAT chunks, and within DATA */
	bool bdat;
	struct span answer; /* of the filter before the queue, when it took the message */
};

#define DNSBL_FAILED_MAX 50
struct session {
	struct list link; /* all sessions */
	struct service_conn *conn;
	struct stream *io;
	struct arena arena; /* the session's */
	struct arena tx_arena;
	struct transaction *tx; /* NULL: none */
	struct client client;
	struct forward fwd;
	/* the conversation */
	struct span etrn;	 /* the domain of the ETRN that runs */
	struct span rcpt_now;	 /* of the command that runs; for footers */
	struct span reply_first; /* lines that the next reply has before its last one */
	bool greeted;
	const char *where;		 /* the last command, for the log */
	unsigned errors, junk, messages; /* messages: accepted */
	bool idle;			 /* waits for a command */
	bool hangup;			 /* no further command is read */
	bool got_bare_lf;
	unsigned discard_ehlo;
	bool lenient_lf;   /* excepted from smtpd_forbid_bare_newline */
	bool may_xforward; /* judged by the address that connected */
	bool ill_pipelined;
	bool denied; /* refused when it connected: nothing but QUIT is done */
	/* Chunks are discarded until the transaction is given up, which began with MAIL or did not. */
	enum { BDAT_FINE, BDAT_WITHOUT_MAIL, BDAT_OF_MAIL } bdat_failed;
	bool counted;	    /* anvil knows of the connection */
	bool auth_excepted; /* is not offered AUTH */
	/* TLS */
	struct tls_info *tls; /* NULL: clear text */
	bool tls_refused;     /* for the certificate that it showed, or not */
	/* delayed verdicts of restrictions */
	struct verdict defer_if_permit, defer_if_reject; /* code 0: none; of the check that runs */
	struct verdict wish[3]; /* defer_if_permit of client, HELO, sender, when they are judged at once */
	struct span
	    failed_list[DNSBL_FAILED_MAX]; /* names of DNS lists that gave no answer: not asked again */
	size_t failed_lists;
	/* the transcript */
	struct transcript said;
	bool debug;		      /* -v, or debug_peer_list: the dialogue is logged */
	unsigned trouble;	      /* bits of smtp/transcript.h */
	bool policy;		      /* the next reply is one of a restriction */
	bool unlisted;		      /* ... that says that an address is not there */
	const char *ended_by;	      /* NULL: QUIT */
	unsigned done[24], tried[24]; /* per row of the command table; the last row is "unknown" */
};

/* ---- session.c ---- */
void session_serve(struct service_conn *c);
void session_drain(void);
const char *session_proto(const struct session *s);   /* "SMTP", "ESMTP", "LMTP" */
const char *session_client(const struct session *s);  /* "name[addr]"; in the session's arena */
const char *session_message(const struct session *s); /* the queue id, for the log; "NOQUEUE": none yet */
void transaction_end(struct session *s);
bool session_in_mail(
    const struct session *s); /* MAIL was accepted, also when its content is given up already */
/* Before commands that say who the client is (XCLIENT). */
void session_identify(struct session *s);
/* By name and address; false for an empty list. */
bool session_in_list(const struct session *s, struct match_list *l);
/* Reads one line of an exchange inside a command (AUTH). false: the connection is over. */
bool session_line(struct session *s, struct span *line, size_t max);
bool session_lost(struct session *s, enum rc rc); /* logs why; always false */
deadline_t session_deadline(void);
void session_flush(struct session *s, int64_t within_s); /* a failure shows at the next read */
/* Unread input where there must be none (RFC 2920 section 3.2): true when the client was sent away. */
bool session_bad_pipelining(struct session *s);
/* Input that should not be, for the log: with its line ends and bytes that are no text to be seen. In `b`. */
const char *session_visible(struct span s, struct buf *b);

/* ---- macros.c: $client_address and the like, in replies that administrators write ---- */
struct words_of {
	struct session *s;
	struct span rcpt;
};
/* smtpd_expansion_filter: what may not come from outside into a reply becomes '_'. */
struct span expansion_filter(struct arena *a, struct span value);
/* For conf_expand_with(); arg is a struct words_of. */
bool session_word(void *arg, struct span name, struct span *value);

/* ---- reply.c ---- */
/* One line "CODE [DSN] text" or several parted by '\n'. A 4xx or 5xx gets the footer, and a pause when there
 * were many. */
void reply(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void reply_verdict(struct session *s, const struct verdict *v); /* an error */
/* "QID: " or "NOQUEUE: " reject line, in Postfix's form; `what` is "reject", "hold" ... */
void log_action(struct session *s, const char *what, const char *where, struct span rcpt, const char *text);

/* ---- filters.c ---- */
struct span command_filter(struct session *s, struct span line,
			   struct arena *a);		      /* what is done instead of `line` */
struct span reject_filter(struct span text, struct arena *a); /* "550 5.1.1 ..." */
struct span reject_footer(struct span text, struct arena *a); /* "" none */

/* ---- command.c ---- */
/* false: an unknown command. */
void command_run(struct session *s, struct span line);
void command_log_counts(const struct session *s, struct buf *out);
#define CMD_ROWS 24

/* ---- cmd_*.c: each returns whether it counts as done ---- */
bool cmd_helo(struct session *s, struct span arg);
bool cmd_ehlo(struct session *s, struct span arg);
bool cmd_lhlo(struct session *s, struct span arg);
bool cmd_mail(struct session *s, struct span arg);
bool cmd_rcpt(struct session *s, struct span arg);
/* The message gets its queue id, and the log the line that says whose it is. */
void transaction_name(struct session *s);
bool client_is_local(const struct session *s); /* local_header_rewrite_clients, or what XFORWARD told */
bool cmd_data(struct session *s, struct span arg);
bool cmd_bdat(struct session *s, struct span arg);
bool cmd_rset(struct session *s, struct span arg);
bool cmd_noop(struct session *s, struct span arg);
bool cmd_vrfy(struct session *s, struct span arg);
bool cmd_etrn(struct session *s, struct span arg);
bool cmd_quit(struct session *s, struct span arg);
bool cmd_starttls(struct session *s, struct span arg);
bool cmd_auth(struct session *s, struct span arg);
bool cmd_xclient(struct session *s, struct span arg);
bool cmd_xforward(struct session *s, struct span arg);
/* Reads an address of a command: the path as given in, the address in external form out. NULL, or a reply. */
const char *take_path(struct session *s, struct span path, bool utf8, bool null_ok, struct span *out);
/* A domain beyond ASCII in a transaction that did not ask for SMTPUTF8 (RFC 6531 section 3.4). */
bool undeclared_domain(struct span addr, bool smtputf8);
/* The warning that goes with such a refusal; `text` as the client sent it. log_strict: when `said`, a reply of
 * params_path(), is one. */
void log_bad_address(struct session *s, const char *verb, struct span text);
void log_strict(struct session *s, const char *verb, const char *said, struct span arg);
struct span said_path(struct span arg,
		      struct span params); /* a path as it stands in the command: arg ends with params */
bool tls_start(struct session *s);
/* The client has shown a certificate that an authority of ours vouches for; RC_OK one that relay_clientcerts lists (may wait). */
bool client_certified(const struct session *s);
enum rc client_cert_listed(const struct session *s, struct arena *a);
bool auth_offered(const struct session *s);
/* " PLAIN LOGIN" of what is announced now; "" none. */
void auth_mechs(struct session *s, struct buf *out);
unsigned ehlo_keyword(struct span name); /* bit of a keyword, 0 unknown */
#define KW_PIPELINING 1u
#define KW_SIZE	      2u
#define KW_VRFY	      4u
#define KW_ETRN	      8u
#define KW_STARTTLS   16u
#define KW_AUTH	      32u
#define KW_XCLIENT    64u
#define KW_XFORWARD   128u
#define KW_ESC	      256u
#define KW_8BITMIME   512u
#define KW_DSN	      1024u
#define KW_SMTPUTF8   2048u
#define KW_CHUNKING   4096u
#define KW_XVERP      16384u
#define KW_SILENT     8192u		      /* silent-discard */
unsigned extensions(const struct session *s); /* EXT_ bits of smtp/params.h */

/* ---- content.c ---- */
/* opening.c: `at` is where the content of the client begins in the buffer. Settled as far as what is there
 * allows; `end`: there is no more to wait for. */
struct opening {
	size_t at;
	unsigned from_lines;
	bool done;
};
void opening_settle(struct opening *o, struct buf *b, bool end);

struct content *content_open(struct session *s, bool chunked);
/* Takes bytes off *in: all, or those up to the end mark. */
void content_feed(struct session *s, struct content *c, struct span *in);
struct data_scan *content_scan(struct content *c);
/* As RFC 1870 section 5 counts: line ends are two octets. The total counts the end that the last line may still get. */
uint64_t content_bytes(const struct content *c);
uint64_t content_total(const struct content *c);
/* Hands the message to cleanup(8); frees. The verdict's code is 0 when it is on stable storage. */
struct verdict content_submit(struct session *s, struct content **c);
void content_abort(struct session *s, struct content **c);

/* ---- before_queue.c: smtpd_proxy_filter; each step gives what the client is to be told when it fails ---- */
#define BEFORE_SPEED_BYTES (1024 * 1024)
struct before_queue;
void before_end(struct before_queue **b); /* NULL is fine */
bool before_rcpt(struct session *s, struct verdict *v);
bool before_data(struct session *s, struct verdict *v);
bool before_content(struct session *s, struct span text, struct verdict *v);
bool before_finish(struct session *s, struct verdict *v, struct span *answer);
void before_refused(struct session *s, const struct verdict *v); /* logs what came of the end of data */

/* The Received: field and what restrictions prepend. */
struct span received_field(struct session *s, struct arena *a);

/* ---- limits.c: anvil(8) ---- */
bool limit_connect(struct session *s); /* false: too many, the reply is sent */
void limit_disconnect(struct session *s);
enum limit_kind { LIMIT_MAIL = 3, LIMIT_RCPT = 4, LIMIT_TLS = 5, LIMIT_AUTH = 6 };
bool limit_event(struct session *s, enum limit_kind kind);
/* Before a handshake: this client had too many already. Nothing is counted. */
bool limit_tls_reached(struct session *s);

/* ---- lookups.c: what router(8) says of an address, remembered for a few seconds ---- */
bool router_failed(const struct router_validate_reply *r); /* a table could not be asked */
/* RC_OK with the answer in `a`; RC_AGAIN. */
MUST_CHECK enum rc ask_router(struct span sender, struct span addr, bool class_only, struct arena *a,
			      struct router_validate_reply *out);

#endif
