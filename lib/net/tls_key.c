/* net/tls_key.c - private keys that are elsewhere. libssl sees an RSA or EC key whose private operation is a
 * question to tlsmgr; the task that runs the handshake waits, the others go on.
 *
 * The key methods of the 1.1 interface are used, marked deprecated in OpenSSL 3, but kept in all of 3.x: a
 * provider would be ten times as long and need a keymgmt for every kind of key. For Ed25519 and Ed448 the method
 * belongs to the algorithm, not to the key; it is OpenSSL's own but for signing. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "net/tls_int.h"
#include "ipc/ask.h"
#include "ipc/proto.h"
#include "log/log.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define SIGN_TIMEOUT_S 10

enum sign_op { OP_RSA = 1, OP_ECDSA = 3, OP_EDDSA = 4 }; /* ipc/proto.h, struct tls_sign */

static int rsa_index = -1, ec_index = -1, eddsa_index = -1;
static RSA_METHOD *rsa_method;
static EC_KEY_METHOD *ec_method;

/* Bytes of the answer, -1 on failure. */
static int ask(uint64_t generation, enum sign_op op, int padding, const void *in, size_t n,
	       unsigned char *out, size_t size)
{
	struct arena a;
	struct err e;
	struct tls_sign_reply reply = { 0 };
	struct tls_sign q = { .generation = generation,
			      .op = (uint16_t)op,
			      .padding = (uint16_t)padding,
			      .data = span_make(in, n) };
	int len = -1;
	arena_init(&a);
	enum rc rc = ipc_ask("tlsmgr", true, IPC_TLS_SIGN, &q, &reply, &a, deadline_s(SIGN_TIMEOUT_S), &e);
	if (rc != RC_OK)
		log_warning("private key operation: %s", e.text);
	else if (reply.code != 0 || reply.data.n > size)
		log_warning("private key operation refused by tlsmgr");
	else {
		memcpy(out, reply.data.p, reply.data.n);
		len = (int)reply.data.n;
	}
	arena_release(&a);
	return len;
}

static int rsa_private_encrypt(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
	const uint64_t *generation = RSA_get_ex_data(rsa, rsa_index);
	if (generation == NULL || n < 0)
		return -1;
	return ask(*generation, OP_RSA, padding, from, (size_t)n, to, (size_t)RSA_size(rsa));
}

/* Key exchange by RSA decryption is not offered (tls_server.c), so nobody has a reason to call this. */
static int rsa_private_decrypt(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
	(void)n, (void)from, (void)to, (void)rsa, (void)padding;
	return -1;
}

static int ecdsa_sign(int type, const unsigned char *digest, int n, unsigned char *sig, unsigned int *len,
		      const BIGNUM *kinv, const BIGNUM *r, EC_KEY *key)
{
	const uint64_t *generation = EC_KEY_get_ex_data(key, ec_index);
	(void)type, (void)kinv, (void)r;
	if (generation == NULL || n < 0)
		return 0;
	int got = ask(*generation, OP_ECDSA, 0, digest, (size_t)n, sig, (size_t)ECDSA_size(key));
	*len = got > 0 ? (unsigned)got : 0;
	return got > 0;
}

static int eddsa_sign(EVP_MD_CTX *ctx, unsigned char *sig, size_t *len, const unsigned char *text, size_t n)
{
	EVP_PKEY *key = EVP_PKEY_CTX_get0_pkey(EVP_MD_CTX_get_pkey_ctx(ctx));
	const uint64_t *generation = EVP_PKEY_get_ex_data(key, eddsa_index);
	size_t size = (size_t)EVP_PKEY_get_size(key);
	if (generation == NULL)
		return 0;
	int got = sig == NULL ? (int)size : ask(*generation, OP_EDDSA, 0, text, n, sig, size);
	*len = got > 0 ? (size_t)got : 0;
	return got > 0;
}

