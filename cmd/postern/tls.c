/* cmd/postern/tls.c - postfix tls SUBCOMMAND: TLS switched on, keys and certificates of the SMTP server made, put in
 * force and shown (postfix-tls(1)). */
#include "control.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VALID_DAYS (100 * 365)
#define HOSTS_MAX  64

struct tls {
	const struct control *c;
	struct arena a;
	const char *random;    /* -r */
	const char *algorithm; /* -a: rsa, ecdsa */
	const char *bits;      /* -b: bits, or the name of a curve */
	const char *key;       /* -k */
	const char *host;      /* -h */
	char **arg;
	int args;
};

/* ---- parameters ---- */

static bool all_default(const struct tls *t, const char *prefix, const char *const *more)
{
	const char *name, *raw;
	unsigned line;

	for (size_t pos = 0; conf_next(t->c->conf, &pos, &name, &raw, &line);) {
		if (strncmp(name, prefix, strlen(prefix)) == 0)
			return false;
		for (const char *const *m = more; *m != NULL; m++)
			if (strcmp(name, *m) == 0)
				return false;
	}
	return true;
}

static bool client_is_default(const struct tls *t)
{
	return all_default(t, "smtp_tls_", (const char *const[]){ "smtp_use_tls", "smtp_enforce_tls", NULL });
}

static bool server_is_default(const struct tls *t)
{
	return all_default(t, "smtpd_tls_",
			   (const char *const[]){ "smtpd_use_tls", "smtpd_enforce_tls", NULL });
}

int control_edit(const struct control *c, const char *operation, char **settings, size_t n)
{
	struct arena a;
	char **argv;
	int status;
	pid_t pid;

	arena_init(&a);
	argv = arena_array(&a, n + 5, sizeof *argv);
	argv[0] = arena_printf(&a, "%s/postconf", conf_str(c->conf, "command_directory"));
	argv[1] = arena_strdup(&a, "-c");
	argv[2] = arena_strdup(&a, c->dir);
	argv[3] = arena_strdup(&a, operation);
	memcpy(argv + 4, settings, n * sizeof *argv);
	if ((pid = fork()) < 0)
		die("fork: %m");
	if (pid == 0) {
		execv(argv[0], argv);
		die("cannot execute %s: %m", argv[0]);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %m");
	arena_release(&a);
	return status == 0 ? 0 : 1;
}

int control_set(const struct control *c, char **settings, size_t n)
{
	return control_edit(c, "-e", settings, n);
}

/* ---- files ---- */

static const char *in_config(struct tls *t, const char *name)
{
	return name[0] == '/' ? name : arena_printf(&t->a, "%s/%s", t->c->dir, name);
}

static FILE *create(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (f == NULL)
		die("create %s: %m", path);
	return f;
}

static void finish(FILE *f, bool written, const char *path)
{
	if (!written || fflush(f) != 0 || fsync(fileno(f)) != 0 || fclose(f) != 0)
		die("write %s: %m", path);
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *f = fopen(path, "re");
	EVP_PKEY *k = f != NULL ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

	if (f == NULL)
		die("open %s: %m", path);
	if (k == NULL)
		die("%s: no private key in PEM form", path);
	(void)fclose(f);
	return k;
}

static bool is_ecdsa(const struct tls *t)
{
	if (strcmp(t->algorithm, "ecdsa") != 0 && strcmp(t->algorithm, "rsa") != 0)
		die("-a: rsa or ecdsa, not %s", t->algorithm);
	return t->algorithm[0] == 'e';
}

/* "rsa" and "ecdsa" mean the key that main.cf names; NULL when it names none. */
static const char *key_file(struct tls *t, const char *name)
{
	const char *param = strcmp(name, "rsa") == 0	 ? "smtpd_tls_key_file"
			    : strcmp(name, "ecdsa") == 0 ? "smtpd_tls_eckey_file"
							 : NULL;
	const char *path = param != NULL ? conf_str(t->c->conf, param) : in_config(t, name);

	return path[0] == '\0' || strcmp(path, "none") == 0 ? NULL : path;
}

/* ---- keys and certificates ---- */

static EVP_PKEY *make_key(const struct tls *t)
{
	uint64_t bits = 2048;
	EVP_PKEY *k;

	if (is_ecdsa(t)) {
		const char *curve =
		    t->bits == NULL || strcmp(t->bits, "secp256r1") == 0 ? "prime256v1" : t->bits;

		if ((k = EVP_EC_gen(curve)) == NULL)
			die("-b: unknown curve %s", curve);
		return k;
	}
	if (t->bits != NULL && (span_to_u64(span_str(t->bits), 16384, &bits) != RC_OK || bits < 1024))
		die("-b: 1024 to 16384 bits, not %s", t->bits);
	if ((k = EVP_RSA_gen((unsigned)bits)) == NULL)
		die("cannot make a key of %s bits", t->bits);
	return k;
}

static const char *common_name(const struct tls *t)
{
	return t->args > 0 ? t->arg[0] : conf_str(t->c->conf, "myhostname");
}

static void must_be_host_names(const struct tls *t)
{
	if (t->args > HOSTS_MAX)
		die("at most %d names", HOSTS_MAX);
	for (int i = 0; i < t->args; i++)
		for (const char *p = t->arg[i]; *p != '\0'; p++)
			if (!ascii_isalnum(*p) && strchr("-._*", *p) == NULL)
				die("not a host name: %s", t->arg[i]);
}

static char *alternative_names(struct tls *t)
{
	char *list = arena_printf(&t->a, "DNS:%s", common_name(t));

	for (int i = 1; i < t->args; i++)
		list = arena_printf(&t->a, "%s,DNS:%s", list, t->arg[i]);
	return list;
}

/* Of a certificate `x`, or of a request `req` for one: what it is good for, and for which names. */
static bool add_extensions(STACK_OF(X509_EXTENSION) * *list, struct tls *t, X509 *x, X509_REQ *req)
{
	const struct {
		int nid;
		char *value;
	} want[] = { { NID_basic_constraints, "CA:FALSE" },
		     { NID_subject_key_identifier, "hash" },
		     { NID_ext_key_usage, "serverAuth,clientAuth" },
		     { NID_subject_alt_name, alternative_names(t) } };
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, NULL, x, req, NULL, 0);
	for (size_t i = req != NULL; i < ARRAY_LEN(want); i++) { /* an authority decides itself who is one */
		X509_EXTENSION *one = X509V3_EXT_conf_nid(NULL, &ctx, want[i].nid, want[i].value);
		bool added = one != NULL && X509v3_add_ext(list, one, -1) != NULL;

		X509_EXTENSION_free(one);
		if (!added)
			return false;
	}
	return true;
}

