/* ipc/proto.h - every message between Postern's own processes. The tables in ipc/proto.c are made from these
 * structs; version and type numbers are never reused. Encoded envelopes are queue/envelope.h. Texts are
 * bounded by the tables. */
#ifndef IPC_PROTO_H
#define IPC_PROTO_H

#include "ipc/ipc.h"

enum ipc_type_number {
	/* cleanup(8) */
	IPC_CLEANUP_SUBMIT = 10, /* smtpd pickup bounce local verify -> cleanup */
	IPC_CLEANUP_FILE = 11,	 /* a large message: a file to stream the content into */
	IPC_CLEANUP_ABORT = 12,	 /* forget the file */
	IPC_CLEANUP_SLOTS = 13,	 /* qmgr -> cleanup: these slots are free */
	/* qmgr(8) */
	IPC_QMGR_NEW = 20,     /* cleanup -> qmgr: a message became durable */
	IPC_QMGR_CONTROL = 21, /* postqueue, postsuper, flush */
	IPC_QMGR_ACTIVE = 22,  /* showq: which ids are being delivered */
	/* trivial-rewrite(8): the folder router */
	IPC_ROUTER_REWRITE = 30,
	IPC_ROUTER_RESOLVE = 31,
	IPC_ROUTER_VALIDATE = 32,
	IPC_ROUTER_EXPAND = 33,
	/* delivery agents */
	IPC_DELIVER = 40, /* qmgr -> smtp lmtp local virtual pipe error discard */
	/* bounce(8) */
	IPC_BOUNCE_SEND = 50,
	/* proxymap(8): the folder lookup */
	IPC_MAP_LOOKUP = 60,
	IPC_MAP_UPDATE = 61, /* proxywrite only */
	IPC_MAP_WALK = 62,   /* proxywrite only */
	/* tlsmgr(8) */
	IPC_TLS_CERT = 70,
	IPC_TLS_SIGN = 71,
	IPC_TLS_TICKET_KEYS = 72,
	IPC_TLS_SESSION = 73,
	/* resolver */
	IPC_DNS_QUERY = 80,
	/* pickup(8): sendmail(1) -> public/pickup */
	IPC_PICKUP_SUBMIT = 90,
	/* anvil, verify, flush */
	IPC_ANVIL = 100,
	IPC_VERIFY = 101,
	IPC_FLUSH = 102,
	IPC_VERIFY_RESULT = 103, /* qmgr -> verify */
	/* local virtual pipe -> the child that is the recipient (lib/asuser) */
	IPC_USER_STORE = 110,
	IPC_USER_READ = 111,
	IPC_USER_RUN = 112,
};

/* A verdict that goes back to an SMTP client: code 0 stands for success. */
struct verdict {
	uint16_t code;	  /* SMTP reply code, 0: OK */
	struct span dsn;  /* RFC 3463 "5.1.1" */
	struct span text; /* without code and dsn; one line */
};

/* An element of a list of addresses / of a message's byte ranges in its queue file. */
struct addr_item {
	struct span addr;
};

struct extent_item {
	uint64_t off, len;
};

/* ---- cleanup ---- */
struct cleanup_submit {
	struct span envelope; /* encoded; its qid was made by the sender (qid_new) */
	struct span content;  /* small message: header and body, lines end with LF; "" when file */
	bool file; /* the content was written to the file that IPC_CLEANUP_FILE gave for this qid */
	uint64_t content_bytes; /* with `file`: bytes written from QFILE_CONTENT_OFF on */
};
struct cleanup_submit_reply {
	uint16_t code; /* 0: queued and on stable storage */
	struct span dsn, text, qid;
};
struct cleanup_file {
	struct span qid;
};
struct cleanup_file_reply {
	uint16_t code;
	struct span dsn, text;
	int fd; /* write-only; content starts at QFILE_CONTENT_OFF (queue/qfile.h) */
};
struct cleanup_abort {
	struct span qid;
};
struct slot_ref {
	uint32_t slot;
	uint32_t generation;
};
struct cleanup_slots {
	struct ipc_list slots; /* struct slot_ref */
};

