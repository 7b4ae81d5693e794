/* net/tls_server.c - the server's side: one context per service, certificates and ticket keys from tlsmgr. */
#include "net/tls_int.h"
#include "base/codec.h"
#include "ipc/ask.h"
#include "ipc/proto.h"
#include "log/log.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#define TICKET_NAME	16
#define TICKET_AES	32
#define TICKET_MAC	32
#define TICKET_BYTES	(TICKET_NAME + TICKET_AES + TICKET_MAC) /* ipc/proto.h, struct tls_ticket_keys_reply */
#define TICKET_RETRY_MS 60000
#define ASK_TIMEOUT_S	10
#define NAME_BYTES	256
#define NAMED_MAX	500 /* names with a certificate of their own that are remembered */

/* Certificates of one name that clients ask for. */
struct named {
	char name[NAME_BYTES], chain[NAME_BYTES + 40];
	struct tls_certs certs;
	unsigned users;
};

struct tls_server {
	struct tls_server_conf conf;
	struct tls_certs certs;
	struct named *named[NAMED_MAX];
	size_t named_n;
	X509_STORE *trusted;
	STACK_OF(X509_NAME) *
	    ca_names; /* of smtpd_tls_CAfile, told to clients that are asked for a certificate */
	/* ticket keys, with the time from which on they are to be asked for again */
	unsigned char current[TICKET_BYTES], previous[TICKET_BYTES];
	bool have_current, have_previous;
	mono_t keys_until;
};

/* ---- tickets (RFC 5077 section 4; RFC 8446 section 4.6.1) ---- */

static void take_key(struct span key, unsigned char out[TICKET_BYTES], bool *have)
{
	*have = key.n == TICKET_BYTES;
	if (*have)
		memcpy(out, key.p, TICKET_BYTES);
}

static void refresh_ticket_keys(struct tls_server *t)
{
	struct arena a;
	struct err e;
	struct tls_ticket_keys q = { .service = span_str(t->conf.ticket_service) };
	struct tls_ticket_keys_reply r;
	if (t->conf.no_tickets || t->conf.ticket_service == NULL ||
	    mono_diff_ms(t->keys_until, mono_now()) > 0)
		return;
	t->keys_until = mono_after(mono_now(), TICKET_RETRY_MS); /* only one task asks */
	arena_init(&a);
	if (ipc_ask("tlsmgr", true, IPC_TLS_TICKET_KEYS, &q, &r, &a, deadline_s(ASK_TIMEOUT_S), &e) ==
	    RC_OK) {
		take_key(r.current, t->current, &t->have_current);
		take_key(r.previous, t->previous, &t->have_previous);
		if (r.valid_s > 0 && r.valid_s < 86400)
			t->keys_until = mono_after(mono_now(), r.valid_s * 1000);
	}
	arena_release(&a);
}

static int set_mac(EVP_MAC_CTX *mac, const unsigned char *key)
{
	char digest[] = "SHA256";
	unsigned char copy[TICKET_MAC];
	memcpy(copy, key, sizeof copy);
	OSSL_PARAM p[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, copy, sizeof copy),
			   OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
			   OSSL_PARAM_construct_end() };
	return EVP_MAC_CTX_set_params(mac, p);
}

/* In seconds of 1970; the former key is good for reading as long as the present one gives tickets. */
static int64_t keys_end(const struct tls_server *t)
{
	return (int64_t)time(NULL) + mono_diff_ms(t->keys_until, mono_now()) / 1000;
}

/* 1: use it, 2: use it and give a new one, 0: no such key, -1: failure. */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		      EVP_MAC_CTX *mac, int enc)
{
	struct tls_server *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	if (enc) {
		if (!t->have_current)
			return 0;
		tls_trace_ticket(ssl, "Issuing", keys_end(t));
		memcpy(name, t->current, TICKET_NAME);
		random_bytes(iv, 16);
		return EVP_EncryptInit_ex(cipher, tls_setup.ticket_cipher, NULL, t->current + TICKET_NAME,
					  iv) == 1 &&
			       set_mac(mac, t->current + TICKET_NAME + TICKET_AES) == 1
			   ? 1
			   : -1;
	}
	bool now = t->have_current && memcmp(name, t->current, TICKET_NAME) == 0;
	bool before = t->have_previous && memcmp(name, t->previous, TICKET_NAME) == 0;
	const unsigned char *key = now ? t->current : t->previous;
	if (!now && !before)
		return 0;
	tls_trace_ticket(ssl, "Decrypting", keys_end(t));
	if (EVP_DecryptInit_ex(cipher, tls_setup.ticket_cipher, NULL, key + TICKET_NAME, iv) != 1 ||
	    set_mac(mac, key + TICKET_NAME + TICKET_AES) != 1)
		return -1;
	return now ? 1 : 2;
}

