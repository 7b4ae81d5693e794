/* net/tls_library.c - what main.cf says of OpenSSL itself: its configuration file, options of every context, the cipher of
 * session tickets. */
#include "net/tls_int.h"
#include "conf/conf.h"

#include <openssl/err.h>
#include <openssl/rand.h>

struct tls_library tls_library;

/* ---- tls_ssl_options ---- */

#define OPTION(name)                                                                                         \
	{                                                                                                    \
#name, SSL_OP_##name                                                                         \
	}
static const struct option {
	const char *name;
	uint64_t bits;
} options[] = {
	OPTION(ENABLE_MIDDLEBOX_COMPAT),
	OPTION(LEGACY_SERVER_CONNECT),
	OPTION(NO_TICKET),
	OPTION(NO_COMPRESSION),
	OPTION(NO_RENEGOTIATION),
	OPTION(NO_SESSION_RESUMPTION_ON_RENEGOTIATION),
	OPTION(NO_ENCRYPT_THEN_MAC),
	OPTION(NO_ANTI_REPLAY),
	OPTION(PRIORITIZE_CHACHA),
	OPTION(ALLOW_NO_DHE_KEX),
	OPTION(CRYPTOPRO_TLSEXT_BUG),
	OPTION(TLSEXT_PADDING),
	OPTION(DONT_INSERT_EMPTY_FRAGMENTS),
#ifdef SSL_OP_ENABLE_KTLS
	OPTION(ENABLE_KTLS),
#endif
};

/* Protocols and the order of ciphers have parameters of their own. */
#define OF_OTHERS                                                                                            \
	(SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2 | SSL_OP_NO_TLSv1_3 |     \
	 SSL_OP_CIPHER_SERVER_PREFERENCE)

static bool hex(struct span text, uint64_t *v)
{
	*v = 0;
	if (!span_starts_ci(text, SPAN("0x")) || text.n < 3 || text.n > 18)
		return false;
	for (size_t i = 2; i < text.n; i++) {
		int c = (unsigned char)text.p[i], d = ascii_isdigit((char)c) ? c - '0' : (c | 32) - 'a' + 10;

		if (d < 0 || d > 15)
			return false;
		*v = *v << 4 | (unsigned)d;
	}
	*v &= ~(uint64_t)OF_OTHERS;
	return true;
}

static bool option_bits(struct span name, uint64_t *bits)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (span_is_ci(name, options[i].name)) {
			*bits = options[i].bits;
			return true;
		}
	return hex(name, bits);
}

static enum rc take_options(struct span text, struct err *e)
{
	struct span word;
	uint64_t bits;

	tls_library.options = 0;
	while (span_next_word(&text, ", \t\n", &word)) {
		if (!option_bits(word, &bits))
			return err_set(e, RC_SYNTAX, "tls_ssl_options: unknown option \"" SPAN_FMT "\"",
				       SPAN_ARG(word));
		tls_library.options |= bits;
	}
	return RC_OK;
}

/* ---- tls_session_ticket_cipher ---- */

static enum rc take_ticket_cipher(const char *name, struct err *e)
{
	const EVP_CIPHER *c = EVP_get_cipherbyname(name);

	tls_library.no_tickets = name[0] == '\0';
	if (tls_library.no_tickets)
		return RC_OK;
	if (c == NULL || EVP_CIPHER_get_mode(c) != EVP_CIPH_CBC_MODE || EVP_CIPHER_get_iv_length(c) != 16 ||
	    EVP_CIPHER_get_key_length(c) < 16 || EVP_CIPHER_get_key_length(c) > TLS_TICKET_KEY)
		return err_set(
		    e, RC_SYNTAX,
		    "tls_session_ticket_cipher: \"%s\" is no cipher in CBC mode with blocks of 128 bits "
		    "and keys of 128 to 256",
		    name);
	tls_library.ticket_cipher = c;
	return RC_OK;
}

/* ---- tls_config_file ---- */

static enum rc start(const char *file, const char *section, struct err *e)
{
	uint64_t flags = OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS;
	OPENSSL_INIT_SETTINGS *s = OPENSSL_INIT_new();
	bool own = strcmp(file, "default") != 0 && strcmp(file, "none") != 0, ok = s != NULL;

	if (own && file[0] != '/') {
		OPENSSL_INIT_free(s);
		return err_set(e, RC_SYNTAX,
			       "tls_config_file: \"%s\" is neither default, none nor an absolute path", file);
	}
	if (ok && own) /* a file that is asked for has to be there, and right */
		ok = OPENSSL_INIT_set_config_filename(s, file) == 1;
	if (ok && own)
		OPENSSL_INIT_set_config_file_flags(s, 0);
	if (ok && section[0] != '\0')
		ok = OPENSSL_INIT_set_config_appname(s, section) == 1;
	ok = ok && OPENSSL_init_ssl(flags | (strcmp(file, "none") == 0 ? OPENSSL_INIT_NO_LOAD_CONFIG
								       : OPENSSL_INIT_LOAD_CONFIG),
				    s) == 1;
	OPENSSL_INIT_free(s);
	return ok ? RC_OK : tls_story(e, RC_SYNTAX, "tls_config_file");
}

enum rc tls_prepare(const struct conf *c, struct err *e)
{
	unsigned char byte[1];
	enum rc rc = start(c != NULL ? conf_str(c, "tls_config_file") : "default",
			   c != NULL ? conf_str(c, "tls_config_name") : "", e);

	if (rc == RC_OK)
		rc = take_options(span_str(c != NULL ? conf_str(c, "tls_ssl_options") : ""), e);
	if (rc == RC_OK)
		rc = take_ticket_cipher(c != NULL ? conf_str(c, "tls_session_ticket_cipher") : "aes-256-cbc",
					e);
	if (rc != RC_OK)
		return rc;
	tls_library.multiple_labels = c == NULL || conf_bool(c, "tls_wildcard_matches_multiple_labels");
	(void)RAND_bytes(byte, sizeof byte);
	/* Algorithms are fetched when first used; a context uses most. */
	SSL_CTX_free(SSL_CTX_new(TLS_method()));
	ERR_clear_error();
	return RC_OK;
}