/* ---- qmgr ---- */
enum queue_where {
	QW_SLOT = 0,
	QW_INCOMING,
	QW_ACTIVE,
	QW_DEFERRED,
	QW_HOLD,
	QW_MAILDROP /* listed and read, never worked on */
};
struct qmgr_new {
	uint16_t where; /* QW_SLOT or QW_INCOMING (QW_HOLD is not told) */
	uint32_t slot, generation;
	struct span qid; /* everything else qmgr reads from the slot: it is in the page cache */
};
enum qmgr_op {
	QOP_FLUSH = 1,	/* deliver all deferred mail now */
	QOP_FLUSH_ID,	/* arg: queue id */
	QOP_FLUSH_SITE, /* arg: destination domain */
	QOP_DELETE,
	QOP_HOLD,
	QOP_RELEASE,
	QOP_REQUEUE,
	QOP_EXPIRE, /* arg: queue id or "ALL"; queues: bits of 1 << queue_where, 0 all */
	QOP_RESCAN, /* look at the directories again (files moved by hand, maildrop wake-up) */
	QOP_BEHIND, /* count: 1 when more comes in than can be worked on */
};
struct qmgr_control {
	uint16_t op;
	uint16_t queues;
	struct span arg;
};
struct qmgr_control_reply {
	uint16_t code;	/* 0 done, 1 no such message, 2 not permitted, 3 failed */
	uint32_t count; /* messages affected */
	struct span text;
};
struct qmgr_active {
	struct span after; /* ids greater than this one, in order */
};
struct qid_item {
	struct span qid;
};
struct qmgr_active_reply {
	struct ipc_list ids; /* struct qid_item, at most 1000; fewer: the end */
};

/* ---- router ----
 * By which settings it answers, the name says under which master introduced the asker (router/router.h, views). */
enum addr_class { AC_LOCAL = 0, AC_VIRTUAL_ALIAS, AC_VIRTUAL_MAILBOX, AC_RELAY, AC_DEFAULT };
struct router_rewrite {
	bool local;    /* rewriting context: append_at_myorigin and friends */
	uint16_t role; /* 0 none, else ROLE_ bits: also apply canonical_maps, masquerading for that role */
	struct ipc_list addrs; /* struct addr_item */
};
#define ROLE_ENV_SENDER 1
#define ROLE_ENV_RCPT	2
#define ROLE_HDR_SENDER 4
#define ROLE_HDR_RCPT	8
struct router_rewrite_reply {
	uint16_t code; /* 0 or 451 */
	struct span text;
	struct ipc_list addrs; /* same count and order */
};
struct router_resolve {
	struct span sender;
	struct span addr; /* recipient in standard form */
	bool probe;	  /* of address verification: by the address_verify_ routes */
};
struct router_resolve_reply {
	uint16_t code; /* 0; 451: a table failed, try later; 550...: undeliverable, with dsn and text */
	struct span dsn, text;
	uint16_t class;			      /* enum addr_class */
	struct span transport, nexthop, rcpt; /* "smtp", "[relay.example]:587" or domain, recipient */
};
/* One question per RCPT: may this address be accepted as far as the recipient is concerned? */
struct router_validate {
	struct span sender, addr;
	bool skip_known; /* only the class, not whether the recipient exists (no_unknown_recipient_checks) */
};
struct router_validate_reply {
	uint16_t code; /* 0: known or not checkable; 550 unknown, 450 per unknown_*_reject_code; 451 table
			  trouble */
	struct span dsn, text;
	uint16_t class;
	bool authorized; /* domain is local, virtual or in relay_domains: reject_unauth_destination lets it
			    pass */
	bool routed; /* source route or other address that must not be relayed even so (permit checks: % ! @
			in local part) */
	struct span rcpt; /* standard form */
	struct span transport, nexthop;
};
/* canonical (sender, recipients) and virtual alias expansion for cleanup */
struct router_expand {
	struct span sender;
	bool no_mappings;
	bool local;
	struct ipc_list rcpts; /* struct addr_item */
	uint32_t skip, sum; /* of the answer before this one, whose last recipient is the first here; or 0 */
};
struct expanded_item {
	struct span addr;
	uint32_t from; /* index into the request's recipients */
	bool
	    alias; /* none of the recipients: the address that virtual_alias_maps have expanded, before them */
};
struct router_expand_reply {
	uint16_t code;
	struct span text;
	struct span sender;
	struct ipc_list rcpts; /* struct expanded_item; duplicates of one recipient are gone */
	/* An answer holds as much as fits a record. */
	uint32_t
	    done; /* recipients of which nothing is left to say; the next question begins with the one behind them */
	uint32_t skip,
	    sum; /* what has been said of that one: items, and what shows that they are still the same */
};

