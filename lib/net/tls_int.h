/* net/tls_int.h - what the files of TLS share; outside of lib/net only posttls-finger(1) includes it, which looks at
 * connections from below. */
#ifndef NET_TLS_INT_H
#define NET_TLS_INT_H

#include "net/tls.h"

#include <openssl/ssl.h>

/* ---- tls_anchors.c ---- */
const char *tls_anchors_name(const struct tls_anchors *t); /* the files */
/* From now on the chain of `ssl`, whose context went through SSL_CTX_dane_enable(), has to lead to one of them. */
MUST_CHECK enum rc tls_anchors_use(const struct tls_anchors *t, SSL *ssl, struct err *e);

#define TLS_KEYS_MAX 4 /* certificates of different key types under one configuration name */

/* ---- tls_setup.c: what holds for the whole process ---- */
struct tls_setup {
	uint64_t options; /* SSL_OP_...: those of tls_ssl_options, and workarounds that are not disabled */
	char *groups;	  /* for key exchange, in OpenSSL's syntax; NULL: OpenSSL's own */
	const EVP_CIPHER *ticket_cipher; /* NULL: no session tickets */
	bool wildcards;			 /* "*" of a certificate stands for several labels */
};
extern struct tls_setup tls_setup;

/* ---- tls_key.c ---- */
/* A key that has only the public half of `cert`; the private operations are asked of tlsmgr under
 * `generation`. NULL for kinds of keys that cannot be used so. */
EVP_PKEY *tls_key_remote(X509 *cert, uint64_t generation);

/* ---- tls_certs.c: a context with the certificates that tlsmgr has for a name, made anew when they change
 * ---- */
struct tls_certs {
	const char *chain;			      /* NULL: no certificate */
	SSL_CTX *(*make)(void *owner, struct err *e); /* a context without certificates */
	void *owner;
	SSL_CTX *ctx; /* the present one */
	uint64_t generation[TLS_KEYS_MAX];
	size_t keys;
	mono_t checked;
	bool refreshing;
	struct waitq refreshed;
};
void tls_certs_init(struct tls_certs *c, const char *chain, SSL_CTX *(*make)(void *owner, struct err *e),
		    void *owner);
/* A context to use now, with a reference of the caller's. Waits for tlsmgr. */
MUST_CHECK enum rc tls_certs_get(struct tls_certs *c, SSL_CTX **out, deadline_t d, struct err *e);

/* ---- tls_session.c ---- */
#define TLS_SESSION_KEY_BYTES (2 * EVP_MAX_MD_SIZE + 1)
void tls_session_enable(SSL_CTX *ctx); /* new sessions go to tlsmgr */
/* Before the handshake: a session made under the same description is resumed, and those to come are kept for `life_s`. */
void tls_session_offer(SSL *ssl, struct span description, int64_t life_s);
/* The name of the session that was offered, false: none; and to forget it, since the handshake failed. */
bool tls_session_key(const SSL *ssl, char out[TLS_SESSION_KEY_BYTES]);
void tls_session_refused(const char key[TLS_SESSION_KEY_BYTES]);

/* ---- tls_trace.c: each does nothing for a session that tls_trace_begin() was not called for, or with a low level ---- */
void tls_trace_begin(SSL *ssl, bool server, const struct tls_trace *trace, const char *ciphers);
void tls_trace_bytes(SSL *ssl);			   /* once its socket is known */
int tls_trace_verify(int ok, X509_STORE_CTX *ctx); /* gives `ok` back */
/* `until`: end of the key's life, in seconds of 1970. */
void tls_trace_ticket(const SSL *ssl, const char *doing, int64_t until);
void tls_trace_match(const SSL *ssl, const char *fmt, ...)
    PRINTF_LIKE(2, 3);					   /* the server is the right one, and why */
void tls_trace_end(SSL *ssl, const struct tls_info *info); /* the handshake is over */

/* ---- tls_common.c ---- */
SSL_CTX *tls_ctx_new(const SSL_METHOD *method, struct err *e); /* options and modes that all contexts share */
/* ">=TLSv1.2", "<=TLSv1.2", "!SSLv2, !SSLv3", "TLSv1.2 TLSv1.3" (postconf(5), smtpd_tls_protocols). */
MUST_CHECK enum rc tls_set_protocols(SSL *ssl, const char *list, struct err *e);
enum rc tls_story(struct err *e, enum rc rc,
		  const char *what); /* OpenSSL's error queue as a story, emptied */
/* Makes the TLS connection on the stream: handshake, then the transport is set. Takes over ssl in any case.
 */
MUST_CHECK enum rc tls_handshake(SSL *ssl, struct stream *s, deadline_t d, struct err *e);
/* Everything but SNI and peer_verified. `digest`: of the fingerprint. */
void tls_fill_info(SSL *ssl, bool server, const char *digest, struct tls_info *info);
/* "AB:CD:..." of the certificate or its public key; false when the digest is not known. */
bool tls_fingerprint(X509 *cert, const char *digest, bool of_key, char *out, size_t size);
/* `want` may be written without colons. */
bool tls_fingerprint_eq(const char *have, struct span want);
/* All of a file, or of a directory made by c_rehash(1): read now, used later. */
MUST_CHECK enum rc tls_load_ca(X509_STORE *store, const char *file, const char *path, struct err *e);
/* And, when one of the two is given and `use_system`, those that OpenSSL comes with (tls_append_default_CA). */
MUST_CHECK enum rc tls_load_trust(X509_STORE *store, const char *file, const char *path, bool use_system,
				  struct err *e);

#endif
