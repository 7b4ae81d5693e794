/* certs.c - the certificate configurations: which files, what is in them, and whether they changed.
 *
 * A configuration is replaced only as a whole and only by one in which every key fits its certificate. The
 * former keys are kept for one more turn: handshakes that began with them may still ask. */
#include "tlsmgr.h"
#include "conf/mastercf.h"
#include "log/log.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <unistd.h>

#define CHECK_MS 1000

/* What a file was when it was last read. */
struct seen {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};
struct set {
	struct pair pair[KEYS_MAX];
	size_t n;
};
struct certs {
	const char *name, *programs; /* who may ask */
	const char *service;	     /* that of master.cf with files of its own; NULL: all the others */
	const char *chain;	     /* parameters: files with key and certificates in turn */
	const char *cert[2][2];	     /* certificate and key */
	unsigned file[FILES_MAX]; /* numbers of the monitor; certificate and key alternate unless `chained` */
	size_t files;
	bool chained, checking;
	struct waitq checked_now;
	struct seen seen[FILES_MAX];
	mono_t checked;
	struct set now, before;
	unsigned char digest[32]; /* of the value in tls_server_sni_maps */
};
static struct certs configs[] = {
	{ .name = "smtpd",
	  .programs = "smtpd lmtpd",
	  .chain = "smtpd_tls_chain_files",
	  .cert = { { "smtpd_tls_eccert_file", "smtpd_tls_eckey_file" },
		    { "smtpd_tls_cert_file", "smtpd_tls_key_file" } } },
	{ .name = "smtp",
	  .programs = "smtp relay",
	  .chain = "smtp_tls_chain_files",
	  .cert = { { "smtp_tls_eccert_file", "smtp_tls_eckey_file" },
		    { "smtp_tls_cert_file", "smtp_tls_key_file" } } },
	{ .name = "lmtp",
	  .programs = "lmtp",
	  .chain = "lmtp_tls_chain_files",
	  .cert = { { "lmtp_tls_eccert_file", "lmtp_tls_eckey_file" },
		    { "lmtp_tls_cert_file", "lmtp_tls_key_file" } } },
	{ .name = "imapd", .programs = "imapd", .cert = { { "imapd_tls_cert_file", "imapd_tls_key_file" } } },
	{ .name = "pop3d", .programs = "pop3d", .cert = { { "pop3d_tls_cert_file", "pop3d_tls_key_file" } } },
};

/* Those of services with "-o smtpd_tls_cert_file=..." and its like in master.cf. */
#define SERVICES_MAX 100
static struct certs *services[SERVICES_MAX];
static size_t services_n;

/* Those of names in tls_server_sni_maps, made when they are first asked for; never freed: a key may be in use. */
#define SNI_MAX 2000
static struct certs *sni[SNI_MAX];
static size_t sni_n;

/* ---- names ---- */

static struct arena names; /* for the life of the process */

static void add_file(struct certs *c, const char *path)
{
	const char *queue =
	    conf_str(service_conf(), "queue_directory"); /* where Postfix's daemons are when they open it */
	path = path[0] == '/' ? arena_strdup(&names, path) : arena_printf(&names, "%s/%s", queue, path);
	if (c->files == FILES_MAX)
		die("%s: too many certificate files", c->name);
	c->file[c->files++] = monitor_file(path);
}

static void find_names(struct certs *c, const struct conf *conf)
{
	struct span *words;
	size_t n = 0;
	struct err e;
	/* What imapd and pop3d share with smtpd by default may be a chain file. */
	const char *chain = c->chain != NULL		       ? c->chain
			    : conf_is_set(conf, c->cert[0][0]) ? NULL
							       : "smtpd_tls_chain_files";
	if (chain != NULL &&
	    conf_words(span_str(conf_str(conf, chain)), false, &names, &words, &n, &e) != RC_OK)
		die("%s: %s", chain, e.text);
	for (size_t i = 0; i < n; i++)
		add_file(c, arena_cstr(&names, words[i]));
	c->chained = n > 0;
	for (int i = 0; i < 2; i++) {
		const char *cert = c->cert[i][0] != NULL ? conf_str(conf, c->cert[i][0]) : "";
		if (cert[0] == '\0' || strcmp(cert, "none") == 0)
			continue;
		if (c->chained) {
			log_warning("%s has no effect, because %s is set", c->cert[i][0], chain);
			continue;
		}
		add_file(c, cert);
		add_file(c, conf_str(conf, c->cert[i][1]));
	}
}