/* ---- callbacks ---- */

/* A client that names another protocol wants somebody else (RFC 7301 section 3.2; ALPACA). */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
		       unsigned n, void *arg)
{
	const struct tls_server *t = arg;
	size_t want = strlen(t->conf.alpn);
	(void)ssl;
	for (unsigned i = 0; i < n && in[i] < n - i; i += in[i] + 1u) {
		if (in[i] != want || memcmp(in + i + 1, t->conf.alpn, want) != 0)
			continue;
		*out = in + i + 1;
		*outlen = (unsigned char)want;
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *make_ctx(void *owner, struct err *e);

static struct named *named_get(struct tls_server *t, const char *name)
{
	for (size_t i = 0; i < t->named_n; i++)
		if (strcmp(t->named[i]->name, name) == 0)
			return t->named[i];
	if (t->named_n == NAMED_MAX)
		return NULL;
	struct named *n = xcalloc(1, sizeof *n);
	snprintf(n->name, sizeof n->name, "%s", name);
	snprintf(n->chain, sizeof n->chain, "%s/%s", t->conf.chain, name);
	tls_certs_init(&n->certs, n->chain, make_ctx, t);
	return t->named[t->named_n++] = n;
}

/* Names without a certificate are not kept: anybody can ask for any. */
static void named_put(struct tls_server *t, struct named *n)
{
	if (--n->users > 0 || n->certs.ctx != NULL)
		return;
	for (size_t i = 0; i < t->named_n; i++)
		if (t->named[i] == n)
			t->named[i] = t->named[--t->named_n];
	free(n);
}

/* RFC 6066 section 3. A name that is unknown gets the certificate that all get. Waits for tlsmgr. */
static int choose_name(SSL *ssl, int *alert, void *arg)
{
	struct tls_server *t = arg;
	const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	char name[NAME_BYTES];
	struct named *n;
	SSL_CTX *ctx;
	struct err e;
	enum rc rc;
	size_t len;
	(void)alert;
	if (asked == NULL || (len = strlen(asked)) == 0 || len >= sizeof name - 1)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i <= len; i++)
		name[i] = ascii_lower(asked[i]);
	if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != len ||
	    (n = named_get(t, name)) == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	n->users++;
	rc = tls_certs_get(&n->certs, &ctx, deadline_s(ASK_TIMEOUT_S), &e);
	if (rc == RC_OK) {
		SSL_set_SSL_CTX(ssl, ctx);
		SSL_CTX_free(ctx);
	} else if (rc != RC_NOTFOUND)
		log_warning("certificate for %s: %s", name, e.text);
	named_put(t, n);
	return SSL_TLSEXT_ERR_OK;
}

/* What the client's certificate is worth is told in tls_info; the caller decides. */
static int accept_any(int ok, X509_STORE_CTX *ctx)
{
	(void)tls_trace_verify(ok, ctx);
	return 1;
}

static const char *cipher_list(const char *ciphers)
{
	if (ciphers == NULL || ciphers[0] == '\0' || strcmp(ciphers, "medium") == 0)
		return "aNULL:-aNULL:HIGH:MEDIUM:+RC4:@STRENGTH:!aNULL:!kRSA";
	if (strcmp(ciphers, "high") == 0)
		return "aNULL:-aNULL:HIGH:@STRENGTH:!aNULL:!kRSA";
	return ciphers;
}

static SSL_CTX *make_ctx(void *owner, struct err *e)
{
	struct tls_server *t = owner;
	const struct tls_server_conf *c = &t->conf;
	SSL_CTX *ctx = tls_ctx_new(TLS_server_method(), e);
	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_app_data(ctx, t);
	if (c->any_strength)
		SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_SINGLE_ECDH_USE | SSL_OP_SINGLE_DH_USE);
	SSL_CTX_set_num_tickets(ctx, 1);
	if (c->ticket_service != NULL)
		(void)SSL_CTX_set_session_id_context(
		    ctx, (const unsigned char *)c->ticket_service,
		    (unsigned)strnlen(c->ticket_service, SSL_MAX_SSL_SESSION_ID_LENGTH));
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
	if (c->preempt)
		SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (c->sni) {
		SSL_CTX_set_tlsext_servername_callback(ctx, choose_name);
		SSL_CTX_set_tlsext_servername_arg(ctx, t);
	}
	if (c->verify_depth > 0)
		SSL_CTX_set_verify_depth(ctx, c->verify_depth);
	if (c->alpn != NULL)
		SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, t);
	if (c->ask_ccert || c->require_ccert)
		SSL_CTX_set_verify(ctx,
				   SSL_VERIFY_PEER | (c->require_ccert ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
				   accept_any);
	if (t->trusted != NULL)
		SSL_CTX_set1_cert_store(ctx, t->trusted);
	if (t->ca_names != NULL) /* RFC 8446 section 4.2.4: a client with several certificates can choose */
		SSL_CTX_set0_CA_list(ctx, SSL_dup_CA_list(t->ca_names));
	SSL_CTX_set_dh_auto(ctx, 1);
	if (SSL_CTX_set_cipher_list(ctx, cipher_list(c->ciphers)) != 1) {
		tls_story(e, RC_SYNTAX, "TLS ciphers");
		SSL_CTX_free(ctx);
		return NULL;
	}
	ERR_clear_error();
	return ctx;
}