static bool set_subject(X509_NAME *name, const struct tls *t)
{
	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name(t),
					  -1, -1, 0) == 1;
}

static X509 *make_certificate(struct tls *t, EVP_PKEY *k)
{
	X509 *x = X509_new();
	STACK_OF(X509_EXTENSION) *list = NULL;
	unsigned char serial[16];
	BIGNUM *number;

	if (x == NULL || RAND_bytes(serial, sizeof serial) != 1)
		die("cannot make a certificate for %s", common_name(t));
	serial[0] &= 0x7f;
	number = BN_bin2bn(serial, sizeof serial, NULL);
	if (number == NULL || X509_set_version(x, X509_VERSION_3) != 1 ||
	    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) == NULL ||
	    X509_gmtime_adj(X509_getm_notBefore(x), 0) == NULL ||
	    X509_time_adj_ex(X509_getm_notAfter(x), VALID_DAYS, 0, NULL) == NULL ||
	    !set_subject(X509_get_subject_name(x), t) || !set_subject(X509_get_issuer_name(x), t) ||
	    X509_set_pubkey(x, k) != 1 || !add_extensions(&list, t, x, NULL))
		die("cannot make a certificate for %s", common_name(t));
	for (int i = 0; i < sk_X509_EXTENSION_num(list); i++)
		if (X509_add_ext(x, sk_X509_EXTENSION_value(list, i), -1) != 1)
			die("cannot make a certificate for %s", common_name(t));
	if (X509_sign(x, k, EVP_sha256()) == 0)
		die("cannot sign a certificate for %s", common_name(t));
	BN_free(number);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	return x;
}

struct pair {
	const char *cert, *key;
};

/* Key and certificate in files of the configuration directory, named by the time. */
static struct pair make_pair(struct tls *t, EVP_PKEY *k)
{
	X509 *x = make_certificate(t, k);
	time_t now = time(NULL);
	char stamp[32];
	struct pair p;
	struct tm tm;
	FILE *f;

