/* auth/scheme.c - stored passwords: "{SCHEME}data" as in Dovecot's passwd-file, or what crypt(3) makes. */
#include "auth.h"
#include "base/codec.h"
#include <crypt.h>
#include <openssl/evp.h>

static struct span take_scheme(struct span *stored)
{
	ptrdiff_t end;
	struct span s;

	if (stored->n == 0 || stored->p[0] != '{' || (end = span_chr(*stored, '}')) < 0)
		return SPAN("CRYPT"); /* Dovecot's default for passwd-file */
	s = span_make(stored->p + 1, (size_t)end - 1);
	*stored = span_skip(*stored, (size_t)end + 1);
	return s;
}

bool scheme_plain(struct span stored, struct span *secret)
{
	struct span s = take_scheme(&stored);

	*secret = stored;
	return span_is_ci(s, "PLAIN") || span_is_ci(s, "CLEAR") || span_is_ci(s, "CLEARTEXT");
}

static enum rc check_crypt(struct span stored, struct span password, struct err *e)
{
	char hash[KEEPER_SECRET_MAX], key[KEEPER_SECRET_MAX];
	struct crypt_data *data;
	const char *made;
	enum rc rc;

	if (span_cstr(stored, hash, sizeof(hash)) != RC_OK || span_cstr(password, key, sizeof(key)) != RC_OK)
		return RC_DENIED;
	data = xcalloc(1, sizeof(*data));
	made = crypt_r(key, hash, data);
	if (!made || made[0] == '*')
		rc = err_set(e, RC_SYNTAX, "a stored password hash is of no kind that crypt(3) knows");
	else
		rc = span_eq_secret(span_str(made), stored) ? RC_OK : RC_DENIED;
	explicit_bzero(data, sizeof(*data));
	explicit_bzero(key, sizeof(key));
	free(data);
	return rc;
}

/* digest, or digest and salt, in base64 or hexadecimal. */
static enum rc check_digest(const char *name, bool hex, struct span stored, struct span password,
			    struct err *e)
{
	unsigned char made[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *md = EVP_get_digestbyname(name);
	struct buf raw;
	enum rc rc = RC_DENIED;

	buf_init(&raw, KEEPER_SECRET_MAX);
	if (!ctx || !md || (hex ? hex_decode(&raw, stored) : base64_decode(&raw, stored)) != RC_OK ||
	    raw.n < (size_t)EVP_MD_size(md)) {
		rc = err_set(e, RC_SYNTAX, "a stored %s password is malformed", name);
	} else if (EVP_DigestInit_ex(ctx, md, NULL) && EVP_DigestUpdate(ctx, password.p, password.n) &&
		   EVP_DigestUpdate(ctx, raw.p + EVP_MD_size(md), raw.n - (size_t)EVP_MD_size(md)) &&
		   EVP_DigestFinal_ex(ctx, made, &n)) {
		if (span_eq_secret(span_make((char *)made, n), span_make(raw.p, n)))
			rc = RC_OK;
	}
	EVP_MD_CTX_free(ctx);
	buf_release(&raw);
	return rc;
}

static const struct {
	const char *scheme, *digest; /* digest NULL: crypt(3) */
	bool hex;		     /* unless the scheme's name ends with .B64 */
} schemes[] = {
	{ "CRYPT", NULL, false },      { "SHA512-CRYPT", NULL, false }, { "SHA256-CRYPT", NULL, false },
	{ "MD5-CRYPT", NULL, false },  { "BLF-CRYPT", NULL, false },	{ "DES-CRYPT", NULL, false },
	{ "YESCRYPT", NULL, false },   { "SHA", "SHA1", false },	{ "SHA1", "SHA1", false },
	{ "SSHA", "SHA1", false },     { "SHA256", "SHA256", false },	{ "SSHA256", "SHA256", false },
	{ "SHA512", "SHA512", false }, { "SSHA512", "SHA512", false },	{ "LDAP-MD5", "MD5", false },
	{ "SMD5", "MD5", false },      { "PLAIN-MD5", "MD5", true },
};

/* "SHA256.HEX" -> "SHA256". */
static struct span take_encoding(struct span scheme, bool *hex, bool *given)
{
	static const struct {
		const char *suffix;
		bool hex;
	} known[] = { { ".HEX", true }, { ".B64", false }, { ".BASE64", false } };

	*given = *hex = false;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!span_ends_ci(scheme, span_str(known[i].suffix)))
			continue;
		*given = true;
		*hex = known[i].hex;
		return span_head(scheme, scheme.n - strlen(known[i].suffix));
	}
	return scheme;
}

enum rc scheme_check(struct span stored, struct span password, struct err *e)
{
	struct span plain, scheme, name;
	bool hex, given;

	if (scheme_plain(stored, &plain))
		return span_eq_secret(plain, password) ? RC_OK : RC_DENIED;
	scheme = take_scheme(&stored);
	name = take_encoding(scheme, &hex, &given);
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		if (!span_is_ci(name, schemes[i].scheme) || (given && !schemes[i].digest))
			continue;
		return schemes[i].digest ? check_digest(schemes[i].digest, given ? hex : schemes[i].hex,
							stored, password, e)
					 : check_crypt(stored, password, e);
	}
	return err_set(e, RC_SYNTAX, "password scheme {" SPAN_FMT "} is not known", SPAN_ARG(scheme));
}
