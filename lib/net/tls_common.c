/* net/tls_common.c - what server and client share: options, the handshake in a task, the transport below a
 * stream, and what is told about a connection. */
#include "net/tls_int.h"
#include "log/log.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define RECORD_BYTES 16384 /* RFC 8446 section 5.1 */

enum rc tls_story(struct err *e, enum rc rc, const char *what)
{
	char text[256];
	unsigned long code = ERR_get_error();
	if (code == 0)
		err_set(e, rc, "%s: lost connection", what);
	else {
		ERR_error_string_n(code, text, sizeof text);
		err_set(e, rc, "%s: %s", what, text);
	}
	ERR_clear_error();
	return rc;
}

SSL_CTX *tls_ctx_new(const SSL_METHOD *method, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(method);
	if (ctx == NULL) {
		tls_story(e, RC_SYS, "TLS context");
		return NULL;
	}
	/* Idle connections hold no buffers; a write may be repeated from another place. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* A peer that leaves without close_notify has left all the same: mail protocols mark their ends. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_SSLv3 |
				     SSL_OP_IGNORE_UNEXPECTED_EOF | tls_setup.options);
	if (tls_setup.groups != NULL)
		(void)SSL_CTX_set1_groups_list(ctx, tls_setup.groups);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return ctx;
}

/* ---- protocols ---- */

static const struct version {
	const char *name;
	int number;
	uint64_t off;
} versions[] = {
	{ "SSLv2", 0, 0 },
	{ "SSLv3", SSL3_VERSION, SSL_OP_NO_SSLv3 },
	{ "TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1 },
	{ "TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1 },
	{ "TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2 },
	{ "TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3 },
};

static const struct version *version_find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(versions); i++)
		if (span_is_ci(name, versions[i].name))
			return &versions[i];
	return NULL;
}

/* A bound may also be the number of a version on the wire, "0303" or "0x303": one that OpenSSL knows and we do not. */
static bool bound_read(struct span text, int *out)
{
	const struct version *v = version_find(text);
	char digits[8], *end;
	if (v != NULL) {
		*out = v->number;
		return true;
	}
	if (span_cstr(text, digits, sizeof digits) != RC_OK || !ascii_isdigit(digits[0]))
		return false;
	*out = (int)strtol(digits, &end, 16);
	return *end == '\0' && *out > 0 && *out <= 0xffff;
}

struct protocols {
	uint64_t excluded, included;
	int least, most;
};

static enum rc read_protocols(const char *list, struct protocols *p, struct err *e)
{
	struct span rest = span_str(list != NULL ? list : ""), word;
	*p = (struct protocols){ 0 };
	while (span_next_word(&rest, ":, \t\r\n", &word)) {
		bool ge = span_starts(word, SPAN(">=")), le = span_starts(word, SPAN("<="));
		bool not = span_starts(word, SPAN("!"));
		const struct version *v = version_find(span_skip(word, not ? 1 : 0));
		if (ge || le ? !bound_read(span_skip(word, 2), ge ? &p->least : &p->most) : v == NULL)
			return err_set(e, RC_SYNTAX, "unknown TLS protocol: " SPAN_FMT, SPAN_ARG(word));
		if (ge || le)
			continue;
		if (not )
			p->excluded |= v->off;
		else
			p->included |= v->off;
	}
	for (size_t i = 0; p->included != 0 && i < ARRAY_LEN(versions); i++)
		p->excluded |= versions[i].off & ~p->included;
	return RC_OK;
}

bool tls_protocols_ok(const char *list)
{
	struct protocols p;
	return read_protocols(list, &p, NULL) == RC_OK;
}

static void bound_ignored(const char *which, int number)
{
	log_warning("TLS: OpenSSL knows no protocol version %#x: no %s version is set", (unsigned)number,
		    which);
	ERR_clear_error();
}

enum rc tls_set_protocols(SSL *ssl, const char *list, struct err *e)
{
	struct protocols p;
	enum rc rc = read_protocols(list, &p, e);
	if (rc != RC_OK)
		return rc;
	SSL_set_options(ssl, p.excluded);
	if (SSL_set_min_proto_version(ssl, p.least) != 1)
		bound_ignored("least", p.least);
	/* Without a greatest one that of tls_config_file holds. */
	if (p.most != 0 && SSL_set_max_proto_version(ssl, p.most) != 1)
		bound_ignored("greatest", p.most);
	return RC_OK;
}

/* ---- the transport ---- */

/* -1 with errno, EAGAIN with *want; 0 at the end. */
static ssize_t failed(SSL *ssl, int ret, int *want)
{
	int sys = errno;
	switch (SSL_get_error(ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		*want = TASK_READ;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		*want = TASK_WRITE;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		ERR_clear_error();
		errno = sys != 0 ? sys : ECONNRESET;
		return -1;
	default:
		ERR_clear_error();
		errno = EPROTO;
		return -1;
	}
}

static ssize_t transport_read(void *state, void *buf, size_t n, int *want)
{
	SSL *ssl = state;
	errno = 0;
	ERR_clear_error();
	int r = SSL_read(ssl, buf, n > INT32_MAX ? INT32_MAX : (int)n);
	return r > 0 ? r : failed(ssl, r, want);
}

static size_t gather(const struct iovec *iov, int count, char *out, size_t size)
{
	size_t n = 0;
	for (int i = 0; i < count && n < size; i++) {
		size_t piece = iov[i].iov_len < size - n ? iov[i].iov_len : size - n;
		memcpy(out + n, iov[i].iov_base, piece);
		n += piece;
	}
	return n;
}

/* One record at most, filled from as many pieces as there are. */
static ssize_t transport_writev(void *state, const struct iovec *iov, int count, int *want)
{
	SSL *ssl = state;
	char joined[RECORD_BYTES];
	const void *p = iov[0].iov_base;
	size_t n = iov[0].iov_len < RECORD_BYTES ? iov[0].iov_len : RECORD_BYTES;
	if (count > 1 && n < RECORD_BYTES) {
		n = gather(iov, count, joined, sizeof joined);
		p = joined;
	}
	errno = 0;
	ERR_clear_error();
	int r = SSL_write(ssl, p, (int)n);
	if (r > 0)
		return r;
	ssize_t rc = failed(ssl, r, want);
	if (rc == 0) {
		errno = EPIPE;
		rc = -1;
	}
	return rc;
}

static void transport_shutdown(void *state)
{
	if (!SSL_in_init(state))
		(void)SSL_shutdown(state); /* close_notify, RFC 8446 section 6.1; the peer's is not awaited */
	ERR_clear_error();
}

static void transport_close(void *state)
{
	SSL_free(state);
}

#define HANDSHAKE "TLS handshake"

void tls_log_failure(bool server, const char *peer, enum rc rc, const struct err *e)
{
	struct span reason = span_str(e->text);
	const char *call = server ? "SSL_accept error from" : "SSL_connect error to";

	if (rc == RC_TIMEOUT || rc == RC_EOF) {
		log_info("%s %s: %s", call, peer,
			 rc == RC_TIMEOUT ? "Connection timed out" : "lost connection");
		return;
	}
	if (span_starts(reason, SPAN(HANDSHAKE ": ")))
		reason = span_skip(reason, sizeof(HANDSHAKE ": ") - 1);
	if (span_is(reason, "lost connection")) {
		log_info("%s %s: lost connection", call, peer);
		return;
	}
	log_info("%s %s: -1", call, peer);
	log_warning("TLS library problem: " SPAN_FMT ":", SPAN_ARG(reason));
}

enum rc tls_handshake(SSL *ssl, struct stream *s, deadline_t d, struct err *e)
{
	enum rc rc = RC_OK;
	int fd = stream_fd(s);
	if (stream_buffered(s) > 0)
		rc = err_set(e, RC_DENIED, "input before the TLS handshake");
	else if (SSL_set_fd(ssl, fd) != 1)
		rc = tls_story(e, RC_SYS, "TLS");
	if (rc == RC_OK)
		tls_trace_bytes(ssl);
	while (rc == RC_OK) {
		int want = 0;
		errno = 0;
		ERR_clear_error();
		int r = SSL_do_handshake(ssl);
		if (r == 1)
			break;
		int kind = SSL_get_error(ssl, r);
		if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
			want = kind == SSL_ERROR_WANT_READ ? TASK_READ : TASK_WRITE;
			if ((rc = task_wait_fd(fd, want | TASK_DRAINED, d)) != RC_OK)
				err_set(e, rc,
					rc == RC_TIMEOUT ? HANDSHAKE ": timeout"
							 : HANDSHAKE ": lost connection");
			continue;
		}
		rc = tls_story(e, RC_SYNTAX, HANDSHAKE);
	}
	struct transport t = { transport_read, transport_writev, transport_shutdown, transport_close, ssl };
	if (rc == RC_OK && (rc = stream_set_transport(s, &t)) != RC_OK)
		err_set(e, rc, "input before the TLS handshake");
	if (rc != RC_OK)
		SSL_free(ssl);
	return rc;
}

/* ---- what is told ---- */

static void common_name(const X509_NAME *name, char *out, size_t size)
{
	unsigned char *utf8 = NULL;
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	if (at < 0)
		return;
	int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	if (n > 0 && memchr(utf8, '\0', (size_t)n) == NULL)
		snprintf(out, size, "%.*s", n, utf8);
	OPENSSL_free(utf8);
}

bool tls_fingerprint(X509 *cert, const char *digest, bool of_key, char *out, size_t size)
{
	static const char hex[] = "0123456789ABCDEF";
	unsigned char d[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	EVP_MD *md = EVP_MD_fetch(NULL, digest, NULL);
	bool ok = false;
	if (md == NULL)
		ok = false;
	else if (!of_key)
		ok = X509_digest(cert, md, d, &n) == 1;
	else { /* over SubjectPublicKeyInfo, as Postfix does */
		unsigned char *der = NULL;
		int len = i2d_PUBKEY(X509_get0_pubkey(cert), &der);
		ok = len > 0 && EVP_Digest(der, (size_t)len, d, &n, md, NULL) == 1;
		OPENSSL_free(der);
	}
	EVP_MD_free(md);
	ERR_clear_error();
	if (!ok || n == 0 || size < 3 * (size_t)n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		out[3 * i] = hex[d[i] >> 4];
		out[3 * i + 1] = hex[d[i] & 15];
		out[3 * i + 2] = ':';
	}
	out[3 * n - 1] = '\0';
	return true;
}

bool tls_fingerprint_eq(const char *have, struct span want)
{
	size_t i = 0;
	for (; *have != '\0'; have++)
		if (i < want.n && ascii_upper(want.p[i]) == *have)
			i++;
		else if (*have != ':')
			return false;
	return i == want.n;
}

/* "X25519", "ECDHE (prime256v1)", "RSA-PSS (2048 bits)", "ECDSA (prime256v1)": the words of Postfix's log. */
static void key_words(EVP_PKEY *key, const char *rsa, const char *ec, char *out, size_t size)
{
	char group[64] = "";
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
	case EVP_PKEY_DH:
		snprintf(out, size, "%s (%d bits)", EVP_PKEY_get_base_id(key) == EVP_PKEY_DH ? "DHE" : rsa,
			 EVP_PKEY_get_bits(key));
		break;
	case EVP_PKEY_EC:
		(void)EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
		snprintf(out, size, "%s (%s)", ec, group);
		break;
	default:
		snprintf(out, size, "%s", OBJ_nid2sn(EVP_PKEY_get_base_id(key)));
		break;
	}
}

/* What one of the two signed with. */
static void fill_signature(SSL *ssl, X509 *cert, bool own, char *sig, size_t sig_size, char *digest,
			   size_t digest_size)
{
	int kind = NID_undef, nid = NID_undef;
	if ((own ? SSL_get_signature_type_nid(ssl, &kind) : SSL_get_peer_signature_type_nid(ssl, &kind)) ==
		1 &&
	    cert != NULL && kind != NID_undef)
		key_words(X509_get0_pubkey(cert), kind == EVP_PKEY_RSA_PSS ? "RSA-PSS" : "RSA", "ECDSA", sig,
			  sig_size);
	if ((own ? SSL_get_signature_nid(ssl, &nid) : SSL_get_peer_signature_nid(ssl, &nid)) == 1 &&
	    nid != NID_undef)
		snprintf(digest, digest_size, "%s", OBJ_nid2sn(nid));
}

/* Of TLS 1.3 only: before it the name of the cipher says this. */
static void fill_exchange(SSL *ssl, bool server, struct tls_info *info)
{
	EVP_PKEY *peer = NULL;
	X509 *own = SSL_get_certificate(ssl), *other = SSL_get0_peer_certificate(ssl);
	if (SSL_version(ssl) < TLS1_3_VERSION)
		return;
	if (SSL_get_peer_tmp_key(ssl, &peer) == 1 && peer != NULL) {
		key_words(peer, "RSA", "ECDHE", info->kex, sizeof info->kex);
		EVP_PKEY_free(peer);
	}
	fill_signature(ssl, server ? own : other, server, info->sig, sizeof info->sig, info->digest,
		       sizeof info->digest);
	if ((server ? other : own) != NULL)
		fill_signature(ssl, server ? other : own, !server, info->client_sig, sizeof info->client_sig,
			       info->client_digest, sizeof info->client_digest);
	ERR_clear_error();
}

static void put(struct buf *b, const char *before, const char *word, const char *value)
{
	if (value[0] != '\0')
		(void)buf_printf(b, "%s%s %s", before, word, value);
}

void tls_info_exchange(const struct tls_info *t, const char *before, struct buf *b)
{
	put(b, before, "key-exchange", t->kex);
	put(b, " ", "server-signature", t->sig);
	put(b, " ", "server-digest", t->digest);
	put(b, before, "client-signature", t->client_sig);
	put(b, " ", "client-digest", t->client_digest);
}

void tls_fill_info(SSL *ssl, bool server, const char *digest, struct tls_info *info)
{
	X509 *peer = SSL_get0_peer_certificate(ssl);
	snprintf(info->protocol, sizeof info->protocol, "%s", SSL_get_version(ssl));
	snprintf(info->cipher, sizeof info->cipher, "%s", SSL_get_cipher_name(ssl));
	info->bits = SSL_get_cipher_bits(ssl, &info->alg_bits);
	info->reused = SSL_session_reused(ssl) == 1;
	fill_exchange(ssl, server, info);
	if (peer == NULL)
		return;
	info->peer_trusted = SSL_get_verify_result(ssl) == X509_V_OK;
	common_name(X509_get_subject_name(peer), info->peer_subject, sizeof info->peer_subject);
	common_name(X509_get_issuer_name(peer), info->peer_issuer, sizeof info->peer_issuer);
	(void)tls_fingerprint(peer, digest, false, info->peer_fingerprint, sizeof info->peer_fingerprint);
	(void)tls_fingerprint(peer, digest, true, info->peer_key_fingerprint,
			      sizeof info->peer_key_fingerprint);
}

/* ---- authorities ---- */

/* "0123abcd.0": the names that c_rehash(1) makes. */
static bool hash_name(const char *s)
{
	for (int i = 0; i < 8; i++)
		if (!ascii_isdigit(s[i]) && (s[i] < 'a' || s[i] > 'f'))
			return false;
	return s[8] == '.' && ascii_isdigit(s[9]);
}

static enum rc load_dir(X509_STORE *store, const char *path, struct err *e)
{
	DIR *dir = opendir(path);
	const struct dirent *de;
	char name[4096];
	if (dir == NULL)
		return err_sys(e, "CA directory %s", path);
	while ((de = readdir(dir)) != NULL) {
		if (!hash_name(de->d_name))
			continue;
		snprintf(name, sizeof name, "%s/%s", path, de->d_name);
		(void)X509_STORE_load_file(store, name); /* one bad file takes no other's trust away */
	}
	closedir(dir);
	ERR_clear_error();
	return RC_OK;
}

enum rc tls_load_ca(X509_STORE *store, const char *file, const char *path, struct err *e)
{
	if (file != NULL && file[0] != '\0' && X509_STORE_load_file(store, file) != 1)
		return tls_story(e, RC_SYNTAX, file);
	if (path != NULL && path[0] != '\0')
		return load_dir(store, path, e);
	return RC_OK;
}

static const char *system_path(const char *env, const char *usual)
{
	const char *set = secure_getenv(env);
	return set != NULL ? set : usual;
}

enum rc tls_load_trust(X509_STORE *store, const char *file, const char *path, bool use_system, struct err *e)
{
	bool given = (file != NULL && file[0] != '\0') || (path != NULL && path[0] != '\0');
	enum rc rc = tls_load_ca(store, file, path, e);
	if (rc != RC_OK || !use_system || !given)
		return rc;
	file = system_path(X509_get_default_cert_file_env(), X509_get_default_cert_file());
	path = system_path(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
	return tls_load_ca(store, file, NULL, NULL) == RC_OK ? RC_OK : tls_load_ca(store, NULL, path, e);
}