	(void)strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
	p.key = arena_printf(&t->a, "%s/%skey-%s.pem", t->c->dir, is_ecdsa(t) ? "ec" : "", stamp);
	p.cert = arena_printf(&t->a, "%s/%scert-%s.pem", t->c->dir, is_ecdsa(t) ? "ec" : "", stamp);
	f = create(p.key, 0600);
	finish(f, PEM_write_PrivateKey(f, k, NULL, NULL, 0, NULL, NULL) == 1, p.key);
	f = create(p.cert, 0644);
	finish(f, PEM_write_X509(f, x) == 1, p.cert);
	X509_free(x);
	EVP_PKEY_free(k);
	return p;
}

static int deploy(struct tls *t, struct pair p, bool ecdsa)
{
	const char *ec = ecdsa ? "ec" : "";
	char *settings[] = { arena_printf(&t->a, "smtpd_tls_%scert_file=%s", ec, p.cert),
			     arena_printf(&t->a, "smtpd_tls_%skey_file=%s", ec, p.key),
			     "smtpd_tls_security_level=may", "smtpd_tls_received_header=yes",
			     "smtpd_tls_loglevel=1" };
	size_t n = conf_is_set(t->c->conf, "smtpd_tls_security_level") ? 2 : ARRAY_LEN(settings);

	return control_set(t->c, settings, n);
}

/* ---- subcommands ---- */

static int all_default_client(struct tls *t)
{
	return client_is_default(t) ? 0 : 1;
}

static int all_default_server(struct tls *t)
{
	return server_is_default(t) ? 0 : 1;
}

static int enable_client(struct tls *t)
{
	const char *cache = conf_str(t->c->conf, "default_cache_db_type");
	char *settings[] = { "smtp_tls_security_level=may", "smtp_tls_loglevel=1",
			     arena_printf(&t->a,
					  "smtp_tls_session_cache_database=%s:${data_directory}/smtp_scache",
					  cache),
			     NULL };
	size_t n = 3;

	if (t->random != NULL)
		settings[n++] = arena_printf(&t->a, "tls_random_source=%s%s",
					     t->random[0] == '/' ? "dev:" : "", t->random);
	if (!client_is_default(t)) {
		printf(
		    "Some settings of the SMTP client's TLS are not at their defaults: nothing is changed. "
		    "To switch it on: postconf -e %s %s\n",
		    settings[0], settings[1]);
		return 0;
	}
	return control_set(t->c, settings, n);
}

static int enable_server(struct tls *t)
{
	must_be_host_names(t);
	if (!server_is_default(t)) {
		printf(
		    "Some settings of the SMTP server's TLS are not at their defaults: nothing is changed. "
		    "To switch it on: postconf -e smtpd_tls_security_level=may smtpd_tls_loglevel=1. "
		    "For another key: postfix tls new-server-key\n");
		return 0;
	}
	return deploy(t, make_pair(t, make_key(t)), is_ecdsa(t));
}

static int tell(struct tls *t, struct pair p)
{
	(void)t;
	printf("%s\n%s\nTo put them in force: postfix tls deploy-server-cert %s %s\n"
	       "For a request to an authority: postfix tls output-server-csr -k %s\n"
	       "For the records of DANE: postfix tls output-server-tlsa %s\n",
	       p.key, p.cert, p.cert, p.key, p.key, p.key);
	return 0;
}

static int new_server_key(struct tls *t)
{
	must_be_host_names(t);
	return tell(t, make_pair(t, make_key(t)));
}

static int new_server_cert(struct tls *t)
{
	const char *now = key_file(t, is_ecdsa(t) ? "ecdsa" : "rsa");

	must_be_host_names(t);
	return tell(t, make_pair(t, now != NULL && access(now, F_OK) == 0 ? read_key(now) : make_key(t)));
}

static int deploy_server_cert(struct tls *t)
{
	struct pair p;
	EVP_PKEY *k;
	X509 *x;
	FILE *f;

	if (t->args != 2)
		die("usage: postfix tls deploy-server-cert certfile keyfile");
	p = (struct pair){ in_config(t, t->arg[0]), in_config(t, t->arg[1]) };
	k = read_key(p.key);
	if ((f = fopen(p.cert, "re")) == NULL)
		die("open %s: %m", p.cert);
	if ((x = PEM_read_X509(f, NULL, NULL, NULL)) == NULL)
		die("%s: no certificate in PEM form", p.cert);
	(void)fclose(f);
	if (X509_check_private_key(x, k) != 1)
		die("the key in %s does not belong to the certificate in %s", p.key, p.cert);
	return deploy(t, p, EVP_PKEY_get_base_id(k) == EVP_PKEY_EC);
}

