/* cmd/posttls-finger/handshake.c - the handshake, whether the certificate is the one that the level asks for, and the lines
 * that tell of it. */
#include "finger.h"
#include "log/log.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static NORETURN void unusable(const char *what, const char *file)
{
	struct err e;

	(void)tls_story(&e, RC_SYNTAX, file);
	die("cannot use %s: %s", what, e.text);
}

/* Anchors replace the authorities of -F and -P; each may be any certificate of a chain, not a root alone. */
static void load_trust(struct finger *f)
{
	X509_STORE *store = SSL_CTX_get_cert_store(f->ctx);
	struct err e;

	for (size_t i = 0; i < f->n_anchors; i++)
		if (tls_load_ca(store, f->anchors[i], NULL, &e) != RC_OK)
			die("%s", e.text);
	if (f->n_anchors > 0)
		X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	else if (tls_load_ca(store, f->ca_file, f->ca_path, &e) != RC_OK)
		die("%s", e.text);
}

static void show_progress(const SSL *ssl, int where, int ret)
{
	if (where & SSL_CB_ALERT)
		log_info("SSL3 alert %s:%s:%s", where & SSL_CB_READ ? "read" : "write",
			 SSL_alert_type_string_long(ret), SSL_alert_desc_string_long(ret));
	else if (where & SSL_CB_LOOP)
		log_info("SSL_connect:%s", SSL_state_string_long(ssl));
}

void handshake_prepare(struct finger *f)
{
	struct err e;

	if (tls_prepare(f->conf, &e) != RC_OK || (f->ctx = tls_ctx_new(TLS_client_method(), &e)) == NULL)
		die("%s", e.text);
	SSL_CTX_set_security_level(f->ctx, f->level >= TLS_VERIFY ? 1 : 0); /* as smtp(8) */
	SSL_CTX_set_verify(f->ctx, SSL_VERIFY_NONE, NULL); /* judged below: a bad certificate is shown, too */
	SSL_CTX_clear_mode(f->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_mode(f->ctx, SSL_MODE_AUTO_RETRY);
	if (f->logs & LOGS_DEBUG)
		SSL_CTX_set_info_callback(f->ctx, show_progress);
	load_trust(f);
	if (f->cert != NULL && SSL_CTX_use_certificate_chain_file(f->ctx, f->cert) != 1)
		unusable("certificate", f->cert);
	if (f->key != NULL && SSL_CTX_use_PrivateKey_file(f->ctx, f->key, SSL_FILETYPE_PEM) != 1)
		unusable("key", f->key);
	if (SSL_CTX_set_cipher_list(f->ctx, f->ciphers) != 1)
		unusable("ciphers", f->ciphers);
}

/* "nexthop", "dot-nexthop" and "hostname" stand for names of this destination. */
static bool name_matches(const struct finger *f, X509 *cert, struct span want, char **matched)
{
	char dotted[260];

	if (span_is(want, "hostname"))
		want = f->host;
	else if (span_is(want, "nexthop"))
		want = f->nexthop;
	else if (span_is(want, "dot-nexthop"))
		want = span_make(
		    dotted, (size_t)snprintf(dotted, sizeof(dotted), "." SPAN_FMT, SPAN_ARG(f->nexthop)));
	return want.n > 0 &&
	       X509_check_host(cert, want.p, want.n, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, matched) == 1;
}

static bool name_verified(const struct finger *f, X509 *cert, const struct tls_info *info)
{
	static const struct span verify[] = { { "hostname", 8 } },
				 secure[] = { { "nexthop", 7 }, { "dot-nexthop", 11 } };
	const struct span *want = f->matches > 0 ? f->match : f->level == TLS_VERIFY ? verify : secure;
	size_t n = f->matches > 0 ? f->matches : f->level == TLS_VERIFY ? 1 : 2;
	char *matched = NULL;
	bool ok = false;

	for (size_t i = 0; i < n && !ok; i++)
		ok = name_matches(f, cert, want[i], &matched);
	if (ok && (f->logs & LOGS_PEERCERT))
		log_info(SPAN_FMT ": matched peername: %s", SPAN_ARG(f->peer), matched);
	if (ok && f->n_anchors > 0 && info->peer_trusted && (f->logs & LOGS_PEERCERT))
		log_info(SPAN_FMT ": Matched trust anchor at depth %d", SPAN_ARG(f->peer),
			 sk_X509_num(SSL_get0_verified_chain(f->ssl)) - 1);
	OPENSSL_free(matched);
	return ok;
}

static void tell_untrusted(const struct finger *f, X509 *cert, long why)
{
	char issuer[512] = "";

	switch (why) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		X509_NAME_oneline(X509_get_issuer_name(cert), issuer, sizeof(issuer));
		log_info("certificate verification failed for " SPAN_FMT ": untrusted issuer %s",
			 SPAN_ARG(f->peer), issuer);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		log_info("certificate verification failed for " SPAN_FMT ": self-signed certificate",
			 SPAN_ARG(f->peer));
		break;
	default:
		log_info("certificate verification failed for " SPAN_FMT ": num=%ld:%s", SPAN_ARG(f->peer),
			 why, X509_verify_cert_error_string(why));
		break;
	}
}