static void free_generation(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

static bool methods_ready(void)
{
	if (ec_method != NULL)
		return true;
	rsa_index = RSA_get_ex_new_index(0, NULL, NULL, NULL, free_generation);
	ec_index = EC_KEY_get_ex_new_index(0, NULL, NULL, NULL, free_generation);
	rsa_method = RSA_meth_new("postern", RSA_FLAG_EXT_PKEY | RSA_METHOD_FLAG_NO_CHECK);
	ec_method = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
	if (rsa_index < 0 || ec_index < 0 || rsa_method == NULL || ec_method == NULL)
		return false;
	const RSA_METHOD *plain = RSA_PKCS1_OpenSSL();
	RSA_meth_set_pub_enc(rsa_method, RSA_meth_get_pub_enc(plain));
	RSA_meth_set_pub_dec(rsa_method, RSA_meth_get_pub_dec(plain));
	RSA_meth_set_bn_mod_exp(rsa_method, RSA_meth_get_bn_mod_exp(plain));
	RSA_meth_set_priv_enc(rsa_method, rsa_private_encrypt);
	RSA_meth_set_priv_dec(rsa_method, rsa_private_decrypt);
	EC_KEY_METHOD_set_sign(ec_method, ecdsa_sign, NULL, NULL);
	return true;
}

static bool replace_signing(int algorithm)
{
	EVP_PKEY_METHOD *m = EVP_PKEY_meth_new(algorithm, EVP_PKEY_FLAG_SIGCTX_CUSTOM);
	const EVP_PKEY_METHOD *plain = EVP_PKEY_meth_find(algorithm);
	if (m == NULL || plain == NULL)
		return false;
	EVP_PKEY_meth_copy(m, plain);
	EVP_PKEY_meth_set_digestsign(m, eddsa_sign);
	return EVP_PKEY_meth_add0(m) == 1;
}

/* Only for those who have such a key: the method serves the certificates of others, too. */
static bool eddsa_ready(void)
{
	static bool tried, ready;
	if (!tried) {
		tried = true;
		eddsa_index = EVP_PKEY_get_ex_new_index(0, NULL, NULL, NULL, free_generation);
		ready =
		    eddsa_index >= 0 && replace_signing(EVP_PKEY_ED25519) && replace_signing(EVP_PKEY_ED448);
	}
	return ready;
}

static uint64_t *boxed(uint64_t generation)
{
	uint64_t *p = xmalloc(sizeof *p);
	*p = generation;
	return p;
}

static EVP_PKEY *remote_rsa(EVP_PKEY *public, uint64_t generation)
{
	EVP_PKEY *out = EVP_PKEY_new();
	RSA *have = EVP_PKEY_get1_RSA(public), *r = RSA_new();
	const BIGNUM *n, *x;
	RSA_get0_key(have, &n, &x, NULL);
	INVARIANT(out != NULL && r != NULL && RSA_set0_key(r, BN_dup(n), BN_dup(x), NULL) == 1);
	RSA_set_method(r, rsa_method);
	RSA_set_ex_data(r, rsa_index, boxed(generation));
	EVP_PKEY_assign_RSA(out, r);
	RSA_free(have);
	return out;
}

static EVP_PKEY *remote_ec(EVP_PKEY *public, uint64_t generation)
{
	EVP_PKEY *out = EVP_PKEY_new();
	EC_KEY *have = EVP_PKEY_get1_EC_KEY(public), *k = EC_KEY_new();
	INVARIANT(out != NULL && k != NULL && EC_KEY_set_group(k, EC_KEY_get0_group(have)) == 1 &&
		  EC_KEY_set_public_key(k, EC_KEY_get0_public_key(have)) == 1);
	EC_KEY_set_method(k, ec_method);
	EC_KEY_set_ex_data(k, ec_index, boxed(generation));
	EVP_PKEY_assign_EC_KEY(out, k);
	EC_KEY_free(have);
	return out;
}

static EVP_PKEY *remote_eddsa(EVP_PKEY *public, uint64_t generation)
{
	unsigned char raw[64];
	size_t n = sizeof raw;
	if (!eddsa_ready() || EVP_PKEY_get_raw_public_key(public, raw, &n) != 1)
		return NULL;
	EVP_PKEY *out = EVP_PKEY_new_raw_public_key(EVP_PKEY_get_base_id(public), NULL, raw, n);
	if (out != NULL)
		EVP_PKEY_set_ex_data(out, eddsa_index, boxed(generation));
	return out;
}

EVP_PKEY *tls_key_remote(X509 *cert, uint64_t generation)
{
	EVP_PKEY *public = X509_get0_pubkey(cert);
	if (public == NULL || !methods_ready())
		return NULL;
	switch (EVP_PKEY_get_base_id(public)) {
	case EVP_PKEY_RSA:
		return remote_rsa(public, generation);
	case EVP_PKEY_EC:
		return remote_ec(public, generation);
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		return remote_eddsa(public, generation);
	default:
		return NULL;
	}
}
