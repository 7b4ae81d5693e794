/* net/tls_client.c - the client's side. The chain is always checked, what follows from it depends on the
 * level (RFC 7435 for the opportunistic ones, RFC 6125 section 6 for names). */
#include "net/tls_int.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

struct tls_client {
	struct tls_client_conf conf;
	struct tls_certs certs;
	X509_STORE *trusted;
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
	if (rc != RC_OK) {
		X509_STORE_free(t->trusted);
		free(t);
		return rc;
	}
	*out = t;
	return RC_OK;
}

static bool name_matches(X509 *cert, struct span name)
{
	/* ".example.com" is OpenSSL's syntax for any subdomain, too. */
	unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			 (tls_setup.wildcards ? X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS : 0);
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
		info->peer_verified = match;
		return match ? RC_OK : err_set(e, RC_GONE, "Server certificate not verified");
	}
	info->peer_verified = match && info->peer_trusted;
	if (!info->peer_trusted)
		return err_set(e, RC_GONE, "Server certificate not trusted: %s",
			       X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
	return match ? RC_OK : err_set(e, RC_GONE, "Server certificate not verified");
}

/* RFC 6066 section 3: names only, no addresses. */
static void set_sni(SSL *ssl, struct span host)
{
	char name[256];
	if (host.n > 0 && ascii_isalnum(host.p[host.n - 1]) && !ascii_isdigit(host.p[host.n - 1]) &&
	    span_cstr(host, name, sizeof name) == RC_OK && span_chr(host, ':') < 0)
		(void)SSL_set_tlsext_host_name(ssl, name);
}

enum rc tls_client_start(struct tls_client *t, struct stream *s, struct span host, const struct span *names,
			 size_t n, enum tls_level level, const char *protocols, const char *ciphers,
			 struct tls_info *info, deadline_t d, struct err *e)
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
	if ((rc = tls_handshake(ssl, s, d, e)) != RC_OK)
		return rc;
	tls_fill_info(ssl, false, t->conf.fingerprint_digest, info);
	return check_peer(t, ssl, level, names, n, info, e);
}
