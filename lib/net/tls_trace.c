/* net/tls_trace.c - what the log tells of a TLS session at levels 2 to 4 (postconf(5), smtpd_tls_loglevel): the steps of the
 * handshake, the certificates, and, from level 3 on, the bytes as they are on the wire. Those hold no key, and they are counted. */
#include "net/tls_int.h"
#include "log/log.h"

#include <openssl/err.h>
#include <stdarg.h>

#define DUMP_HANDSHAKE_MAX (64 * 1024) /* bytes of a session */
#define DUMP_SESSION_MAX   (1024 * 1024)
#define DUMP_ROW	   16
#define PEER_BYTES	   400
#define SUBJECT_BYTES	   512

struct traced { /* hangs on the SSL */
	char peer[PEER_BYTES];
	int level;
	bool server;
	size_t left; /* bytes that may still be dumped */
};
static int traced_index = -1;

static void free_traced(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

static struct traced *traced_of(const SSL *ssl)
{
	return traced_index < 0 || ssl == NULL ? NULL : SSL_get_ex_data(ssl, traced_index);
}

/* ---- steps ---- */

static void show_step(const SSL *ssl, int where, int ret)
{
	const struct traced *t = traced_of(ssl);
	const char *call;
	int why;
	if (t == NULL)
		return;
	call = t->server ? "SSL_accept" : "SSL_connect";
	if (where & SSL_CB_ALERT) {
		if ((ret & 0xff) != SSL3_AD_CLOSE_NOTIFY)
			log_info("SSL3 alert %s:%s:%s", where & SSL_CB_READ ? "read" : "write",
				 SSL_alert_type_string_long(ret), SSL_alert_desc_string_long(ret));
	} else if (where & SSL_CB_LOOP)
		log_info("%s:%s", call, SSL_state_string_long(ssl));
	else if ((where & SSL_CB_EXIT) && ret <= 0) {
		why = SSL_get_error(ssl, ret);
		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
			log_info("%s:%s in %s", call, ret == 0 ? "failed" : "error",
				 SSL_state_string_long(ssl));
	}
}

int tls_trace_verify(int ok, X509_STORE_CTX *ctx)
{
	const struct traced *t =
	    traced_of(X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx()));
	const X509 *cert = X509_STORE_CTX_get_current_cert(ctx);
	char subject[SUBJECT_BYTES] = "";
	if (t == NULL)
		return ok;
	if (cert != NULL)
		X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof subject);
	log_info("%s: depth=%d verify=%d subject=%s", t->peer, X509_STORE_CTX_get_error_depth(ctx), ok,
		 subject);
	return ok;
}

void tls_trace_ticket(const SSL *ssl, const char *doing, int64_t until)
{
	const struct traced *t = traced_of(ssl);
	if (t != NULL)
		log_info("%s: %s session ticket, key expiration: %lld", t->peer, doing, (long long)until);
}

void tls_trace_match(const SSL *ssl, const char *fmt, ...)
{
	const struct traced *t = traced_of(ssl);
	char text[SUBJECT_BYTES];
	va_list ap;
	if (t == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_info("%s: %s", t->peer, text);
}

/* ---- bytes ---- */

static void dump_row(const unsigned char *p, size_t n, size_t at)
{
	char text[128];
	size_t used = (size_t)snprintf(text, sizeof text, "%04zx", at);
	for (size_t i = 0; i < DUMP_ROW; i++)
		used += i < n ? (size_t)snprintf(text + used, sizeof text - used, "%c%02x",
						 i == DUMP_ROW / 2 ? '|' : ' ', p[i])
			      : (size_t)snprintf(text + used, sizeof text - used, "   ");
	used += (size_t)snprintf(text + used, sizeof text - used, "  ");
	for (size_t i = 0; i < n && used + 1 < sizeof text; i++)
		text[used++] = p[i] > ' ' && p[i] < 0x7f ? (char)p[i] : '.';
	text[used] = '\0';
	log_info("%s", text);
}

static void dump(struct traced *t, const unsigned char *p, size_t n)
{
	for (size_t at = 0; at < n && t->left > 0; at += DUMP_ROW) {
		size_t row = n - at < DUMP_ROW ? n - at : DUMP_ROW;
		dump_row(p + at, row, at);
		t->left -= row < t->left ? row : t->left;
		if (t->left == 0)
			log_info("%s: no more bytes are logged", t->peer);
	}
}

static long show_bytes(BIO *bio, int op, const char *p, size_t size, int argi, long argl, int ret,
		       size_t *done)
{
	struct traced *t = (struct traced *)(void *)BIO_get_callback_arg(bio);
	(void)argi, (void)argl;
	if ((op != (BIO_CB_READ | BIO_CB_RETURN) && op != (BIO_CB_WRITE | BIO_CB_RETURN)) || t->left == 0 ||
	    ret <= 0 || done == NULL)
		return ret;
	log_info("%s %s (%zu bytes => %zu (0x%zX))",
		 op == (BIO_CB_WRITE | BIO_CB_RETURN) ? "write to" : "read from", t->peer, size, *done,
		 *done);
	dump(t, (const unsigned char *)p, *done);
	return ret;
}

/* ---- a session ---- */

void tls_trace_begin(SSL *ssl, bool server, const struct tls_trace *trace, const char *ciphers)
{
	struct traced *t;
	if (trace->level < 2)
		return;
	if (traced_index < 0)
		traced_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_traced);
	t = xcalloc(1, sizeof *t);
	if (SSL_set_ex_data(ssl, traced_index, t) != 1) {
		free(t);
		return;
	}
	snprintf(t->peer, sizeof t->peer, "%s", trace->peer);
	t->level = trace->level;
	t->server = server;
	SSL_set_info_callback(ssl, show_step);
	log_info("setting up TLS connection %s %s", server ? "from" : "to", t->peer);
	log_info("%s: TLS cipher list \"%s\"", t->peer, ciphers);
}

void tls_trace_bytes(SSL *ssl)
{
	struct traced *t = traced_of(ssl);
	if (t == NULL || t->level < 3)
		return;
	t->left = t->level > 3 ? DUMP_SESSION_MAX : DUMP_HANDSHAKE_MAX;
	BIO_set_callback_ex(SSL_get_rbio(ssl), show_bytes);
	BIO_set_callback_arg(SSL_get_rbio(ssl), (char *)t);
}

void tls_trace_end(SSL *ssl, const struct tls_info *info)
{
	struct traced *t = traced_of(ssl);
	const X509 *cert = SSL_get0_peer_certificate(ssl);
	char name[SUBJECT_BYTES];
	if (t == NULL)
		return;
	if (t->level < 4) /* what follows is no handshake */
		t->left = 0;
	if (info->reused)
		log_info("%s: Reusing old session", t->peer);
	if (cert == NULL)
		return;
	if (t->server) {
		log_info("subject=%s", X509_NAME_oneline(X509_get_subject_name(cert), name, sizeof name));
		log_info("issuer=%s", X509_NAME_oneline(X509_get_issuer_name(cert), name, sizeof name));
	}
	log_info("%s: subject_CN=%s, %s=%s, fingerprint=%s, pkey_fingerprint=%s", t->peer, info->peer_subject,
		 t->server ? "issuer" : "issuer_CN", info->peer_issuer, info->peer_fingerprint,
		 info->peer_key_fingerprint);
}
