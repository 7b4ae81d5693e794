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
};

/* The first thing wrong with a chain; hangs on the SSL for the time of the handshake. */
struct fault {
	int depth;
	char issuer[256];
	bool noted;
};
static int fault_index = -1;

static int note_fault(int ok, X509_STORE_CTX *ctx)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct fault *f = SSL_get_ex_data(ssl, fault_index);
	const X509 *cert = X509_STORE_CTX_get_current_cert(ctx);
	if (!ok && f != NULL && !f->noted) {
		f->noted = true;
		f->depth = X509_STORE_CTX_get_error_depth(ctx);
		if (cert != NULL)
			X509_NAME_oneline(X509_get_issuer_name(cert), f->issuer, sizeof f->issuer);
	}
	return tls_trace_verify(ok, ctx);
}

static SSL_CTX *make_ctx(void *owner, struct err *e)
{
	struct tls_client *t = owner;
	SSL_CTX *ctx = tls_ctx_new(TLS_client_method(), e);
	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_security_level(
	    ctx, 0); /* weak TLS is more than none; protocols and ciphers have their lists */
	SSL_CTX_set1_cert_store(ctx, t->trusted);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, note_fault); /* checked, but not fatal: see check_peer() */
	if (t->conf.verify_depth > 0)
		SSL_CTX_set_verify_depth(ctx, t->conf.verify_depth);
	if (t->conf.sessions_s > 0)
		tls_session_enable(ctx);
	if (SSL_CTX_dane_enable(ctx) != 1) { /* for anchors */
		SSL_CTX_free(ctx);
		tls_story(e, RC_SYS, "TLS trust anchors");
		return NULL;
	}
	return ctx;
}

struct tls_client *tls_client_new(const struct tls_client_conf *c)
{
	struct tls_client *t = xcalloc(1, sizeof *t);
	struct err e;
	t->conf = *c;
	if (t->conf.fingerprint_digest == NULL)
		t->conf.fingerprint_digest = "sha256";
	t->trusted = X509_STORE_new();
	if (fault_index < 0)
		fault_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	tls_certs_init(&t->certs, c->chain, make_ctx, t);
	/* What cannot be read is trusted less, and keeps no mail from TLS where no certificate is looked at. */
	if (tls_load_trust(t->trusted, c->ca_file, c->ca_path, c->use_system, &e) != RC_OK)
		log_warning("authorities for server certificates: %s", e.text);
	return t;
}

static bool is_address(struct span name)
{
	struct inet_addr addr;
	return inet_addr_parse(name, &addr) == RC_OK;
}

static bool name_matches(const SSL *ssl, X509 *cert, struct span name)
{
	/* ".example.com" is OpenSSL's syntax for any subdomain, too. */
	unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			 (tls_setup.wildcards ? X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS : 0);
	char text[64], *found = NULL;
	if (is_address(name))
		return span_cstr(name, text, sizeof text) == RC_OK && X509_check_ip_asc(cert, text, 0) == 1;
	if (name.n == 0 || X509_check_host(cert, name.p, name.n, flags, &found) != 1)
		return false;
	tls_trace_match(ssl, "matched peername: %s", found != NULL ? found : "");
	OPENSSL_free(found);
	return true;
}

