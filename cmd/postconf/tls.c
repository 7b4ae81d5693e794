/* tls.c - what the TLS library is and can (postconf -T). */
#include "postconf.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/opensslv.h>

static void public_keys(void)
{
	/* The kinds of certificates that a server may have one of, by the names of the "_cert_file" parameters
	 * first. */
	static const char *const kind[][2] = {
		{ "dsa", "DSA" },	  { "ecdsa", "EC" },	{ "rsa", "RSA" },
		{ "ed25519", "ED25519" }, { "ed448", "ED448" },
	};

	for (size_t i = 0; i < ARRAY_LEN(kind); i++) {
		EVP_KEYMGMT *k = EVP_KEYMGMT_fetch(NULL, kind[i][1], NULL);

		if (k != NULL)
			printf("%s\n", kind[i][0]);
		EVP_KEYMGMT_free(k);
	}
}

void show_tls(const char *mode)
{
	if (strcmp(mode, "compile-version") == 0)
		printf("%s\n", OPENSSL_VERSION_TEXT);
	else if (strcmp(mode, "run-version") == 0)
		printf("%s\n", OpenSSL_version(OPENSSL_VERSION));
	else if (strcmp(mode, "public-key-algorithms") == 0)
		public_keys();
	else {
		warn("unknown 'postconf -T' mode: %s", mode);
		exit(1);
	}
}
