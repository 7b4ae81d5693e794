/* cmd/postern/lint_files.c - what parameters name has to exist: tables, and certificates with their keys. */
#include "lint.h"
#include "map/map.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- tables ---- */

static const struct {
	const char *type;
	const char *suffix; /* of the file that postmap(1) makes; NULL: the file itself is read */
} file_types[] = {
	{ "hash", ".db" },    { "btree", ".db" },  { "lmdb", ".lmdb" }, { "cdb", ".cdb" },
	{ "texthash", NULL }, { "regexp", NULL },  { "pcre", NULL },	{ "cidr", NULL },
	{ "ldap", NULL },     { "mysql", NULL },   { "pgsql", NULL },	{ "sqlite", NULL },
	{ "memcache", NULL }, { "mongodb", NULL },
};

/* Caches are made by those who use them. */
static bool is_cache(const char *param)
{
	return strstr(param, "cache") != NULL || strcmp(param, "address_verify_map") == 0 ||
	       strcmp(param, "proxy_read_maps") == 0 || strcmp(param, "proxy_write_maps") == 0;
}

static const char *maker(const char *param)
{
	return strncmp(param, "alias_", 6) == 0 ? "postalias" : "postmap";
}

static void look_at_index(const struct lint *l, const char *param, struct span type, const char *path,
			  const char *suffix)
{
	const char *index = arena_printf(l->a, "%s%s", path, suffix);
	struct stat source, built;
	bool has_source = stat(path, &source) == 0;

	if (stat(index, &built) < 0)
		lint_say(l, param, "%s is missing: %srun \"%s " SPAN_FMT ":%s\"", index,
			 has_source ? "" : "write its source, then ", maker(param), SPAN_ARG(type), path);
	else if (has_source && source.st_mtime > built.st_mtime)
		lint_say(l, param, "%s is older than its source: run \"%s " SPAN_FMT ":%s\"", index,
			 maker(param), SPAN_ARG(type), path);
}

/* TYPE:/PATH */
static void look_at_table(const struct lint *l, const char *param, struct span type, struct span name)
{
	const char *path = arena_cstr(l->a, name);

	for (size_t i = 0; i < ARRAY_LEN(file_types); i++) {
		if (!span_is(type, file_types[i].type))
			continue;
		if (file_types[i].suffix != NULL)
			look_at_index(l, param, type, path, file_types[i].suffix);
		else if (access(path, R_OK) < 0)
			lint_say(l, param, "table " SPAN_FMT ":%s: %s: write the file, or take the table out",
				 SPAN_ARG(type), path, strerror(errno));
	}
}

static bool names_tables(const char *param)
{
	size_t n = strlen(param);

	return (n > 5 && strcmp(param + n - 5, "_maps") == 0) ||
	       (n > 7 && strcmp(param + n - 7, "_checks") == 0) ||
	       (n > 13 && strcmp(param + n - 13, "_restrictions") == 0) ||
	       strcmp(param, "alias_database") == 0 || strcmp(param, "mydestination") == 0 ||
	       strcmp(param, "relay_domains") == 0 || strcmp(param, "mynetworks") == 0 ||
	       strcmp(param, "virtual_mailbox_domains") == 0 || strcmp(param, "virtual_alias_domains") == 0;
}

static void look_at_word(const struct lint *l, const char *param, struct span word)
{
	ptrdiff_t colon;

	while ((colon = span_chr(word, ':')) > 0) {
		struct span type = span_head(word, (size_t)colon);

		word = span_skip(word, (size_t)colon + 1);
		for (size_t i = 0; i < type.n; i++)
			if (!ascii_isalnum(type.p[i]))
				return;
		if (word.n > 0 && word.p[0] == '/') {
			look_at_table(l, param, type, word);
			return;
		}
		if (!span_is(type, "proxy") && !span_is(type, "debug"))
			return;
	}
}

/* ---- certificates ---- */

static EVP_PKEY *read_key(const char *path)
{
	FILE *f = fopen(path, "re");
	EVP_PKEY *k = f != NULL ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

	if (f != NULL)
		(void)fclose(f);
	ERR_clear_error();
	return k;
}

static X509 *read_certificate(const char *path)
{
	FILE *f = fopen(path, "re");
	X509 *x = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

	if (f != NULL)
		(void)fclose(f);
	ERR_clear_error();
	return x;
}

static void look_at_pair(const struct lint *l, const char *cert_param, const char *key_param)
{
	const char *cert = arena_cstr(l->a, lint_value(l, cert_param)),
		   *key = arena_cstr(l->a, lint_value(l, key_param));
	X509 *x;
	EVP_PKEY *k;

	if (cert[0] == '\0' || strcmp(cert, "none") == 0 || access(cert, R_OK) < 0 || access(key, R_OK) < 0)
		return;
	x = read_certificate(cert);
	k = read_key(key);
	if (x == NULL)
		lint_say(l, cert_param, "%s holds no certificate in PEM form", cert);
	else if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
		lint_say(l, cert_param, "the certificate in %s has expired: renew it", cert);
	if (k == NULL)
		lint_say(l, key_param, "%s holds no private key in PEM form, or one with a passphrase", key);
	else if (x != NULL && X509_check_private_key(x, k) != 1)
		lint_say(l, key_param, "the key in %s does not belong to the certificate in %s", key, cert);
	ERR_clear_error();
	X509_free(x);
	EVP_PKEY_free(k);
}

static void must_exist(const struct lint *l, const char *param)
{
	struct span *word;
	size_t n = lint_words(l, param, &word);

	for (size_t i = 0; i < n; i++) {
		const char *path = arena_cstr(l->a, word[i]);

		if (strcmp(path, "none") != 0 && strcmp(path, "auto") != 0 && access(path, R_OK) < 0)
			lint_say(l, param, "%s: %s: correct the name, or make the file", path,
				 strerror(errno));
	}
}

static void look_at_certificates(const struct lint *l)
{
	static const char *const kinds[] = { "smtpd_tls", "smtp_tls", "lmtp_tls", "imapd_tls", "pop3d_tls" };
	static const char *const files[] = { "cert_file", "key_file", "eccert_file", "eckey_file",
					     "CAfile",	  "CApath",   "chain_files" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const char *cert = arena_printf(l->a, "%s_cert_file", kinds[i]);
		const char *key = arena_printf(l->a, "%s_key_file", kinds[i]);

		for (size_t k = 0; k < ARRAY_LEN(files); k++) {
			const char *name = arena_printf(l->a, "%s_%s", kinds[i], files[k]);

			if (conf_param_find(span_str(name)) != NULL && lint_is_own(l, name))
				must_exist(l, name);
		}
		if (lint_is_own(l, cert) || lint_is_own(l, key))
			look_at_pair(l, cert, key);
	}
}

void lint_files(const struct lint *l)
{
	for (const struct param *p = conf_params; p->name != NULL; p++) {
		struct span *word;
		size_t n = names_tables(p->name) && !is_cache(p->name) && lint_is_own(l, p->name)
			       ? lint_words(l, p->name, &word)
			       : 0;

		for (size_t i = 0; i < n; i++)
			look_at_word(l, p->name, word[i]);
	}
	look_at_certificates(l);
}