/* ---- services ---- */

/* Those with files of their own first. NULL: no more. */
static struct certs *config_at(size_t i)
{
	if (i < services_n)
		return services[i];
	i -= services_n;
	return i < ARRAY_LEN(configs) ? &configs[i] : NULL;
}

static bool may_use(const struct certs *c, const struct ipc_peer *who)
{
	struct span rest = span_str(c->programs), word;
	if (c->service != NULL && strcmp(c->service, who->service) != 0)
		return false;
	while (span_next_word(&rest, " ", &word))
		if (span_is(word, who->program))
			return true;
	return false;
}

static bool same_value(const struct conf *conf, const char *param)
{
	return param == NULL || strcmp(conf_str(conf, param), conf_str(service_conf(), param)) == 0;
}

static bool same_files(const struct certs *c, const struct conf *conf)
{
	bool same = same_value(conf, c->chain != NULL ? c->chain : "smtpd_tls_chain_files");
	for (int i = 0; i < 2; i++)
		same = same && same_value(conf, c->cert[i][0]) && same_value(conf, c->cert[i][1]);
	return same;
}

static void add_service(const struct certs *base, const struct ipc_peer *who, const struct conf *conf)
{
	struct certs *c = xcalloc(1, sizeof *c);
	if (services_n == SERVICES_MAX)
		die("too many services with certificates of their own");
	*c = (struct certs){ .name = base->name, .programs = base->programs, .chain = base->chain };
	memcpy(c->cert, base->cert, sizeof c->cert);
	c->service = arena_strdup(&names, who->service);
	waitq_init(&c->checked_now);
	find_names(c, conf);
	services[services_n++] = c;
}

static void add_entry(const struct master_entry *en)
{
	struct span name, value, program = span_skip(en->argv[0], (size_t)(span_rchr(en->argv[0], '/') + 1));
	struct ipc_peer who = { 0 };
	struct conf *conf;
	struct err e;
	size_t pos = 1;
	if (!mastercf_next_setting(en, &pos, &name, &value))
		return;
	if (conf_load(conf_dir(service_conf()), &conf, &e) != RC_OK)
		die("%s", e.text);
	conf_override(conf, SPAN("service_name"), en->name);
	for (pos = 1; mastercf_next_setting(en, &pos, &name, &value);)
		conf_override(conf, name, value);
	snprintf(who.program, sizeof who.program, SPAN_FMT, SPAN_ARG(program));
	snprintf(who.service, sizeof who.service, SPAN_FMT, SPAN_ARG(en->name));
	for (size_t i = 0; i < ARRAY_LEN(configs); i++)
		if (may_use(&configs[i], &who) && !same_files(&configs[i], conf))
			add_service(&configs[i], &who, conf);
	if (may_use(&configs[0], &who) && !same_value(conf, "tls_server_sni_maps"))
		sni_prepare(arena_strdup(&names, who.service), conf);
	conf_free(&conf);
}

static void find_services(void)
{
	struct mastercf *m;
	struct err e;
	enum rc rc = mastercf_load(conf_dir(service_conf()), service_conf(), &m, &e);
	if (rc == RC_NOTFOUND)
		return;
	if (rc != RC_OK) /* no service may show another's certificate meanwhile */
		die("%s", e.text);
	for (size_t i = 0; i < m->n; i++)
		add_entry(&m->entry[i]);
	mastercf_free(&m);
}

void certs_prepare(void)
{
	sni_prepare(NULL, service_conf());
	for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
		waitq_init(&configs[i].checked_now);
		find_names(&configs[i], service_conf());
	}
	find_services();
}

/* ---- reading ---- */

/* A configuration while it is being read. */
struct draft {
	struct set set;
	BIO *pem; /* certificates of the last key */
	X509 *leaf;
	bool pem_open;
};

static void pair_free(struct pair *p)
{
	EVP_PKEY_free(p->key);
	free((void *)(uintptr_t)p->pem.p);
	*p = (struct pair){ 0 };
}

static void set_free(struct set *s)
{
	for (size_t i = 0; i < s->n; i++)
		pair_free(&s->pair[i]);
	s->n = 0;
}

static enum rc add_key(struct draft *d, const unsigned char *der, long n, const char *path, struct err *e)
{
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, n);
	if (key == NULL || d->set.n == KEYS_MAX) {
		EVP_PKEY_free(key);
		return err_set(e, RC_SYNTAX, "%s: %s", path,
			       key == NULL ? "damaged private key" : "too many keys");
	}
	d->set.pair[d->set.n++].key = key;
	return RC_OK;
}

