/* net/tls_setup.c - what postconf(5) says of TLS for the process as a whole: which configuration OpenSSL loads (tls_config_file,
 * tls_config_name), options of the library (tls_ssl_options), groups for key exchange, the cipher of session tickets. */
#include "net/tls_int.h"
#include "conf/conf.h"
#include "log/log.h"

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#define GROUPS_MAX 1000 /* bytes of a list of groups */

struct tls_setup tls_setup = { .wildcards = true };

struct option {
	const char *name;
	uint64_t bit;
};
static const struct option options[] = {
	{ "ENABLE_MIDDLEBOX_COMPAT", SSL_OP_ENABLE_MIDDLEBOX_COMPAT },
	{ "LEGACY_SERVER_CONNECT", SSL_OP_LEGACY_SERVER_CONNECT },
	{ "NO_COMPRESSION", SSL_OP_NO_COMPRESSION },
	{ "NO_RENEGOTIATION", SSL_OP_NO_RENEGOTIATION },
	{ "NO_SESSION_RESUMPTION_ON_RENEGOTIATION", SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION },
	{ "NO_TICKET", SSL_OP_NO_TICKET },
	{ "PRIORITIZE_CHACHA", SSL_OP_PRIORITIZE_CHACHA },
	{ NULL, 0 },
};
/* What keeps old peers able to talk to us; 0: names of what OpenSSL has no more. */
static const struct option workarounds[] = {
	{ "CRYPTOPRO_TLSEXT_BUG", SSL_OP_CRYPTOPRO_TLSEXT_BUG },
	{ "DONT_INSERT_EMPTY_FRAGMENTS", SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS },
	{ "LEGACY_SERVER_CONNECT", SSL_OP_LEGACY_SERVER_CONNECT },
	{ "TLSEXT_PADDING", SSL_OP_TLSEXT_PADDING },
	{ "MICROSOFT_BIG_SSLV3_BUFFER", 0 },
	{ "CVE-2005-2969", 0 },
	{ "MICROSOFT_SESS_ID_BUG", 0 },
	{ "CVE-2010-4180", 0 },
	{ "MSIE_SSLV2_RSA_PADDING", 0 },
	{ "NETSCAPE_CHALLENGE_BUG", 0 },
	{ "NETSCAPE_REUSE_CIPHER_CHANGE_BUG", 0 },
	{ "SSLEAY_080_CLIENT_DH_BUG", 0 },
	{ "SSLREF2_REUSE_CERT_TYPE_BUG", 0 },
	{ "TLS_BLOCK_PADDING_BUG", 0 },
	{ "TLS_D5_BUG", 0 },
	{ "TLS_ROLLBACK_BUG", 0 },
	{ NULL, 0 },
};

/* "0x1f": the bits themselves. */
static bool option_bits(struct span word, uint64_t *out)
{
	if (word.n < 3 || word.n > 18 || !span_starts_ci(word, SPAN("0x")))
		return false;
	*out = 0;
	for (size_t i = 2; i < word.n; i++) {
		char c = ascii_lower(word.p[i]);
		if (!ascii_isdigit(c) && (c < 'a' || c > 'f'))
			return false;
		*out = *out << 4 | (uint64_t)(ascii_isdigit(c) ? c - '0' : c - 'a' + 10);
	}
	return true;
}

static uint64_t read_options(const struct conf *c, const char *param, const struct option *known)
{
	struct span rest = span_str(conf_str(c, param)), word;
	uint64_t all = 0, bits = 0;
	while (span_next_word(&rest, ", \t\r\n", &word)) {
		const struct option *o = known;
		while (o->name != NULL && !span_is_ci(word, o->name))
			o++;
		if (o->name != NULL || option_bits(word, &bits))
			all |= o->name != NULL ? o->bit : bits;
		else
			log_warning("%s: unknown option \"" SPAN_FMT "\"", param, SPAN_ARG(word));
	}
	return all;
}

/* Names that this OpenSSL does not know are passed over, so that a list may name what a later one has. */
static void add_groups(SSL_CTX *probe, const char *list, char *out, size_t size)
{
	struct span rest = span_str(list), word;
	char name[64];
	while (span_next_word(&rest, ":, \t\r\n", &word)) {
		size_t have = strlen(out);
		if (span_cstr(word, name, sizeof name) != RC_OK || SSL_CTX_set1_groups_list(probe, name) != 1)
			continue;
		if (have + word.n + 2 <= size)
			snprintf(out + have, size - have, "%s%s", have > 0 ? ":" : "", name);
	}
}

