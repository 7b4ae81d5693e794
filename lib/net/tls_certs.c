/* net/tls_certs.c - the certificates of a name in tlsmgr, and the context made from them. Looked at once a
 * second while connections come; connections that run keep the context they began with. */
#include "net/tls_int.h"
#include "ipc/ask.h"
#include "ipc/proto.h"
#include "log/log.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define CHECK_MS      1000
#define CHAIN_CERTS   20 /* certificates in one chain */
#define ASK_TIMEOUT_S 10

void tls_certs_init(struct tls_certs *c, const char *chain, SSL_CTX *(*make)(void *owner, struct err *e),
		    void *owner)
{
	*c = (struct tls_certs){ .chain = chain, .make = make, .owner = owner };
	waitq_init(&c->refreshed);
}

/* The key with number i of the configuration: "smtpd", "smtpd:1" ... */
static enum rc ask(const char *chain, size_t i, uint64_t have, struct arena *a, struct tls_cert_reply *reply,
		   struct err *e)
{
	struct tls_cert q = { .chain = i == 0 ? span_str(chain) : span_printf(a, "%s:%zu", chain, i),
			      .have = have };
	enum rc rc = ipc_ask("tlsmgr", true, IPC_TLS_CERT, &q, reply, a, deadline_s(ASK_TIMEOUT_S), e);
	if (rc == RC_OK && reply->code != 0)
		return err_set(e, RC_NOTFOUND, SPAN_FMT, SPAN_ARG(reply->text));
	return rc;
}

static enum rc changed(struct tls_certs *c, struct arena *a, bool *out, struct err *e)
{
	struct tls_cert_reply r;
	*out = c->ctx == NULL;
	for (size_t i = 0; !*out && i < TLS_KEYS_MAX; i++) {
		enum rc rc = ask(c->chain, i, i < c->keys ? c->generation[i] : 0, a, &r, e);
		if (rc == RC_NOTFOUND && i > 0) {
			*out = i != c->keys;
			return RC_OK;
		}
		if (rc != RC_OK)
			return rc;
		*out = i >= c->keys || r.generation != c->generation[i];
	}
	return RC_OK;
}

static enum rc use_pem(SSL_CTX *ctx, struct span pem, uint64_t generation, struct err *e)
{
	BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
	X509 *leaf = PEM_read_bio_X509(in, NULL, NULL, NULL), *more;
	STACK_OF(X509) *rest = sk_X509_new_null();
	enum rc rc = RC_OK;
	while (leaf != NULL && sk_X509_num(rest) < CHAIN_CERTS &&
	       (more = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
		sk_X509_push(rest, more);
	ERR_clear_error(); /* the end of the file is one */
	EVP_PKEY *key = leaf != NULL ? tls_key_remote(leaf, generation) : NULL;
	if (key == NULL)
		rc = err_set(e, RC_SYNTAX, "certificate with a kind of key that is not supported");
	else if (SSL_CTX_use_cert_and_key(ctx, leaf, key, rest, 1) != 1)
		rc = tls_story(e, RC_SYNTAX, "certificate");
	EVP_PKEY_free(key);
	sk_X509_pop_free(rest, X509_free);
	X509_free(leaf);
	BIO_free(in);
	return rc;
}

static enum rc load(struct tls_certs *c, SSL_CTX *ctx, struct arena *a, struct err *e)
{
	size_t used = 0, i = 0;
	enum rc rc = RC_OK;
	struct err story;
	for (; i < TLS_KEYS_MAX; i++) {
		struct tls_cert_reply r;
		if ((rc = ask(c->chain, i, 0, a, &r, &story)) != RC_OK)
			break;
		c->generation[i] = r.generation;
		if (use_pem(ctx, r.pem, r.generation, &story) == RC_OK)
			used++;
		else
			log_warning("certificate %zu of %s is not used: %s", i, c->chain, story.text);
	}
	c->keys = i;
	if (used > 0)
		return RC_OK;
	return err_set(e, rc == RC_OK || rc == RC_NOTFOUND ? RC_NOTFOUND : rc, "no certificate for %s: %s",
		       c->chain, story.text);
}

static enum rc refresh(struct tls_certs *c, struct err *e)
{
	struct arena a;
	bool new = false;
	enum rc rc = RC_OK;
	SSL_CTX *ctx = NULL;
	arena_init(&a);
	if (c->chain != NULL)
		rc = changed(c, &a, &new, e);
	else
		new = c->ctx == NULL;
	if (rc != RC_OK || !new)
		goto done;
	if ((ctx = c->make(c->owner, e)) == NULL)
		rc = RC_SYS;
	else if (c->chain != NULL)
		rc = load(c, ctx, &a, e);
	if (rc == RC_OK) {
		SSL_CTX_free(c->ctx);
		c->ctx = ctx;
		ctx = NULL;
	}
done:
	SSL_CTX_free(ctx);
	arena_release(&a);
	c->checked = mono_now();
	return rc;
}

enum rc tls_certs_get(struct tls_certs *c, SSL_CTX **out, deadline_t d, struct err *e)
{
	enum rc rc = RC_OK;
	while (c->ctx == NULL && c->refreshing)
		if ((rc = waitq_wait(&c->refreshed, d)) != RC_OK)
			return err_set(e, rc, "no certificate yet");
	if (!c->refreshing && (c->ctx == NULL || mono_diff_ms(mono_now(), c->checked) >= CHECK_MS)) {
		c->refreshing = true;
		rc = refresh(c, e);
		c->refreshing = false;
		waitq_wake_all(&c->refreshed);
	}
	if (c->ctx == NULL)
		return rc != RC_OK ? rc : err_set(e, RC_AGAIN, "no certificate");
	SSL_CTX_up_ref(c->ctx); /* whatever went wrong: the former ones still serve */
	*out = c->ctx;
	return RC_OK;
}
