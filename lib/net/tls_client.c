/* net/tls_client.c - the client's side. The chain is always checked, what follows from it depends on the
 * level (RFC 7435 for the opportunistic ones, RFC 6125 section 6 for names). */
#include "net/tls_int.h"
#include "net/addr.h"
#include "log/log.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

struct tls_client {
	struct tls_client_conf conf;
	struct tls_certs certs;
	X509_STORE *trusted;
	struct tls_anchors *anchors; /* NULL: none */
};

static SSL_CTX *make_ctx(void *owner, struct err *e)
{
	struct tls_client *t = owner;
	SSL_CTX *ctx = tls_ctx_new(TLS_client_method(), e);
	if (ctx == NULL)
		return NULL;
	SSL_CTX_set1_cert_store(ctx, t->trusted);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL); /* checked, but not fatal: see check_peer() */
	if (t->conf.verify_depth > 0)
		SSL_CTX_set_verify_depth(ctx, t->conf.verify_depth);
	if (t->conf.sessions_s > 0)
		tls_session_enable(ctx);
	if (t->anchors != NULL && SSL_CTX_dane_enable(ctx) != 1) {
		SSL_CTX_free(ctx);
		tls_story(e, RC_SYS, "TLS trust anchors");
		return NULL;
	}
	return ctx;
}

enum rc tls_client_new(const struct tls_client_conf *c, struct tls_client **out, struct err *e)
{
	struct tls_client *t = xcalloc(1, sizeof *t);
	t->conf = *c;
	if (t->conf.fingerprint_digest == NULL)
		t->conf.fingerprint_digest = "sha256";
	t->trusted = X509_STORE_new();
	tls_certs_init(&t->certs, c->chain, make_ctx, t);
	enum rc rc = tls_load_ca(t->trusted, c->ca_file, c->ca_path, e);
	if (rc == RC_OK && c->use_system &&
	    tls_load_ca(t->trusted, X509_get_default_cert_file(), NULL, NULL) != RC_OK)
		rc = tls_load_ca(t->trusted, NULL, X509_get_default_cert_dir(), e);
	if (rc == RC_OK)
		rc = tls_anchors_load(c->anchors, &t->anchors, e);
	if (rc != RC_OK) {
		X509_STORE_free(t->trusted);
		free(t);
		return rc;
	}
	*out = t;
	return RC_OK;
}

static bool is_address(struct span name)
{
	struct inet_addr addr;
	return inet_addr_parse(name, &addr) == RC_OK;
}

static bool name_matches(X509 *cert, struct span name)
{
	/* ".example.com" is OpenSSL's syntax for any subdomain, too. */
	unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			 (tls_setup.wildcards ? X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS : 0);
	char text[64];
	if (is_address(name))
		return span_cstr(name, text, sizeof text) == RC_OK && X509_check_ip_asc(cert, text, 0) == 1;
	return name.n > 0 && X509_check_host(cert, name.p, name.n, flags, NULL) == 1;
}

static bool fingerprint_matches(const struct tls_client *t, X509 *cert, struct span want)
{
	char have[200];
	for (int of_key = 0; of_key < 2; of_key++)
		if (tls_fingerprint(cert, t->conf.fingerprint_digest, of_key == 1, have, sizeof have) &&
		    span_eq_ci(span_str(have), want))
			return true;
	return false;
}

/* In the words that log readers know. */
static const struct known_problem {
	long error;
	const char *words; /* NULL: with the issuer's name */
	bool named;	   /* the line begins with "server" */
} known_problems[] = {
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, NULL, false },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, NULL, false },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "self-signed certificate", false },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "self-signed certificate", false },
	{ X509_V_ERR_CERT_NOT_YET_VALID, "certificate not yet valid", true },
	{ X509_V_ERR_CERT_HAS_EXPIRED, "certificate has expired", true },
	{ X509_V_ERR_INVALID_PURPOSE, "not designated for use as a server certificate", false },
};

static const struct known_problem *known_problem(long error)
{
	for (size_t i = 0; i < ARRAY_LEN(known_problems); i++)
		if (known_problems[i].error == error)
			return &known_problems[i];
	return NULL;
}

static enum rc untrusted(X509 *cert, long error, struct tls_info *info, struct err *e)
{
	const struct known_problem *p = known_problem(error);
	char issuer[256] = "";
	info->verify_error = error;
	if (p == NULL)
		return err_set(e, RC_GONE, "num=%ld:%s", error, X509_verify_cert_error_string(error));
	if (p->words != NULL)
		return err_set(e, RC_GONE, "%s", p->words);
	X509_NAME_oneline(X509_get_issuer_name(cert), issuer, sizeof issuer);
	return err_set(e, RC_GONE, "untrusted issuer %s", issuer);
}