static int output_server_csr(struct tls *t)
{
	const char *path = key_file(t, t->key != NULL ? t->key : "rsa");
	STACK_OF(X509_EXTENSION) *list = NULL;
	X509_REQ *req = X509_REQ_new();
	EVP_PKEY *k;

	must_be_host_names(t);
	if (path == NULL)
		die("no key of this kind is in force: name a file with -k");
	k = read_key(path);
	if (req == NULL || X509_REQ_set_pubkey(req, k) != 1 || !add_extensions(&list, t, NULL, req) ||
	    X509_REQ_add_extensions(req, list) != 1 || X509_REQ_sign(req, k, EVP_sha256()) == 0 ||
	    PEM_write_X509_REQ(stdout, req) != 1)
		die("cannot make a request for %s", common_name(t));
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_REQ_free(req);
	EVP_PKEY_free(k);
	return fflush(stdout) == 0 ? 0 : 1;
}

/* RFC 6698: usage 3, selector 1, matching type 1: SHA-256 of the public key. */
static void print_tlsa(const char *host, const char *path)
{
	EVP_PKEY *k = read_key(path);
	unsigned char *der = NULL, digest[EVP_MAX_MD_SIZE];
	int n = i2d_PUBKEY(k, &der);
	unsigned bytes = 0;

	if (n <= 0 || EVP_Digest(der, (size_t)n, digest, &bytes, EVP_sha256(), NULL) != 1)
		die("%s: cannot be made a TLSA record of", path);
	printf("; %s\n_25._tcp.%s. IN TLSA 3 1 1 ", path, host);
	for (unsigned i = 0; i < bytes; i++)
		printf("%02x", digest[i]);
	printf("\n");
	OPENSSL_free(der);
	EVP_PKEY_free(k);
}

static int output_server_tlsa(struct tls *t)
{
	static char *both[] = { "rsa", "ecdsa" };
	const char *host = t->host != NULL ? t->host : conf_str(t->c->conf, "myhostname");
	char **name = t->args > 0 ? t->arg : both;
	int n = t->args > 0 ? t->args : 2;

	for (int i = 0; i < n; i++) {
		const char *path = key_file(t, name[i]);

		if (path != NULL)
			print_tlsa(host, path);
	}
	return fflush(stdout) == 0 ? 0 : 1;
}

static const struct {
	const char *name, *options;
	int (*run)(struct tls *t);
} subcommands[] = {
	{ "all-default-client", "+", all_default_client },
	{ "all-default-server", "+", all_default_server },
	{ "deploy-server-cert", "+", deploy_server_cert },
	{ "enable-client", "+r:", enable_client },
	{ "enable-server", "+r:a:b:", enable_server },
	{ "new-server-cert", "+a:b:", new_server_cert },
	{ "new-server-key", "+a:b:", new_server_key },
	{ "output-server-csr", "+k:", output_server_csr },
	{ "output-server-tlsa", "+h:", output_server_tlsa },
};

static void parse(struct tls *t, int argc, char **argv, const char *options)
{
	int ch;

	optind = 0; /* a second round of getopt(3) */
	while ((ch = getopt(argc, argv, options)) > 0)
		switch (ch) {
		case 'a':
			t->algorithm = optarg;
			break;
		case 'b':
			t->bits = optarg;
			break;
		case 'h':
			t->host = optarg;
			break;
		case 'k':
			t->key = optarg;
			break;
		case 'r':
			t->random = optarg;
			break;
		default:
			die("usage: postfix tls %s [options] [arguments]", argv[0]);
		}
	t->arg = argv + optind;
	t->args = argc - optind;
}

int control_tls(const struct control *c)
{
	struct tls t = { .c = c, .algorithm = "rsa" };

	arena_init(&t.a);
	for (size_t i = 0; c->argc > 0 && i < ARRAY_LEN(subcommands); i++)
		if (strcmp(c->argv[0], subcommands[i].name) == 0) {
			parse(&t, c->argc, c->argv, subcommands[i].options);
			return subcommands[i].run(&t);
		}
	die("usage: postfix tls "
	    "all-default-client|all-default-server|deploy-server-cert|enable-client|enable-server|"
	    "new-server-cert|new-server-key|output-server-csr|output-server-tlsa");
}
