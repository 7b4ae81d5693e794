/* client.h - what the files of the SMTP and LMTP client share.
 *
 *   smtp.c      main(), the IPC handler           deliver.c   one request: hosts in turn, results
 *   settings.c  parameters of smtp_ or lmtp_      dest.c      next hop -> addresses (RFC 5321 section 5.1)
 *   session.c   connection, greeting, EHLO, QUIT  starttls.c  STARTTLS and its log line
 *   nexthop.c   "[host]:port"                     ehlo.c      what a server offers
 *   policy.c    TLS policy by destination         policy_entry.c  an entry of its table
 *   login.c     AUTH over Cyrus SASL
 *   transfer.c  MAIL, RCPT, DATA, replies         content.c   the bytes of the message
 *   convert.c   8-bit content for 7-bit peers     generic.c   smtp_generic_maps
 *   checks.c    header and body checks            idle.c      connections kept for more mail
 *   pix.c       firewalls that hide the greeting  login_cache.c  log-ins that failed before
 *   lookup.c    questions to the resolver, and the search list
 *   notice.c    transcripts for the postmaster
 *
 * A delivery is a task; a session belongs to one delivery at a time, or to the idle list. */
#ifndef CLIENT_H
#define CLIENT_H

#include "ehlo.h"
#include "policy_entry.h"
#include "ipc/proto.h"
#include "map/map.h"
#include "map/own_domains.h"
#include "mime/convert.h"
#include "mime/header.h"
#include "net/dns.h"
#include "net/tls.h"
#include "queue/envelope.h"
#include "service/service.h"
#include "smtp/dlog.h"
#include "smtp/reply.h"
#include "smtp/transcript.h"

/* ---- settings.c ---- */
struct settings {
	bool lmtp;
	uint16_t port;
	const char *helo_name, *myhostname;
	bool mx, dns,
	    hosts; /* smtp_dns_support_level; where smtp_host_lookup and that let addresses be looked up */
	bool want4, want6;
	int prefer; /* AF_INET, AF_INET6, or AF_UNSPEC: any */
	bool balance, ignore_mx_error, defer_no_mx_address, bind_enforce, always_ehlo, never_ehlo, dummy_auth,
	    assume_final, probe_data; /* probe_data: probes go on to DATA */
	bool randomize, skip_5xx_greeting, skip_quit_reply, wrapper, send_xforward, no_convert;
	int64_t address_limit, session_limit, line_limit, reply_limit;
	int64_t connect_s, helo_s, mail_s, rcpt_s, data_init_s, data_xfer_s, data_done_s, rset_s, quit_s,
	    starttls_s, xforward_s;
	int64_t cache_s, reuse_s, reuse_count, min_backoff_s;
	bool cache_on_demand;
	struct match_list *cache_destinations, *debug_peers;
	const char *fallback_relay;
	struct inet_addr bind4, bind6; /* family 0: none */
	struct inet_addr *own;	       /* addresses of this host, proxies included */
	size_t owns;
	struct own_domains *own_domains;
	bool dns_defnames, dns_search; /* smtp_dns_resolver_options */
	bool cname_names, quote_envelope, per_request, log_tls_status, tls_enforce_sts, tls_block_early;
	int64_t min_rate;	 /* bytes a second */
	unsigned notice_classes; /* smtp/transcript.h: sessions that the postmaster is told of */
	struct maps *pix_maps;
	const char *pix_workarounds, *use_srv, *service; /* service: smtp_tcp_port as written */
	int64_t pix_threshold_s, pix_delay_s;
	bool srv_fallback, srv_ignore_error;
	struct maps *generic, *tls_policy, *tls_per_site, *passwords, *ehlo_by_address, *status_filter,
	    *reply_filter;
	const char *ehlo_discard;
	bool auth, auth_by_sender, auth_soft_bounce;
	bool auth_send_authzid;
	struct match_list *auth_mechanisms;
	const char *auth_security, *auth_security_tls, *auth_security_verified;
	char auth_delimiter; /* between user and password */
	struct tls_client *tls;
	struct tls_anchors *tls_anchors; /* of smtp_tls_trust_anchor_file; NULL: none */
	int tls_level;			 /* enum tls_level, the default */
	int tls_log;
	bool tls_note_offer;
	bool tls_old_digest; /* compatibility_level leaves it at md5 */
	bool smtputf8;
};
extern struct settings settings;
void settings_read(bool lmtp);		      /* in prepare() */
const char *settings_str(const char *suffix); /* smtp_SUFFIX or lmtp_SUFFIX */
int64_t settings_int(const char *suffix);
bool settings_bool(const char *suffix);