/* ---- delivery ---- */
struct deliver_rcpt {
	uint32_t index; /* in the envelope */
	struct span addr, orig, orcpt;
	uint16_t notify;
};
struct deliver {
	struct span service; /* transport name as in master.cf */
	struct span nexthop;
	struct span envelope;	 /* encoded, WITHOUT recipients */
	struct ipc_list rcpts;	 /* struct deliver_rcpt */
	struct span content;	 /* small: the message, LF line ends; "" when fd is set */
	int fd;			 /* large: read-only queue file; extents say which bytes */
	struct ipc_list extents; /* struct extent_item */
	uint16_t flags;		 /* DELF_ */
	int64_t active_us;	 /* when it entered the active queue: delays= b part */
};
#define DELF_VERIFY	1 /* probe only, do not send content */
#define DELF_TRACE	2 /* success is reported, too */
#define DELF_CONN_REUSE 4 /* more mail for this destination waits: keep the connection */
enum deliver_status {
	DS_SENT = 1,
	DS_DEFERRED,
	DS_BOUNCED,
	DS_RELAYED,
	DS_EXPANDED,
	DS_SKIPPED, /* not tried: `relay` names the transport, or transport:nexthop, whose it is */
	DS_PASSED   /* sent, to a host that reports success itself (RFC 3461 section 5.2.2) */
};
struct deliver_result {
	uint32_t index;
	uint16_t status;
	struct span dsn;		  /* "2.0.0" */
	struct span reason;		  /* what stands in parentheses in the log */
	struct span diag_type, diag_text; /* RFC 3464 Diagnostic-Code: "smtp", "550 5.1.1 ..."; "" none */
	struct span remote_mta;		  /* host name or "" */
	struct span relay;		  /* relay= of the log */
	uint16_t
	    expansion; /* DS_EXPANDED, or DS_SENT to a list: what is reported of an alias as its success; 0: none */
};
struct deliver_reply {
	struct ipc_list results; /* struct deliver_result; a missing recipient counts as deferred 4.3.0 */
	bool destination_dead;	 /* no contact at all: qmgr counts it for the destination's concurrency and
				    back-off */
	struct span dead_dsn, dead_reason; /* why */
};

/* ---- bounce ---- */
enum bounce_kind {
	BK_FAILURE = 1,
	BK_DELAY,
	BK_SUCCESS /* RFC 3461 success or relayed */,
	BK_TRACE /* sendmail -v/-bv */
};
struct bounce_rcpt {
	struct span addr, orig, orcpt;
	uint16_t notify, status; /* enum deliver_status */
	struct span dsn, reason, diag_type, diag_text, remote_mta;
};
struct bounce_send {
	uint16_t kind;
	struct span envelope;  /* without recipients */
	struct ipc_list rcpts; /* struct bounce_rcpt */
	struct span content;   /* the original: whole (small) or its first 50,000 bytes */
	bool content_cut;
	int fd; /* large: as in struct deliver */
	struct ipc_list extents;
	int64_t retry_until_us; /* BK_DELAY: Will-Retry-Until */
};
struct bounce_send_reply {
	uint16_t code; /* 0: the DSN is queued (or none was due) */
	struct span text;
};

/* ---- lookup ---- */
enum map_status { MAP_FOUND = 0, MAP_MISS = 1, MAP_RETRY = 2, MAP_REFUSED = 3 };
struct map_lookup {
	struct span table; /* "hash:/etc/aliases" */
	struct span key;
	uint32_t flags;
};
struct map_lookup_reply {
	uint16_t status;
	struct span value; /* or the reason */
};
struct map_update {
	struct span table, key, value;
	bool del;
};

/* All pairs of a table, some at a time: `skip` of them were seen, and are still there. An empty answer is the end. */
struct map_walk {
	struct span table;
	uint32_t skip;
};
struct map_pair {
	struct span key, value;
};
struct map_walk_reply {
	uint16_t status;
	struct ipc_list pairs; /* struct map_pair */
};

/* ---- tlsmgr ---- */
struct tls_cert {
	struct span chain; /* name of a certificate configuration: "smtpd", "imapd", "smtp"; SNI name after
			      '/' or "" */
	uint64_t have;	   /* generation the caller has; 0 none */
};
struct tls_cert_reply {
	uint16_t code;	     /* 0; else no usable certificate: text */
	uint64_t generation; /* same as `have`: unchanged, pem empty */
	struct span pem;     /* certificates, the server's first; never a key */
	struct span text;
};
struct tls_sign {
	uint64_t generation;
	uint16_t op;	  /* 1 RSA private encrypt (padding), 3 ECDSA of a digest, 4 EdDSA of a text */
	uint16_t padding; /* RSA_*_PADDING of OpenSSL */
	struct span data;
};
struct tls_sign_reply {
	uint16_t code;
	struct span data;
};
struct tls_ticket_keys {
	struct span service; /* keys differ per service: a ticket of one is worthless at another */
};
struct tls_ticket_keys_reply {
	struct span current, previous; /* 16 name + 32 AES + 32 HMAC bytes each; "" none */
	int64_t valid_s;	       /* ask again after */
};
/* Sessions that clients resume; each program has its own. */
enum tls_session_op { TLS_SESSION_FIND = 1, TLS_SESSION_KEEP, TLS_SESSION_FORGET };
#define TLS_SESSION_BYTES_MAX 16384
struct tls_session {
	uint16_t op;
	struct span key;     /* a digest of the server and of what is demanded of it */
	struct span session; /* KEEP: as OpenSSL writes it */
	int64_t life_s;	     /* KEEP */
};
struct tls_session_reply {
	struct span session; /* FIND: "" none */
};