static enum rc add_cert(struct draft *d, const unsigned char *der, long n, const char *path, struct err *e)
{
	X509 *cert = d2i_X509(NULL, &der, n);
	if (cert == NULL)
		return err_set(e, RC_SYNTAX, "%s: damaged certificate", path);
	if (d->leaf == NULL) {
		d->leaf = cert;
		X509_up_ref(cert);
	}
	PEM_write_bio_X509(d->pem, cert);
	X509_free(cert);
	return RC_OK;
}

/* The same certificates have the same number in every tlsmgr, so that handshakes go on when one takes over from another;
 * others have another. */
static uint64_t generation_of(struct span pem)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	uint64_t n;
	SHA256((const unsigned char *)pem.p, pem.n, digest);
	memcpy(&n, digest, sizeof n);
	return n | 1; /* 0 is none */
}

/* The key is complete when its certificates are: they must fit. */
static enum rc finish_pair(struct draft *d, const char *path, struct err *e)
{
	char *p;
	if (d->set.n == 0 || d->leaf == NULL)
		return err_set(e, RC_SYNTAX, "%s: %s", path,
			       d->leaf == NULL ? "no certificate" : "no private key before the certificate");
	struct pair *last = &d->set.pair[d->set.n - 1];
	if (last->pem.p != NULL || X509_check_private_key(d->leaf, last->key) != 1)
		return err_set(e, RC_SYNTAX, "%s: the certificate does not fit its private key", path);
	long n = BIO_get_mem_data(d->pem, &p);
	if (n <= 0 || n > PEM_MAX)
		return err_set(e, RC_LIMIT, "%s: certificate chain too long", path);
	char *copy = xmalloc((size_t)n);
	memcpy(copy, p, (size_t)n);
	last->pem = span_make(copy, (size_t)n);
	last->generation = generation_of(last->pem);
	X509_free(d->leaf);
	d->leaf = NULL;
	(void)BIO_reset(d->pem);
	return RC_OK;
}

/* One PEM block after the other. What is wanted: keys, certificates, or both in turn. */
static enum rc read_blocks(struct draft *d, BIO *in, bool keys, bool certs, const char *path, struct err *e)
{
	char *name, *header;
	unsigned char *data;
	long n;
	enum rc rc = RC_OK;
	while (rc == RC_OK && PEM_read_bio_ex(in, &name, &header, &data, &n, PEM_FLAG_SECURE) == 1) {
		bool is_key = span_ends(span_str(name), SPAN("PRIVATE KEY")),
		     is_cert = strcmp(name, PEM_STRING_X509) == 0;
		if (is_key && header[0] != '\0')
			rc = err_set(e, RC_SYNTAX, "%s: the private key is encrypted", path);
		else if (is_key && keys) {
			if (certs && d->leaf != NULL) /* the next key of a chain file */
				rc = finish_pair(d, path, e);
			if (rc == RC_OK)
				rc = add_key(d, data, n, path, e);
		} else if (is_cert && certs)
			rc = add_cert(d, data, n, path, e);
		OPENSSL_secure_free(name);
		OPENSSL_secure_free(header);
		OPENSSL_secure_clear_free(data, (size_t)n);
	}
	ERR_clear_error();
	return rc;
}

static enum rc read_file(int fd, char *p, size_t size, size_t *n, const char *path, struct err *e)
{
	*n = 0;
	for (;;) {
		ssize_t got = pread(fd, p + *n, size - *n, (off_t)*n);
		if (got == 0)
			return RC_OK;
		if (got < 0)
			return err_sys(e, "read %s", path);
		if ((*n += (size_t)got) == size)
			return err_set(e, RC_LIMIT, "%s: larger than %zu bytes", path, size - 1);
	}
}

static enum rc read_into(struct draft *d, int fd, bool keys, bool certs, const char *path, struct err *e)
{
	size_t n;
	char *p = OPENSSL_secure_malloc(PEM_MAX + 1);
	if (p == NULL)
		return err_set(e, RC_AGAIN, "no locked memory left");
	enum rc rc = read_file(fd, p, PEM_MAX + 1, &n, path, e);
	if (rc == RC_OK) {
		BIO *in = BIO_new_mem_buf(p, (int)n);
		rc = read_blocks(d, in, keys, certs, path, e);
		BIO_free(in);
	}
	OPENSSL_secure_clear_free(p, PEM_MAX + 1);
	return rc;
}

