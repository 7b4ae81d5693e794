/* sign.c - private key operations (ipc/proto.h, struct tls_sign). Signatures only: an RSA key that also
 * decrypted would turn whoever takes over a server process into a reader of recorded sessions. */
#include "tlsmgr.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#define DIGEST_MAX 64
#define TEXT_MAX   8192 /* RFC 8446 4.4.3; before 1.3 parameters of a key exchange are in it */
#define SIG_MAX	   2048

enum { OP_RSA = 1, OP_ECDSA = 3, OP_EDDSA = 4 };

static bool fits(const struct pair *p, const struct tls_sign *q)
{
	int kind = EVP_PKEY_get_base_id(p->key);
	switch (q->op) {
	case OP_RSA: /* OpenSSL pads PSS itself and then asks for no padding */
		return (kind == EVP_PKEY_RSA || kind == EVP_PKEY_RSA_PSS) &&
		       (q->padding == RSA_PKCS1_PADDING || q->padding == RSA_NO_PADDING) && q->data.n > 0 &&
		       q->data.n <= (size_t)EVP_PKEY_get_size(p->key);
	case OP_ECDSA:
		return kind == EVP_PKEY_EC && q->data.n > 0 && q->data.n <= DIGEST_MAX;
	case OP_EDDSA: /* signs no digest, but the text */
		return (kind == EVP_PKEY_ED25519 || kind == EVP_PKEY_ED448) && q->data.n > 0 &&
		       q->data.n <= TEXT_MAX;
	default:
		return false;
	}
}

struct job {
	EVP_PKEY_CTX *ctx; /* or that of a text */
	EVP_MD_CTX *text;
	struct span in;
	unsigned char *out;
	size_t n;
	bool ok;
};

static void run(void *arg)
{
	struct job *j = arg;
	const unsigned char *in = (const unsigned char *)j->in.p;
	j->ok = j->text != NULL ? EVP_DigestSign(j->text, j->out, &j->n, in, j->in.n) == 1
				: EVP_PKEY_sign(j->ctx, j->out, &j->n, in, j->in.n) == 1;
	ERR_clear_error();
}

static bool ready(struct job *j, const struct pair *p, const struct tls_sign *q)
{
	if (q->op == OP_EDDSA)
		return (j->text = EVP_MD_CTX_new()) != NULL &&
		       EVP_DigestSignInit(j->text, NULL, NULL, NULL, p->key) == 1;
	return (j->ctx = EVP_PKEY_CTX_new(p->key, NULL)) != NULL && EVP_PKEY_sign_init(j->ctx) == 1 &&
	       (q->op != OP_RSA || EVP_PKEY_CTX_set_rsa_padding(j->ctx, q->padding) == 1);
}

bool sign_raw(const struct pair *p, const struct tls_sign *q, struct arena *a, struct span *out)
{
	if (!fits(p, q))
		return false;
	struct job j = { .in = q->data, .out = arena_alloc(a, SIG_MAX), .n = SIG_MAX };
	if (ready(&j, p,
		  q)) /* the context holds its own reference of the key: renewal meanwhile does not free it */
		task_offload(run, &j);
	EVP_PKEY_CTX_free(j.ctx);
	EVP_MD_CTX_free(j.text);
	ERR_clear_error();
	*out = span_make((const char *)j.out, j.n);
	return j.ok;
}