enum rc tls_server_new(const struct tls_server_conf *c, struct tls_server **out, struct err *e)
{
	struct tls_server *t = xcalloc(1, sizeof *t);
	enum rc rc = RC_OK;
	t->conf = *c;
	t->conf.no_tickets |= tls_setup.ticket_cipher == NULL || (tls_setup.options & SSL_OP_NO_TICKET) != 0;
	tls_certs_init(&t->certs, c->chain, make_ctx, t);
	if ((c->ca_file != NULL && c->ca_file[0] != '\0') || (c->ca_path != NULL && c->ca_path[0] != '\0')) {
		t->trusted = X509_STORE_new();
		/* What cannot be read is trusted less, and keeps nobody from TLS. */
		if (tls_load_trust(t->trusted, c->ca_file, c->ca_path, c->use_system, e) != RC_OK)
			log_warning("authorities for client certificates: %s", e->text);
		if (c->ca_file != NULL && c->ca_file[0] != '\0')
			t->ca_names = SSL_load_client_CA_file(c->ca_file);
		ERR_clear_error();
	}
	/* Mistakes of configuration show now, not at the first client. */
	SSL_CTX *ctx = rc == RC_OK ? make_ctx(t, e) : NULL;
	SSL *ssl = ctx != NULL ? SSL_new(ctx) : NULL;
	if (rc == RC_OK)
		rc = ssl == NULL ? RC_SYNTAX : tls_set_protocols(ssl, c->protocols, e);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	if (rc != RC_OK) {
		X509_STORE_free(t->trusted);
		sk_X509_NAME_pop_free(t->ca_names, X509_NAME_free);
		free(t);
		return rc;
	}
	*out = t;
	return RC_OK;
}

enum rc tls_server_ready(struct tls_server *t, deadline_t d, struct err *e)
{
	SSL_CTX *ctx = NULL;
	enum rc rc = tls_certs_get(&t->certs, &ctx, d, e);
	SSL_CTX_free(ctx);
	return rc;
}

enum rc tls_server_start(struct tls_server *t, struct stream *s, const struct tls_trace *trace,
			 struct tls_info *info, deadline_t d, struct err *e)
{
	SSL_CTX *ctx;
	const char *sni;
	memset(info, 0, sizeof *info);
	if (stream_buffered(s) > 0)
		return err_set(e, RC_DENIED, "input before the TLS handshake");
	enum rc rc = tls_certs_get(&t->certs, &ctx, d, e);
	if (rc != RC_OK)
		return rc;
	refresh_ticket_keys(t);
	SSL *ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (ssl == NULL)
		return tls_story(e, RC_SYS, "TLS");
	if ((rc = tls_set_protocols(ssl, t->conf.protocols, e)) != RC_OK) {
		SSL_free(ssl);
		return rc;
	}
	SSL_set_accept_state(ssl);
	tls_trace_begin(ssl, true, trace, cipher_list(t->conf.ciphers));
	if (!t->have_current || t->conf.no_tickets) {
		SSL_set_options(ssl, SSL_OP_NO_TICKET);
		SSL_set_num_tickets(ssl, 0);
	}
	if ((rc = tls_handshake(ssl, s, d, e)) != RC_OK)
		return rc;
	tls_fill_info(ssl, true, t->conf.fingerprint_digest != NULL ? t->conf.fingerprint_digest : "sha256",
		      info);
	info->peer_verified = info->peer_trusted;
	tls_trace_end(ssl, info);
	if ((sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)) != NULL)
		snprintf(info->sni, sizeof info->sni, "%s", sni);
	return RC_OK;
}
