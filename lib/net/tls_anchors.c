/* net/tls_anchors.c - trust anchors of the configuration. OpenSSL trusts a bare key, or a certificate that is no root, only where
 * DANE says so: each becomes TLSA records of the usages DANE-TA(2) and, since an anchor may be the server's own, DANE-EE(3),
 * with the whole object in it (RFC 6698 section 2.1), and the authorities count no more. */
#include "net/tls_int.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define ANCHORS_MAX 100
enum { USAGE_TA = 2, USAGE_EE = 3, WHOLE_CERTIFICATE = 0, PUBLIC_KEY = 1, AS_IT_IS = 0 };

struct tls_anchors {
	char *files;
	size_t n;
	struct {
		uint8_t selector;
		unsigned char *der;
		size_t len;
	} v[ANCHORS_MAX];
};

/* One PEM block: whether it is of use. */
static bool take(struct tls_anchors *t, const char *name, unsigned char *der, long len)
{
	bool cert = strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0;
	if (len <= 0 || t->n == ANCHORS_MAX || (!cert && strcmp(name, PEM_STRING_PUBLIC) != 0))
		return false;
	t->v[t->n].selector = cert ? WHOLE_CERTIFICATE : PUBLIC_KEY;
	t->v[t->n].der = memcpy(xmalloc((size_t)len), der, (size_t)len);
	t->v[t->n++].len = (size_t)len;
	return true;
}

static enum rc load_file(struct tls_anchors *t, const char *path, struct err *e)
{
	char *name, *header;
	unsigned char *der;
	long len;
	size_t found = 0;
	BIO *in = BIO_new_file(path, "r");
	if (in == NULL) {
		ERR_clear_error();
		return err_sys(e, "open trust anchor file %s", path);
	}
	while (PEM_read_bio(in, &name, &header, &der, &len) == 1) {
		found += take(t, name, der, len);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(der);
	}
	ERR_clear_error();
	BIO_free(in);
	if (found == 0)
		return err_set(e, RC_SYNTAX, "trust anchor file %s: no certificate and no public key", path);
	return RC_OK;
}

enum rc tls_anchors_load(const char *files, struct tls_anchors **out, struct err *e)
{
	struct span rest = span_str(files != NULL ? files : ""), word;
	enum rc rc = RC_OK;
	*out = NULL;
	while (rc == RC_OK && span_next_word(&rest, ", \t\r\n", &word)) {
		char path[4096];
		if (*out == NULL)
			(*out = xcalloc(1, sizeof **out))->files = xstrdup(files);
		if ((rc = span_cstr(word, path, sizeof path)) != RC_OK)
			return err_set(e, rc, "trust anchor file: bad name");
		rc = load_file(*out, path, e);
	}
	return rc;
}

const char *tls_anchors_name(const struct tls_anchors *t)
{
	return t->files;
}

/* OpenSSL wants a name, and would check it: here names are looked at by others. */
enum rc tls_anchors_use(const struct tls_anchors *t, SSL *ssl, struct err *e)
{
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	bool named = sni != NULL;
	if (SSL_dane_enable(ssl, named ? sni : "anchors.invalid") != 1)
		return tls_story(e, RC_SYS, "TLS trust anchors");
	if (!named && SSL_set_tlsext_host_name(ssl, NULL) != 1)
		return tls_story(e, RC_SYS, "TLS trust anchors");
	X509_VERIFY_PARAM_set1_host(SSL_get0_param(ssl), NULL, 0);
	for (size_t i = 0; i < t->n; i++)
		for (int usage = USAGE_TA; usage <= USAGE_EE; usage++)
			if (SSL_dane_tlsa_add(ssl, (uint8_t)usage, t->v[i].selector, AS_IT_IS, t->v[i].der,
					      t->v[i].len) != 1)
				return tls_story(e, RC_SYNTAX, "TLS trust anchor");
	return RC_OK;
}