/* ---- lookup.c ---- */
void lookup_prepare(void); /* reads the search list of resolv.conf(5) */
/* Records of a name, by way of the hosts file with `hosts`; on failure `w` tells, temporary when it was so before.
 * RC_NOTFOUND, RC_SYNTAX, RC_AGAIN. */
struct why;
MUST_CHECK enum rc lookup(struct span name, enum dns_type type, bool hosts, struct arena *a,
			  struct dns_answer *out, struct why *w);

/* ---- dest.c ---- */
struct target {
	struct span host; /* name as looked up, or the literal */
	struct inet_addr addr;
	uint16_t port, pref;
	const char *path; /* of a UNIX socket, else NULL */
	struct span site; /* the next hop it belongs to, without brackets and port */
};
/* Why something did not work: dsn "4..." or "5..." decides. */
struct why {
	char dsn[SMTP_DSN_MAX];
	char text[2400];    /* a reply of line_length_limit bytes and what we say of it */
	char tls[40];	    /* "tls=" of the log for a session that did not come about */
	bool best_mx_is_us; /* best_mx_transport takes the mail, where it is set */
	bool no_connection; /* the host was not reached, or not tried */
};
void why_set(struct why *w, const char *dsn, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Where to connect, in order. *we_are_mx: this host is among the MX hosts. RC_OK, RC_NOTFOUND (w says why, for good) or
 * RC_AGAIN (w, temporary). */
MUST_CHECK enum rc dest_find(struct span nexthop, struct arena *a, struct target **out, size_t *n,
			     bool *we_are_mx, struct why *w);
bool dest_detects_loops(uint16_t port);

/* ---- policy.c ---- */
struct tls_policy {
	enum tls_level level;
	struct span *match; /* words of match=, before expansion; see policy_names() */
	size_t matches;
	const char *protocols, *sni;	   /* sni NULL: the host */
	const char *grade, *ciphers;	   /* ciphers NULL: no such grade */
	const struct tls_anchors *anchors; /* NULL: the authorities */
};
MUST_CHECK enum rc policy_find(struct span nexthop, const struct target *t, struct arena *a,
			       struct tls_policy *p, struct why *w);
/* "nexthop", "dot-nexthop", "hostname" and literal names -> names for tls_client_start(). */
struct session;
/* smtp_log_tls_feature_status: the level that was asked for; "LEVEL?" when the session ended before that was settled,
 * "LEVEL:none" when nothing came of it. "": nothing to say. */
void policy_status(const struct session *s, char *out, size_t size);
size_t policy_names(const struct tls_policy *p, const struct target *t, struct arena *a, struct span **out);

/* ---- tafile.c ---- */
void tafiles_prepare(struct maps *tables);		  /* as root: reads the files of tafile= attributes */
const struct tls_anchors *tafile_find(struct span files); /* NULL: could not be read, or not in time */

/* ---- session.c ---- */
#define PIX_NO_ESMTP  1u
#define PIX_DELAY_DOT 2u

struct session {
	struct stream *io;
	struct smtp_reply reply;
	char host[256], name_addr[350], relay[360]; /* "mx[192.0.2.1]", "mx[192.0.2.1]:25" */
	char site[256]; /* the next hop without brackets and port, or the socket */
	struct inet_addr addr;
	struct ehlo ehlo;		       /* what the server offers */
	bool debug;			       /* -v, or debug_peer_list: the dialogue is logged */
	bool tls, authenticated, greets_esmtp; /* greets_esmtp: the greeting has the word */
	enum tls_level level;		       /* of the policy */
	bool tls_decided;		       /* it is known whether there will be TLS */
	unsigned pix;			       /* PIX_ */
	struct transcript said;
	unsigned trouble; /* NOTICE_ */
	struct tls_info tls_info;
	unsigned uses;	      /* deliveries begun */
	bool dirty, unusable; /* needs RSET; dead */
	bool closing;	      /* the server said 421: not kept for more mail (RFC 5321 section 3.8) */
	struct span qid;      /* of the delivery it belongs to, for the log */
	mono_t opened;
	/* idle.c */
	struct list link;
	char *key;
	struct timer expiry;
};
struct delivery;
/* Connects and says hello; TLS and log-in as the policy of the destination `site` and the sender demand. NULL with why
 * (and *refused the reply's text for a Diagnostic-Code, "" none). *plain_retry: level may, and the handshake failed. */
struct session *session_open(const struct delivery *dl, const struct target *t, struct span site, bool no_tls,
			     struct why *w, bool *plain_retry, struct span *refused);
void session_free(struct session **s); /* closes at once */
void session_quit(struct session **s); /* QUIT in a task of its own, then closes */
/* Sends what is buffered and reads one reply. RC_OK whatever the code; else the connection is dead, and w
 * tells. */
MUST_CHECK enum rc session_reply(struct session *s, int64_t timeout_s, const char *doing, struct why *w);
/* One reply, each line through smtp_reply_filter. Lines that are none of a reply are passed over, lines are cut at
 * line_length_limit, both with a warning. */
MUST_CHECK enum rc session_read(struct session *s, int64_t timeout_s, struct err *e);
/* The reply for logs and reports, at most line_length_limit bytes; in `a`. */
struct span session_said(const struct session *s, struct arena *a);
/* The status code of a reply that is no success: its own, or one of its class; "5.5.0" for a class without meaning. */
void session_dsn(struct session *s, char dsn[SMTP_DSN_MAX]);
void session_puts(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* "4.4.2 lost connection with ... while DOING", "conversation with ... timed out while DOING" */
void session_why(struct session *s, enum rc rc, const char *doing, struct why *w);
MUST_CHECK enum rc session_hello(struct session *s, struct why *w); /* EHLO, HELO, LHLO; features */

/* ---- starttls.c, login.c ---- */
MUST_CHECK enum rc session_starttls(struct session *s, const struct target *t, const struct tls_policy *p,
				    bool wrapper, struct arena *a, struct why *w);
void login_prepare(void);
/* The password for this server (and sender): "user:password" in `a`. RC_NOTFOUND: none. */
MUST_CHECK enum rc login_find(const char *server, struct span nexthop, struct span host, struct span sender,
			      struct arena *a, struct span *userpass, struct why *w);
MUST_CHECK enum rc login(struct session *s, struct span userpass, struct arena *a, struct why *w);

/* ---- login_cache.c ---- */
void login_cache_prepare(void);
/* True: the server refused this before; `w` tells. */
bool login_cache_failed(const struct session *s, struct span user, struct span password, struct arena *a,
			struct why *w);
/* After a refusal, with the status that came of it. */
void login_cache_note(const struct session *s, struct span user, struct span password, const char *dsn,
		      struct arena *a);

/* ---- notice.c ---- */
void notice_out(struct session *s, struct span line); /* a command */
void notice_in(struct session *s, struct span line);  /* a line of a reply */
void notice_code(struct session *s, unsigned code);   /* of a reply that is a failure */
void notice_end(struct session *s);		      /* of a delivery: tells, and forgets */

/* ---- pix.c ---- */
void pix_detect(struct session *s, const struct delivery *dl); /* after the greeting */

/* ---- idle.c ---- */
void idle_put(struct session **s, struct span key); /* takes it over: kept for a moment, or ended */
struct session *idle_get(struct span key);	    /* NULL: none */
void idle_drop_all(void);			    /* the process ends */

/* ---- content.c, convert.c, checks.c, generic.c ---- */
struct content {
	struct span all; /* small */
	int fd;		 /* large */
	const struct extent_item *extent;
	size_t extents, at; /* next extent */
	uint64_t off;	    /* in it */
	struct span qid;
	char *block;
	struct span next; /* read, not taken yet */
};
void content_open(struct content *c, const struct deliver *d, struct span qid);
void content_rewind(struct content *c);
void content_close(struct content *c);
#define CONTENT_BLOCK 65536
/* The next piece, at most CONTENT_BLOCK bytes; RC_EOF at the end; RC_SYS. Valid until the next call. */
MUST_CHECK enum rc content_next(struct content *c, struct span *piece, struct err *e);
/* Whether a byte of it is beyond ASCII. */
MUST_CHECK enum rc content_is_8bit(struct content *c, bool *out, struct err *e);
/* All of it, malloc'd: RC_LIMIT past max. */
MUST_CHECK enum rc content_whole(struct content *c, size_t max, struct buf *out, struct err *e);
/* Sends the message as DATA wants it, without the final dot: CRLF, dots stuffed, no bare CR or NUL, lines cut
 * at line_limit. `seven`: convert 8-bit parts. errors: RC_SYS of the file has e set, RC_TIMEOUT too slow
 * (smtp_per_request_deadline); other trouble of the stream shows at the next flush. */
MUST_CHECK enum rc content_send(struct content *c, struct stream *io, bool seven, struct err *e);
uint64_t content_wire_bytes(const struct deliver *d, const struct envelope *env); /* for SIZE= */
/* Tables that change the message as it leaves. In prepare(). */
void checks_read(void);
bool checks_of_header(void), checks_of_body(void); /* there are any */
/* smtp_header_checks, on the header of the message. RC_LIMIT; or as maps_lookup() */
MUST_CHECK enum rc checks_header(struct span qid, struct span header, struct arena *a, struct buf *out,
				 struct err *e);
/* The other ones, on what comes after it. */
MUST_CHECK enum rc checks_message(struct span qid, struct span message, struct buf *out, struct err *e);
/* Through smtp_generic_maps; the address itself when there is nothing to say. RC_AGAIN: table trouble. */
MUST_CHECK enum rc generic_address(struct span addr, struct arena *a, struct span *out, struct err *e);
MUST_CHECK enum rc generic_header(struct span header, struct arena *a, struct buf *out, struct err *e);

/* ---- deliver.c, transfer.c ---- */
struct rcpt {
	const struct deliver_rcpt *r;
	struct deliver_result *res;
	struct span addr;	/* as sent */
	bool done, accepted;	/* accepted: RCPT got 2xx in this session */
	const struct why *held; /* a temporary failure on a kept session; see delivery.hold */
	struct span held_diag;
};
struct delivery {
	const struct deliver *d;
	struct envelope env;
	struct span sender; /* as sent */
	struct arena *a;
	struct rcpt *rcpt;
	size_t rcpts, open; /* without a result */
	struct deliver_result *results;
	struct dlog_times times;
	struct session *s;
	bool final;	 /* the last host that is tried: temporary failures count */
	const char *tls; /* "tls=" of the log when there is no session; else NULL */
	bool hold;	 /* whether another host is left turns out later: temporary failures are held back */
};
void rcpt_result(struct delivery *dl, struct rcpt *r, enum deliver_status st, struct span dsn,
		 struct span reason, struct span diag);
/* A recipient failed: for good or final, a result; else a log line (or held back), and the next host gets it. */
void rcpt_failed(struct delivery *dl, struct rcpt *r, const struct why *w, struct span diag);
/* All recipients without a result, in the same way. */
void delivery_fail(struct delivery *dl, const struct why *w, struct span diag);
/* RC_OK: the session can go on; else it is dead. */
MUST_CHECK enum rc transfer(struct delivery *dl);
void deliver(struct ipc_call *call, const void *request);

#endif