static enum rc read_all(const struct certs *c, const int *fd, struct draft *d, struct err *e)
{
	enum rc rc = RC_OK;
	for (size_t i = 0; rc == RC_OK && i < c->files; i++) {
		const char *path = monitor_path(c->file[i]);
		if (c->chained) {
			rc = read_into(d, fd[i], true, true, path, e);
			if (rc == RC_OK && i + 1 == c->files)
				rc = finish_pair(d, path, e);
			continue;
		}
		if (i % 2 != 0) /* read with its certificate */
			continue;
		rc = read_into(d, fd[i + 1], true, false, monitor_path(c->file[i + 1]), e);
		if (rc == RC_OK)
			rc = read_into(d, fd[i], false, true, path, e);
		if (rc == RC_OK)
			rc = finish_pair(d, path, e);
	}
	return rc;
}

/* ---- changes ---- */

static struct seen seen_of(const struct stat *st)
{
	return (struct seen){ st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim };
}

static bool seen_eq(const struct seen *a, const struct seen *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static enum rc open_all(struct certs *c, int *fd, bool *changed, struct err *e)
{
	for (size_t i = 0; i < c->files; i++) {
		struct stat st;
		enum rc rc = monitor_open(c->file[i], &fd[i], e);
		if (rc == RC_OK && fstat(fd[i], &st) < 0)
			rc = err_sys(e, "stat %s", monitor_path(c->file[i]));
		struct seen s = rc == RC_OK ? seen_of(&st) : (struct seen){ .size = -1 };
		*changed = *changed || !seen_eq(&s, &c->seen[i]);
		c->seen[i] = s;
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc refresh(struct certs *c, struct err *e)
{
	int fd[FILES_MAX];
	bool changed = c->now.n == 0;
	struct draft d = { .pem = BIO_new(BIO_s_mem()) };
	for (size_t i = 0; i < FILES_MAX; i++)
		fd[i] = -1;
	enum rc rc = open_all(c, fd, &changed, e);
	if (rc == RC_OK && changed)
		rc = read_all(c, fd, &d, e);
	if (rc == RC_OK && changed) {
		if (c->now.n > 0)
			log_info("new certificate for %s", c->service != NULL ? c->service : c->name);
		set_free(&c->before);
		c->before = c->now;
		c->now = d.set;
		d.set.n = 0;
	} else if (rc != RC_OK && changed)
		log_warning("certificate for %s: %s%s", c->service != NULL ? c->service : c->name, e->text,
			    c->now.n > 0 ? "; the former one stays in use" : "");
	set_free(&d.set);
	X509_free(d.leaf);
	BIO_free(d.pem);
	for (size_t i = 0; i < FILES_MAX; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	return rc;
}

/* ---- names that clients ask for ---- */

static struct certs *sni_config(const struct sni *t, struct span key)
{
	for (size_t i = 0; i < sni_n; i++)
		if (sni[i]->service == t->service && span_is_ci(key, sni[i]->name))
			return sni[i];
	if (sni_n == SNI_MAX)
		return NULL;
	struct certs *c = xcalloc(1, sizeof *c);
	c->name = strndup(key.p, key.n);
	c->programs = configs[0].programs;
	c->service = t->service;
	waitq_init(&c->checked_now);
	return sni[sni_n++] = c;
}

/* Replaced only by a value that is whole, as files are. */
static enum rc sni_take(struct certs *c, struct span pem, struct err *e)
{
	struct draft d = { .pem = BIO_new(BIO_s_mem()) };
	BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
	enum rc rc = read_blocks(&d, in, true, true, c->name, e);
	if (rc == RC_OK)
		rc = finish_pair(&d, c->name, e);
	if (rc == RC_OK) {
		set_free(&c->before);
		c->before = c->now;
		c->now = d.set;
		d.set.n = 0;
	} else
		log_warning("tls_server_sni_maps: %s: %s", c->name, e->text);
	set_free(&d.set);
	X509_free(d.leaf);
	BIO_free(in);
	BIO_free(d.pem);
	return rc;
}

/* A table changes only together with this process, files that it names may change at any time. */
static const struct pair *sni_find(const struct sni *t, struct span name, size_t i, struct err *e)
{
	struct arena a;
	struct span key, pem;
	struct certs *c = NULL;
	arena_init(&a);
	if (sni_lookup(t, name, &a, &key, &pem, e) == RC_OK && (c = sni_config(t, key)) != NULL) {
		unsigned char digest[32];
		SHA256((const unsigned char *)pem.p, pem.n, digest);
		if (c->now.n == 0 || memcmp(digest, c->digest, sizeof digest) != 0) {
			if (sni_take(c, pem, e) == RC_OK)
				memcpy(c->digest, digest, sizeof digest);
		}
		explicit_bzero((char *)(uintptr_t)pem.p, pem.n);
	}
	arena_release(&a);
	if (c != NULL && i >= c->now.n)
		err_set(e, RC_NOTFOUND, "no more certificates");
	return c != NULL && i < c->now.n ? &c->now.pair[i] : NULL;
}

/* ---- questions ---- */

static struct certs *config_find(struct span name, const struct ipc_peer *who)
{
	struct certs *c;
	for (size_t i = 0; (c = config_at(i)) != NULL; i++)
		if (span_is(name, c->name) && may_use(c, who))
			return c;
	return NULL;
}

const struct pair *certs_find(struct span name, const struct ipc_peer *who, size_t i, struct err *e)
{
	ptrdiff_t slash = span_chr(name, '/');
	struct certs *c = config_find(slash >= 0 ? span_head(name, (size_t)slash) : name, who);
	if (c == NULL) {
		err_set(e, RC_DENIED, "no such certificate");
		return NULL;
	}
	if (slash >= 0) {
		const struct sni *t = strcmp(c->name, "smtpd") == 0 ? sni_of(who) : NULL;
		if (t == NULL) {
			err_set(e, RC_NOTFOUND, "no certificates by name are configured");
			return NULL;
		}
		return sni_find(t, span_skip(name, (size_t)slash + 1), i, e);
	}
	if (c->files == 0) {
		err_set(e, RC_NOTFOUND, "no certificate is configured");
		return NULL;
	}
	while (c->checking && c->now.n == 0)
		if (waitq_wait(&c->checked_now, DEADLINE_NEVER) != RC_OK)
			break;
	err_set(e, RC_NOTFOUND, "no more certificates");
	if (!c->checking && (c->now.n == 0 || mono_diff_ms(mono_now(), c->checked) >= CHECK_MS)) {
		c->checking = true;
		enum rc rc = refresh(
		    c, e); /* when it fails the former ones still serve, and *e tells why there are none */
		c->checking = false;
		c->checked = mono_now();
		waitq_wake_all(&c->checked_now);
		if (rc == RC_OK)
			err_set(e, RC_NOTFOUND, "no more certificates");
	}
	return i < c->now.n ? &c->now.pair[i] : NULL;
}

static const struct pair *find_in(const struct certs *c, uint64_t generation, const struct ipc_peer *who)
{
	const struct set *sets[2] = { &c->now, &c->before };
	for (int k = 0; k < 2 && may_use(c, who); k++)
		for (size_t j = 0; j < sets[k]->n; j++)
			if (sets[k]->pair[j].generation == generation)
				return &sets[k]->pair[j];
	return NULL;
}

static const struct pair *known(uint64_t generation, const struct ipc_peer *who)
{
	const struct pair *p = NULL;
	const struct certs *c;
	for (size_t i = 0; p == NULL && (c = config_at(i)) != NULL; i++)
		p = find_in(c, generation, who);
	for (size_t i = 0; i < sni_n && p == NULL; i++)
		p = find_in(sni[i], generation, who);
	return p;
}

/* A process that has just taken over has read nothing yet, and is asked for keys that its predecessor told of. */
static void load_all(const struct ipc_peer *who)
{
	static bool names_loaded;
	const struct certs *c;
	const struct sni *t;
	struct arena a;
	struct span key;
	struct err e;
	size_t at = 0;
	for (size_t i = 0; (c = config_at(i)) != NULL; i++)
		if (may_use(c, who) && c->files > 0 && c->now.n == 0)
			(void)certs_find(span_str(c->name), who, 0, &e);
	if (names_loaded)
		return;
	names_loaded = true;
	arena_init(&a);
	while (sni_next(&at, &a, &t, &key))
		(void)sni_find(t, key, 0, &e);
	arena_release(&a);
}

const struct pair *certs_by_generation(uint64_t generation, const struct ipc_peer *who)
{
	const struct pair *p = known(generation, who);
	if (p != NULL)
		return p;
	load_all(who);
	return known(generation, who);
}