static void read_groups(const struct conf *c)
{
	static char list[GROUPS_MAX];
	SSL_CTX *probe = SSL_CTX_new(TLS_method());
	list[0] = '\0';
	if (probe != NULL) {
		add_groups(probe, conf_str(c, "tls_eecdh_auto_curves"), list, sizeof list);
		add_groups(probe, conf_str(c, "tls_ffdhe_auto_groups"), list, sizeof list);
	}
	SSL_CTX_free(probe);
	tls_setup.groups = list[0] != '\0' ? list : NULL;
}

/* CBC, blocks of 128 bits, and a key that is no longer than what tlsmgr gives. */
static void read_ticket_cipher(const char *name)
{
	const EVP_CIPHER *cipher = name[0] != '\0' ? EVP_get_cipherbyname(name) : NULL;
	if (cipher != NULL &&
	    (EVP_CIPHER_get_mode(cipher) != EVP_CIPH_CBC_MODE || EVP_CIPHER_get_block_size(cipher) != 16 ||
	     EVP_CIPHER_get_key_length(cipher) < 16 || EVP_CIPHER_get_key_length(cipher) > 32))
		cipher = NULL;
	if (cipher == NULL && name[0] != '\0')
		log_warning("tls_session_ticket_cipher: unsuitable cipher \"%s\": no session tickets", name);
	tls_setup.ticket_cipher = cipher;
}

/* What the system's own file says is taken as it is; a file or name that the administrator gave has to be there. */
static enum rc load_config(const char *file, const char *name, struct err *e)
{
	const uint64_t base = OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS;
	bool usual = strcmp(file, "default") == 0;
	if (strcmp(file, "none") == 0)
		return OPENSSL_init_ssl(base | OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1
			   ? RC_OK
			   : tls_story(e, RC_SYS, "OpenSSL");
	if (!usual && file[0] != '/')
		return err_set(e, RC_SYNTAX,
			       "tls_config_file: \"default\", \"none\" or a path expected, not \"%s\"", file);
	OPENSSL_INIT_SETTINGS *s = usual && name[0] == '\0' ? NULL : OPENSSL_INIT_new();
	if (s != NULL && !usual)
		(void)OPENSSL_INIT_set_config_filename(s, file);
	if (s != NULL && name[0] != '\0')
		(void)OPENSSL_INIT_set_config_appname(s, name);
	if (s != NULL)
		OPENSSL_INIT_set_config_file_flags(
		    s, usual ? CONF_MFLAGS_IGNORE_MISSING_FILE | CONF_MFLAGS_DEFAULT_SECTION : 0);
	bool ok = OPENSSL_init_ssl(base | OPENSSL_INIT_LOAD_CONFIG, s) == 1;
	OPENSSL_INIT_free(s);
	if (ok || usual)
		return RC_OK;
	ERR_clear_error();
	return err_set(e, RC_SYNTAX, "tls_config_file: cannot load the settings \"%s\" of %s",
		       name[0] != '\0' ? name : "openssl_conf", file);
}

const char *tls_cipher_list(const struct conf *c, struct span grade)
{
	static const struct {
		const char *grade, *param;
	} grades[] = { { "high", "tls_high_cipherlist" },
		       { "medium", "tls_medium_cipherlist" },
		       { "low", "tls_medium_cipherlist" },
		       { "export", "tls_medium_cipherlist" },
		       { "null", "tls_null_cipherlist" } };
	for (size_t i = 0; i < ARRAY_LEN(grades); i++)
		if (span_is_ci(grade, grades[i].grade))
			return conf_str(c, grades[i].param);
	return NULL;
}

enum rc tls_prepare(const struct conf *c, struct err *e)
{
	unsigned char byte[1];
	enum rc rc = load_config(c != NULL ? conf_str(c, "tls_config_file") : "default",
				 c != NULL ? conf_str(c, "tls_config_name") : "", e);
	if (rc != RC_OK)
		return rc;
	tls_setup.ticket_cipher = EVP_aes_256_cbc();
	if (c != NULL) {
		tls_setup.options = (SSL_OP_ALL & ~read_options(c, "tls_disable_workarounds", workarounds)) |
				    read_options(c, "tls_ssl_options", options);
		tls_setup.wildcards = conf_bool(c, "tls_wildcard_matches_multiple_labels");
		read_groups(c);
		read_ticket_cipher(conf_str(c, "tls_session_ticket_cipher"));
	}
	(void)RAND_bytes(byte, sizeof byte);
	/* Algorithms are fetched when first used; a context uses most. */
	SSL_CTX_free(SSL_CTX_new(TLS_method()));
	ERR_clear_error();
	return RC_OK;
}