/* ---- resolver ---- */
struct dns_query {
	struct span name;
	uint16_t qtype;	  /* ns_type */
	bool hosts;	  /* answer from the hosts file only */
	bool hosts_first; /* from the hosts file when it has one */
};
struct dns_query_reply {
	uint16_t status; /* 0 answer, 1 NXDOMAIN, 2 no data, 3 temporary failure, 4 invalid name or malformed
			    answer */
	bool secure;	 /* AD with RES_TRUSTAD */
	uint32_t ttl;
	struct span message; /* whole answer in wire format; the caller parses it with net/dns.h */
	struct span text;    /* for the log */
};

/* ---- pickup ---- */
struct pickup_submit {
	struct span envelope; /* encoded; qid ""; sender may be "" with flag `default_sender` */
	bool default_sender;  /* the caller's login name is the sender */
	struct span content;  /* small; "" when fd */
	int fd;		      /* large: a file (memfd or unlinked) holding the content from offset 0 */
};
struct pickup_submit_reply {
	uint16_t code;
	struct span dsn, text, qid;
};

/* ---- anvil, verify, flush ---- */
struct anvil_event {
	struct span service, client; /* "smtp", "192.0.2.1" */
	uint16_t
	    kind; /* 1 connect, 2 disconnect, 3 mail, 4 rcpt, 5 newtls, 6 auth, 7 newtls so far (counts nothing) */
};
struct anvil_reply {
	uint32_t count, rate; /* connections now; events of this kind in the time unit */
};
struct verify_query {
	struct span addr;
};
struct verify_reply {
	uint16_t status; /* 0 deliverable, 1 undeliverable, 2 temporary trouble, 3 not known yet */
	struct span text;
};
struct verify_result { /* of a probe */
	struct span addr;
	uint16_t status; /* 0 deliverable, 1 undeliverable, 2 temporary trouble */
	struct span text;
};
struct flush_query {
	uint16_t op; /* 1 add, 2 send site, 3 refresh, 4 purge */
	struct span site, qid;
};
struct flush_reply {
	uint16_t status; /* 0 ok, 1 not eligible, 2 failed */
};

/* ---- a delivery agent and its child that is the recipient ---- */
struct text_item {
	struct span text;
};
#define USER_LOCK_FCNTL	  1
#define USER_LOCK_FLOCK	  2
#define USER_LOCK_DOTLOCK 4
struct user_store {
	bool mbox;				    /* else Maildir */
	bool owned;				    /* a mailbox that exists must belong to the recipient */
	struct span path;			    /* absolute; no final slash */
	struct span qid, recipient, sender, prefix; /* as in struct store_delivery */
	struct span content;			    /* as in struct deliver */
	int fd;
	struct ipc_list extents;
	int64_t arrival_us;
	uint64_t max_bytes;
	uint16_t lock; /* USER_LOCK_ bits */
	uint32_t lock_attempts, lock_delay_ms;
	int64_t lock_stale_s;
};
struct user_store_reply {
	uint16_t rc; /* enum rc */
	uint32_t sys;
	struct span text;
	bool repeated;
	uint64_t bytes;
};
/* A small file: .forward, :include: */
struct user_read {
	struct span path;
	uint64_t off;
	uint32_t max_bytes; /* of this piece */
};
struct user_read_reply {
	uint16_t rc; /* RC_NOTFOUND: no such file */
	uint32_t sys;
	struct span text;
	uint32_t uid, mode; /* st_uid, st_mode; not read unless it is a regular file */
	uint64_t size;
	struct span content;
};
#define USER_RUN_DOT	 1 /* a dot is put before a line that starts with one */
#define USER_RUN_QUOTE	 2 /* ">" before a line that starts with "From " */
#define USER_RUN_BLANK	 4 /* an empty line after the message */
#define USER_RUN_TRY_CWD 8 /* a directory that cannot be entered is no failure */
struct user_run {
	struct ipc_list argv, env; /* struct text_item; env as NAME=value */
	struct span cwd;	   /* "" home */
	int64_t time_limit_s;
	uint16_t flags;	     /* USER_RUN_ bits */
	uint64_t file_limit; /* greatest size of a file that it writes; 0 none */
	struct span head;    /* before the content; LF line ends */
	struct span eol;
	struct span content; /* as in struct deliver */
	int fd;
	struct ipc_list extents;
};
struct user_run_reply {
	uint16_t rc; /* not RC_OK: it was not started */
	uint32_t sys;
	struct span text;
	bool timed_out;
	uint16_t exit_status, signal;
	struct span output; /* the beginning of what it wrote to standard output and error */
};

#endif