void tls_log_unverified(const char *peer, const struct tls_info *info, const struct err *e)
{
	const struct known_problem *p = known_problem(info->verify_error);
	log_info("%scertificate verification failed for %s: %s", p == NULL || p->named ? "server " : "", peer,
		 e->text);
}

static enum rc check_peer(const struct tls_client *t, SSL *ssl, enum tls_level level,
			  const struct span *names, size_t n, struct tls_info *info, struct err *e)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	bool match = false;
	if (level < TLS_VERIFY)
		return RC_OK;
	if (cert == NULL)
		return err_set(e, RC_GONE, "no server certificate");
	for (size_t i = 0; i < n && !match; i++)
		match = level == TLS_FINGERPRINT ? fingerprint_matches(t, cert, names[i])
						 : name_matches(cert, names[i]);
	if (level == TLS_FINGERPRINT) {
		info->peer_verified = info->peer_trusted = match;
		return match ? RC_OK : untrusted(cert, X509_V_ERR_DANE_NO_MATCH, info, e);
	}
	bool trusted = info->peer_trusted;
	info->peer_verified = info->peer_trusted =
	    match && trusted; /* another's certificate proves nothing */
	if (!trusted)
		return untrusted(cert, SSL_get_verify_result(ssl), info, e);
	if (match)
		return RC_OK;
	return untrusted(cert,
			 n > 0 && is_address(names[n - 1]) ? X509_V_ERR_IP_ADDRESS_MISMATCH
							   : X509_V_ERR_HOSTNAME_MISMATCH,
			 info, e);
}

/* RFC 6066 section 3: names only, no addresses. */
static void set_sni(SSL *ssl, struct span host)
{
	char name[256];
	if (host.n > 0 && ascii_isalnum(host.p[host.n - 1]) && !ascii_isdigit(host.p[host.n - 1]) &&
	    span_cstr(host, name, sizeof name) == RC_OK && span_chr(host, ':') < 0)
		(void)SSL_set_tlsext_host_name(ssl, name);
}

/* All on which it depends whether a server is trusted, and what is negotiated. */
static void offer_session(const struct tls_client *t, SSL *ssl, struct span host, struct span where,
			  enum tls_level level, const char *protocols, const char *ciphers)
{
	const struct tls_client_conf *c = &t->conf;
	struct buf b;
	buf_init(&b, 65536);
	(void)buf_printf(
	    &b, SPAN_FMT "\n" SPAN_FMT "\n%d\n%s\n%s\n%s\n%s\n%d\n%s\n%d\n%s", SPAN_ARG(host),
	    SPAN_ARG(where), (int)level, protocols != NULL ? protocols : "", ciphers != NULL ? ciphers : "",
	    c->ca_file != NULL ? c->ca_file : "", c->ca_path != NULL ? c->ca_path : "", (int)c->use_system,
	    c->chain != NULL ? c->chain : "", c->verify_depth, c->anchors != NULL ? c->anchors : "");
	if (buf_ok(&b))
		tls_session_offer(ssl, buf_span(&b), c->sessions_s);
	buf_release(&b);
}

enum rc tls_client_start(struct tls_client *t, struct stream *s, struct span host, struct span where,
			 const struct span *names, size_t n, enum tls_level level, const char *protocols,
			 const char *ciphers, struct tls_info *info, deadline_t d, struct err *e)
{
	SSL_CTX *ctx;
	memset(info, 0, sizeof *info);
	if (stream_buffered(s) > 0)
		return err_set(e, RC_DENIED, "input before the TLS handshake");
	enum rc rc = tls_certs_get(&t->certs, &ctx, d, e);
	if (rc != RC_OK)
		return rc;
	SSL *ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (ssl == NULL)
		return tls_story(e, RC_SYS, "TLS");
	if (ciphers != NULL && ciphers[0] != '\0' && SSL_set_cipher_list(ssl, ciphers) != 1)
		rc = tls_story(e, RC_SYNTAX, "TLS ciphers");
	if (rc == RC_OK)
		rc = tls_set_protocols(ssl, protocols, e);
	if (rc != RC_OK) {
		SSL_free(ssl);
		return rc;
	}
	SSL_set_connect_state(ssl);
	set_sni(ssl, host);
	if (t->anchors != NULL && (level == TLS_VERIFY || level == TLS_SECURE) &&
	    (rc = tls_anchors_use(t->anchors, ssl, e)) != RC_OK) {
		SSL_free(ssl);
		return rc;
	}
	char key[TLS_SESSION_KEY_BYTES] = "";
	if (t->conf.sessions_s > 0) {
		offer_session(t, ssl, host, where, level, protocols, ciphers);
		(void)tls_session_key(ssl, key);
	}
	if ((rc = tls_handshake(ssl, s, d, e)) != RC_OK) {
		if (key[0] != '\0')
			tls_session_refused(key);
		return rc;
	}
	tls_fill_info(ssl, false, t->conf.fingerprint_digest, info);
	return check_peer(t, ssl, level, names, n, info, e);
}