static bool fingerprint_verified(const struct finger *f, const struct tls_info *info)
{
	for (size_t i = 0; i < f->matches; i++) {
		struct span want = f->match[i];
		struct buf hex;

		if (!tls_fingerprint_eq(info->peer_fingerprint, want) &&
		    !tls_fingerprint_eq(info->peer_key_fingerprint, want))
			continue;
		buf_init(&hex, 256);
		for (size_t k = 0; k < want.n; k++)
			if (want.p[k] != ':')
				(void)buf_putc(&hex, ascii_upper(want.p[k]));
		if (f->logs & LOGS_PEERCERT)
			log_info(SPAN_FMT ": Matched fingerprint: " SPAN_FMT, SPAN_ARG(f->peer),
				 SPAN_ARG(buf_span(&hex)));
		buf_release(&hex);
		return true;
	}
	return false;
}

static void tell_mismatch(const struct finger *f, const char *what)
{
	log_info("server certificate verification failed for " SPAN_FMT ": %s", SPAN_ARG(f->peer), what);
}

/* The first word of the summary. */
static const char *judge(const struct finger *f, X509 *cert, const struct tls_info *info)
{
	bool matched;

	if (cert == NULL)
		return "Anonymous";
	if (f->level < TLS_VERIFY)
		return info->peer_trusted ? "Trusted" : "Untrusted";
	if (f->level == TLS_FINGERPRINT) {
		if (fingerprint_verified(f, info))
			return "Verified";
		tell_mismatch(f, "num=65:no matching DANE TLSA records");
		return "Untrusted";
	}
	if (!info->peer_trusted)
		tell_untrusted(f, cert, SSL_get_verify_result(f->ssl));
	matched = name_verified(f, cert, info);
	if (info->peer_trusted && !matched)
		tell_mismatch(f, "num=62:hostname mismatch");
	return info->peer_trusted && matched ? "Verified" : "Untrusted";
}

static void print_digest(X509 *cert, const char *digest, bool of_key)
{
	char text[200];

	if (tls_fingerprint(cert, digest, of_key, text, sizeof(text)))
		printf("   %s digest=%s\n", of_key ? "pkey" : "cert", text);
}

/* As the server sent it. */
static void print_chain(const struct finger *f)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(f->ssl);
	char name[512];

	printf("\n---\nCertificate chain\n");
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *c = sk_X509_value(chain, i);

		printf("%2d subject: %s\n", i,
		       X509_NAME_oneline(X509_get_subject_name(c), name, sizeof(name)));
		printf("    issuer: %s\n", X509_NAME_oneline(X509_get_issuer_name(c), name, sizeof(name)));
		print_digest(c, f->digest, false);
		print_digest(c, f->digest, true);
		PEM_write_X509(stdout, c);
	}
	fflush(stdout);
}

static void tell_summary(const struct finger *f, const char *status, const struct tls_info *i)
{
	struct buf more;

	buf_init(&more, 1000);
	tls_info_exchange(i, " ", &more);
	log_info("%s TLS connection established to " SPAN_FMT ": %s with cipher %s (%d/%d bits)%s", status,
		 SPAN_ARG(f->peer), i->protocol, i->cipher, i->bits, i->alg_bits, buf_cstr(&more));
	buf_release(&more);
}

static void tell(struct finger *f)
{
	X509 *cert = SSL_get0_peer_certificate(f->ssl);
	struct tls_info info = { .bits = 0 };
	const char *status;

	tls_fill_info(f->ssl, false, f->digest, &info);
	status = judge(f, cert, &info);
	if (f->show_chain && cert != NULL && f->session == NULL)
		print_chain(f);
	if (cert != NULL && (f->logs & LOGS_PEERCERT))
		log_info(SPAN_FMT ": subject_CN=%s, issuer_CN=%s, fingerprint=%s, pkey_fingerprint=%s",
			 SPAN_ARG(f->peer), info.peer_subject, info.peer_issuer, info.peer_fingerprint,
			 info.peer_key_fingerprint);
	f->reused = info.reused;
	if (info.reused && (f->logs & LOGS_CACHE))
		log_info(SPAN_FMT ": Reusing old session", SPAN_ARG(f->peer));
	if (f->logs & LOGS_SUMMARY)
		tell_summary(f, status, &info);
}

bool handshake(struct finger *f)
{
	char peer[512];
	struct err e;
	int r, kind;

	if ((f->ssl = SSL_new(f->ctx)) == NULL || SSL_set_fd(f->ssl, f->fd) != 1)
		die("TLS: out of memory");
	if (tls_set_protocols(f->ssl, f->protocols, &e) != RC_OK)
		die("%s", e.text);
	if (f->sni != NULL && SSL_set_tlsext_host_name(f->ssl, f->sni) != 1)
		die("bad server name: %s", f->sni);
	if (f->session != NULL)
		(void)SSL_set_session(f->ssl, f->session);
	errno = 0;
	if ((r = SSL_connect(f->ssl)) == 1) {
		tell(f);
		return true;
	}
	kind = SSL_get_error(f->ssl, r);
	snprintf(peer, sizeof(peer), SPAN_FMT, SPAN_ARG(f->peer));
	if (errno == EAGAIN && kind != SSL_ERROR_SSL) {
		(void)err_set(&e, RC_TIMEOUT, "timeout");
		tls_log_failure(false, peer, RC_TIMEOUT, &e);
	} else {
		tls_log_failure(false, peer, tls_story(&e, RC_SYNTAX, "TLS handshake"), &e);
	}
	return false;
}