static bool fingerprint_matches(const struct tls_client *t, const SSL *ssl, X509 *cert, struct span want)
{
	char have[200], hex[200];
	for (int of_key = 0; of_key < 2; of_key++) {
		if (!tls_fingerprint(cert, t->conf.fingerprint_digest, of_key == 1, have, sizeof have) ||
		    !tls_fingerprint_eq(have, want))
			continue;
		size_t n = 0;
		for (size_t i = 0; i == 0 || have[i - 1] != '\0'; i++)
			if (have[i] != ':')
				hex[n++] = have[i];
		tls_trace_match(ssl, "Matched fingerprint: %s", hex);
		return true;
	}
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

static enum rc untrusted(const struct fault *f, long error, struct tls_info *info, struct err *e)
{
	const struct known_problem *p = known_problem(error);
	info->verify_error = error;
	if (p == NULL)
		return err_set(e, RC_GONE, "num=%ld:%s", error, X509_verify_cert_error_string(error));
	if (p->words != NULL)
		return err_set(e, RC_GONE, "%s", p->words);
	return err_set(e, RC_GONE, "untrusted issuer %s", f->issuer);
}

static void log_unverified(const char *peer, const struct fault *f, const struct tls_info *info,
			   const struct err *e)
{
	const struct known_problem *p = known_problem(info->verify_error);
	const char *whose = p != NULL && !p->named ? "" : f->depth > 0 ? "CA " : "server ";
	log_info("%scertificate verification failed for %s: %s", whose, peer, e->text);
}

static enum rc check_peer(const struct tls_client *t, SSL *ssl, const struct tls_demand *want,
			  const struct fault *f, struct tls_info *info, struct err *e)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	bool by_print = want->level == TLS_FINGERPRINT, match = false;
	if (want->level < TLS_VERIFY)
		return RC_OK;
	if (cert == NULL)
		return err_set(e, RC_GONE, "no server certificate");
	for (size_t i = 0; i < want->names_n && !match; i++)
		match = by_print ? fingerprint_matches(t, ssl, cert, want->names[i])
				 : name_matches(ssl, cert, want->names[i]);
	bool trusted = by_print ? match : info->peer_trusted;
	info->peer_verified = info->peer_trusted =
	    match && trusted; /* another's certificate proves nothing */
	if (!trusted)
		return untrusted(f, by_print ? X509_V_ERR_DANE_NO_MATCH : SSL_get_verify_result(ssl), info,
				 e);
	if (match) {
		if (!by_print && SSL_get0_dane_authority(ssl, NULL, NULL) >= 0)
			tls_trace_match(ssl, "Matched trust anchor at depth %d",
					SSL_get0_dane_authority(ssl, NULL, NULL));
		return RC_OK;
	}
	return untrusted(f,
			 want->names_n > 0 && is_address(want->names[want->names_n - 1])
			     ? X509_V_ERR_IP_ADDRESS_MISMATCH
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
			  const struct tls_demand *want)
{
	const struct tls_client_conf *c = &t->conf;
	struct buf b;
	buf_init(&b, 65536);
	(void)buf_printf(&b, SPAN_FMT "\n" SPAN_FMT "\n%d\n%s\n%s\n%s\n%s\n%d\n%s\n%d\n%s", SPAN_ARG(host),
			 SPAN_ARG(where), (int)want->level, want->protocols != NULL ? want->protocols : "",
			 want->ciphers != NULL ? want->ciphers : "", c->ca_file != NULL ? c->ca_file : "",
			 c->ca_path != NULL ? c->ca_path : "", (int)c->use_system,
			 c->chain != NULL ? c->chain : "", c->verify_depth,
			 want->anchors != NULL ? tls_anchors_name(want->anchors) : "");
	if (buf_ok(&b))
		tls_session_offer(ssl, buf_span(&b), c->sessions_s);
	buf_release(&b);
}

/* What `want` says of the handshake itself. */
static enum rc set_up(SSL *ssl, struct span host, const struct tls_demand *want, struct err *e)
{
	bool trusting = want->level == TLS_VERIFY || want->level == TLS_SECURE;
	enum rc rc = RC_OK;
	if (want->ciphers != NULL && want->ciphers[0] != '\0' && SSL_set_cipher_list(ssl, want->ciphers) != 1)
		rc = tls_story(e, RC_SYNTAX, "TLS ciphers");
	if (rc == RC_OK)
		rc = tls_set_protocols(ssl, want->protocols, e);
	if (want->level >= TLS_VERIFY) /* what is to be trusted has 80 bits at least */
		SSL_set_security_level(ssl, 1);
	SSL_set_connect_state(ssl);
	set_sni(ssl, host);
	if (rc == RC_OK && trusting && want->anchors != NULL)
		rc = tls_anchors_use(want->anchors, ssl, e);
	return rc;
}

enum rc tls_client_start(struct tls_client *t, struct stream *s, struct span host, struct span where,
			 const struct tls_demand *want, struct tls_info *info, deadline_t d, struct err *e)
{
	char key[TLS_SESSION_KEY_BYTES] = "";
	struct fault fault = { 0 };
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
	rc = SSL_set_ex_data(ssl, fault_index, &fault) == 1 ? set_up(ssl, host, want, e)
							    : tls_story(e, RC_SYS, "TLS");
	if (rc != RC_OK) {
		SSL_free(ssl);
		return rc;
	}
	if (t->conf.sessions_s > 0) {
		offer_session(t, ssl, host, where, want);
		(void)tls_session_key(ssl, key);
	}
	tls_trace_begin(ssl, false, &want->trace, want->ciphers != NULL ? want->ciphers : "");
	if ((rc = tls_handshake(ssl, s, d, e)) != RC_OK) {
		if (key[0] != '\0')
			tls_session_refused(key);
		return rc;
	}
	(void)SSL_set_ex_data(ssl, fault_index, NULL);
	tls_fill_info(ssl, false, t->conf.fingerprint_digest, info);
	if ((rc = check_peer(t, ssl, want, &fault, info, e)) != RC_OK)
		log_unverified(want->trace.peer, &fault, info, e);
	tls_trace_end(ssl, info);
	return rc;
}
