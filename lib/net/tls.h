/* net/tls.h - TLS over OpenSSL as a transport below a stream. Private keys are not here: signatures are asked
 * of tlsmgr (IPC_TLS_SIGN) from inside the handshake, while other tasks run. OpenSSL's own waits never block
 * the loop. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/arena.h"
#include "task/stream.h"

struct tls_server; /* a context: one per service; opaque */
struct tls_server_conf {
	const char *
	    chain; /* certificate configuration asked of tlsmgr: "smtpd", "imapd", "pop3d"; NULL: anonymous */
	const char *ticket_service; /* session tickets are bound to it */
	const char *protocols;	    /* "!SSLv2, !SSLv3", ">=TLSv1.2": smtpd_tls_protocols syntax */
	const char *ciphers;	    /* OpenSSL list or grade: "medium", "high" */
	bool ask_ccert, require_ccert;
	const char *ca_file, *ca_path;	/* loaded in prepare(), before the sandbox; NULL none */
	bool use_system;		/* the system's authorities, too, when there are any of the above */
	int verify_depth;		/* 0: OpenSSL's */
	const char *fingerprint_digest; /* NULL: sha256 */
	bool preempt;			/* the server's order of ciphers decides */
	bool
	    any_strength; /* protocols and ciphers alone say what is strong enough, not OpenSSL's security level */
	bool sni;	  /* tlsmgr may have another certificate for the name that the client asks for */
	bool no_tickets;
	const char *alpn; /* "smtp", "imap", "pop3": another ALPN offer is refused with
			     no_application_protocol (ALPACA); no offer passes */
};
/* Call in prepare(), before tls_server_new() and tls_client_new(): loads OpenSSL's files and error strings while they can
 * be opened, and reads what holds for all TLS of a process: tls_config_file, tls_config_name, tls_ssl_options, tls_disable_workarounds,
 * tls_eecdh_auto_curves, tls_ffdhe_auto_groups, tls_session_ticket_cipher, tls_wildcard_matches_multiple_labels. `c` NULL:
 * OpenSSL's defaults. errors   RC_SYNTAX a configuration file that was asked for cannot be loaded */
struct conf;
MUST_CHECK enum rc tls_prepare(const struct conf *c, struct err *e);
/* OpenSSL's list for a grade: "high", "medium", "null" (postconf(5), tls_high_cipherlist and its like); "low" and "export",
 * which nothing offers any more, are medium. NULL: no such grade. */
const char *tls_cipher_list(const struct conf *c, struct span grade);
/* Whether it is a list for tls_client_start(): ">=TLSv1.2", "!SSLv2, !SSLv3". */
bool tls_protocols_ok(const char *list);
/* In prepare(): reads ca_file. The certificate is asked for when the first client comes, and looked at again
 * at most once a second, so that a renewed one is used at once. Strings in `c` must live as long as the
 * context. */
MUST_CHECK enum rc tls_server_new(const struct tls_server_conf *c, struct tls_server **out, struct err *e);

/* Whether there is a certificate, if one is needed. Waits for tlsmgr. */
MUST_CHECK enum rc tls_server_ready(struct tls_server *t, deadline_t d, struct err *e);
/* How much the log tells of a session on top of what callers write: from level 2 on the steps of the handshake and the
 * certificates, 3 the bytes of the handshake, 4 those of the session. */
struct tls_trace {
	const char *peer; /* as the log names it */
	int level;
};
/* What the log and Received: say. */
struct tls_info {
	char protocol[16]; /* "TLSv1.3" */
	char cipher[64];
	int bits, alg_bits;
	/* Of TLS 1.3: key exchange, and what server and client signed with, as Postfix logs them; "" none. */
	char kex[64], sig[64], digest[32], client_sig[64], client_digest[32];
	bool reused;
	char sni[256];
	char peer_subject[256], peer_issuer[256], peer_fingerprint[200],
	    peer_key_fingerprint[200]; /* CNs of client or server certificate; "" none */
	bool peer_trusted;	       /* the chain leads to a trusted authority */
	long verify_error;	       /* why not: X509_V_ERR_... of OpenSSL, 0 none */
	bool peer_verified; /* chain trusted and, client side, a name (or the fingerprint) matched */
};
/* " key-exchange X25519 server-signature ... server-digest ... client-signature ... client-digest ...", as far as there is
 * any. `before`: what stands before the key exchange, and before the client's part, " " or "\n\t ". */
void tls_info_exchange(const struct tls_info *t, const char *before, struct buf *b);
/* Logs a handshake that failed, in the words that log readers know: "SSL_accept error from PEER: -1" and, when OpenSSL
 * has a reason, "warning: TLS library problem: REASON". `rc` and `e` are those of the handshake. */
void tls_log_failure(bool server, const char *peer, enum rc rc, const struct err *e);
/* Server handshake on `s` (its input must be empty: RC_DENIED). errors RC_TIMEOUT, RC_SYNTAX handshake failed
 * (story: OpenSSL's reason) */
MUST_CHECK enum rc tls_server_start(struct tls_server *t, struct stream *s, const struct tls_trace *trace,
				    struct tls_info *info, deadline_t d, struct err *e);

enum tls_level { TLS_NONE = 0, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE, TLS_FINGERPRINT, TLS_DANE };
struct tls_client; /* one per process */
struct tls_client_conf {
	const char *ca_file, *ca_path;	/* NULL or "": none */
	bool use_system;		/* the system's authorities, too, when there are any of the above */
	const char *chain;		/* own certificate asked of tlsmgr, or NULL */
	const char *fingerprint_digest; /* "sha256"; NULL that */
	int verify_depth;		/* 0: OpenSSL's */
	int64_t sessions_s;		/* tlsmgr keeps sessions for so long; 0: none are resumed */
};
/* In prepare(): reads the files. What cannot be read is trusted less, with a warning. */
struct tls_client *tls_client_new(const struct tls_client_conf *c);
/* Certificates and public keys that are trusted in the place of authorities, anywhere in a chain. Opaque; for the life of
 * the process. */
struct tls_anchors;
/* In prepare(). `files`: names, separated by commas and blanks. *out NULL: there are none. errors   RC_SYS; RC_SYNTAX
 * nothing to be trusted in a file */
MUST_CHECK enum rc tls_anchors_load(const char *files, struct tls_anchors **out, struct err *e);

/* What is demanded of a server. At TLS_VERIFY and TLS_SECURE the chain must be trusted and one of `names` must match the
 * certificate (".example.com" matches its subdomains); at TLS_FINGERPRINT `names` are fingerprints, of certificate or
 * public key, with or without colons. At TLS_MAY and TLS_ENCRYPT any certificate passes. */
struct tls_demand {
	enum tls_level level;
	const struct span *names;
	size_t names_n;
	const char *protocols; /* as smtp_tls_protocols */
	const char *ciphers;   /* OpenSSL's syntax; NULL: its default */
	const struct tls_anchors
	    *anchors; /* of the chain at TLS_VERIFY and TLS_SECURE; NULL: the authorities */
	struct tls_trace trace;
};
/* `host`: SNI when it is a name. `where`: the server, for sessions to be resumed: whatever tells it from others.
 * errors   RC_DENIED clear-text input was waiting (RFC 3207 section 4.2); RC_GONE certificate not verified; else as
 * tls_server_start() */
MUST_CHECK enum rc tls_client_start(struct tls_client *t, struct stream *s, struct span host,
				    struct span where, const struct tls_demand *want, struct tls_info *info,
				    deadline_t d, struct err *e);

#endif
