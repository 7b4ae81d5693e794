/* t/unit/tls.c - net/tls.h: handshakes in which the server has no private key and asks for every signature
 * (RFC 8446, RFC 5246), with RSA and ECDSA keys; tickets; ALPN (RFC 7301); names (RFC 6125); clear text
 * before the handshake (RFC 3207 section 4.2). */
#include "ipc/ask.h"
#include "ipc/proto.h"
#include "net/tls_int.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static EVP_PKEY *key;
static char *pem;
static size_t pem_n;
static unsigned signatures;
static char ca_file[] = "/tmp/unit-tls-XXXXXX";

/* ---- what tlsmgr does ---- */

static void sign(const struct tls_sign *q, struct tls_sign_reply *r, struct arena *a)
{
	size_t n = 2048;
	unsigned char *out = arena_alloc(a, n);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
	if (q->op == 1)
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, q->padding), 1);
	assert_int_equal(EVP_PKEY_sign(ctx, out, &n, (const unsigned char *)q->data.p, q->data.n), 1);
	EVP_PKEY_CTX_free(ctx);
	r->data = span_make((char *)out, n);
	signatures++;
}

static enum rc fake(const char *service, bool again, uint16_t type, const void *request, void *reply,
		    struct arena *a, deadline_t d, struct err *e)
{
	static char ticket[80] = "0123456789abcdefkey";
	(void)again, (void)d, (void)e;
	assert_string_equal(service, "tlsmgr");
	task_yield(); /* other tasks run in the middle of the handshake */
	if (type == IPC_TLS_SIGN) {
		*(struct tls_sign_reply *)reply = (struct tls_sign_reply){ 0 };
		assert_int_equal(((const struct tls_sign *)request)->generation, 42);
		sign(request, reply, a);
	} else if (type == IPC_TLS_CERT) {
		const struct tls_cert *q = request;
		struct tls_cert_reply *r = reply;
		bool first = span_is(q->chain, "smtpd");
		*r = (struct tls_cert_reply){ .code = first ? 0 : 454,
					      .generation = 42,
					      .pem = { pem, pem_n },
					      .text = SPAN("no more") };
		if (q->have == 42)
			r->pem = SPAN("");
	} else {
		*(struct tls_ticket_keys_reply *)reply = (struct tls_ticket_keys_reply){
			.current = { ticket, sizeof ticket }, .previous = SPAN(""), .valid_s = 100
		};
	}
	return RC_OK;
}

static void make_pair(const char *kind)
{
	X509 *x = X509_new();
	BIO *b = BIO_new(BIO_s_mem());
	char *p, names[] = "DNS:mx.example.org,DNS:*.wild.example";
	key = strcmp(kind, "RSA") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -100);
	X509_gmtime_adj(X509_getm_notAfter(x), 1000);
	X509_set_version(x, 2);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"mx.example.org", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	X509_sign(x, key, EVP_sha256());
	PEM_write_bio_X509(b, x);
	pem_n = (size_t)BIO_get_mem_data(b, &p);
	pem = xmalloc(pem_n);
	memcpy(pem, p, pem_n);
	BIO_free(b);
	X509_free(x);
	FILE *f = fopen(ca_file, "w");
	assert_non_null(f);
	fwrite(pem, 1, pem_n, f);
	fclose(f);
}

/* ---- one connection ---- */

struct test {
	struct tls_server *server;
	struct tls_client *client;
	const char *protocols, *host, *match, *inject;
	enum tls_level level;
	struct tls_info s, c;
	enum rc server_rc, client_rc;
	struct err server_e, client_e;
	char echoed[64];
	int left, pair[2];
};

static void finished(struct test *t)
{
	if (--t->left == 0)
		loop_stop(0);
}

static void serve(void *arg)
{
	struct test *t = arg;
	struct stream *io = stream_new(t->pair[0]);
	struct tls_trace quiet = { 0 };
	struct span line;
	struct err e;
	if (t->inject != NULL) {
		assert_int_equal(stream_peek(io, &line, deadline_s(5), &e), RC_OK);
		assert_int_equal(tls_server_start(t->server, io, &quiet, &t->s, deadline_s(5), &e),
				 RC_DENIED);
	} else {
		t->server_rc = tls_server_start(t->server, io, &quiet, &t->s, deadline_s(5), &t->server_e);
		if (t->server_rc == RC_OK && stream_line(io, &line, 100, NULL, deadline_s(5), &e) == RC_OK) {
			stream_printf(io, "you said " SPAN_FMT "\r\n", SPAN_ARG(line));
			(void)!stream_flush(io, deadline_s(5), &e);
		}
	}
	stream_close(&io);
	finished(t);
}

static void connect_to(void *arg)
{
	struct test *t = arg;
	struct stream *io = stream_new(t->pair[1]);
	struct span line, names[1] = { span_str(t->match) };
	struct err e;
	if (t->inject != NULL) {
		stream_puts(io, t->inject);
		(void)!stream_flush(io, deadline_s(5), &e);
		(void)!stream_peek(io, &line, deadline_s(5), &e);
	} else {
		struct tls_demand want = { .level = t->level,
					   .names = names,
					   .names_n = t->match != NULL,
					   .protocols = t->protocols,
					   .trace = { "here", 0 } };
		t->client_rc = tls_client_start(t->client, io, span_str(t->host), SPAN("here"), &want, &t->c,
						deadline_s(5), &t->client_e);
		if (t->client_rc == RC_OK) {
			stream_puts(io, "hello\r\n");
			if (stream_line(io, &line, 100, NULL, deadline_s(5), &e) == RC_OK)
				snprintf(t->echoed, sizeof t->echoed, SPAN_FMT, SPAN_ARG(line));
		}
	}
	stream_close(&io);
	finished(t);
}

static void run(struct test *t)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, t->pair), 0);
	t->left = 2;
	t->echoed[0] = '\0';
	task_spawn(serve, t);
	task_spawn(connect_to, t);
	loop_run();
}

static struct test fresh(const char *alpn)
{
	struct err e;
	struct test t = { .host = "mx.example.org", .level = TLS_MAY };
	struct tls_server_conf sc = { .chain = "smtpd",
				      .ticket_service = "smtp",
				      .protocols = ">=TLSv1.2",
				      .ciphers = "medium",
				      .alpn = alpn };
	struct tls_client_conf cc = { .ca_file = ca_file };
	assert_int_equal(tls_server_new(&sc, &t.server, &e), RC_OK);
	t.client = tls_client_new(&cc);
	return t;
}

static void with_key(const char *kind, const char *sig)
{
	static const char *const versions[] = { "TLSv1.2", "TLSv1.3" };
	make_pair(kind);
	for (size_t i = 0; i < 2; i++) {
		struct test t = fresh(NULL);
		t.protocols = versions[i];
		signatures = 0;
		run(&t);
		assert_int_equal(t.server_rc, RC_OK);
		assert_int_equal(t.client_rc, RC_OK);
		assert_string_equal(t.echoed, "you said hello");
		assert_string_equal(t.s.protocol, versions[i]);
		assert_string_equal(t.c.protocol, versions[i]);
		assert_string_equal(t.s.sni, "mx.example.org");
		assert_string_equal(t.c.sig,
				    i == 1 ? sig : ""); /* before TLS 1.3 the cipher's name says it */
		assert_string_equal(t.s.sig, i == 1 ? sig : "");
		assert_string_equal(t.c.peer_subject, "mx.example.org");
		assert_int_equal(strlen(t.c.peer_fingerprint), 95);
		assert_int_equal(signatures, 1);
	}
}

static void rsa_key_is_elsewhere(void **state)
{
	(void)state;
	with_key("RSA", "RSA-PSS (2048 bits)");
}

static void ec_key_is_elsewhere(void **state)
{
	(void)state;
	with_key("EC", "ECDSA (prime256v1)");
}

static void names_are_compared(void **state)
{
	static const struct {
		const char *match;
		enum tls_level level;
		enum rc rc;
		bool verified;
	} rows[] = {
		{ "mx.example.org", TLS_SECURE, RC_OK, true },
		{ "other.example", TLS_SECURE, RC_GONE, false },
		{ "a.wild.example", TLS_VERIFY, RC_OK, true },
		{ ".example.org", TLS_SECURE, RC_OK, true },
		{ "other.example", TLS_ENCRYPT, RC_OK, false },
		{ "AA:BB", TLS_FINGERPRINT, RC_GONE, false },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct test t = fresh(NULL);
		t.match = rows[i].match;
		t.level = rows[i].level;
		run(&t);
		assert_int_equal(t.client_rc, rows[i].rc);
		assert_int_equal(t.c.peer_verified, rows[i].verified);
		/* another's certificate is trusted by nobody */
		assert_int_equal(t.c.peer_trusted, rows[i].rc == RC_OK);
	}
}

/* tls_wildcard_matches_multiple_labels */
static void wildcards_of_many_labels(void **state)
{
	(void)state;
	for (int yes = 0; yes < 2; yes++) {
		struct test t = fresh(NULL);
		tls_setup.wildcards = yes;
		t.match = "a.b.wild.example";
		t.level = TLS_VERIFY;
		run(&t);
		assert_int_equal(t.client_rc, yes ? RC_OK : RC_GONE);
	}
}

static void fingerprints_are_compared(void **state)
{
	struct test t = fresh(NULL);
	char have[200];
	(void)state;
	run(&t);
	snprintf(have, sizeof have, "%s", t.c.peer_fingerprint);
	t.match = have;
	t.level = TLS_FINGERPRINT;
	for (int colons = 1; colons >= 0; colons--) {
		run(&t);
		assert_int_equal(t.client_rc, RC_OK);
		assert_true(t.c.peer_verified);
		for (size_t i = 0, n = 0; i == 0 || have[i - 1] != '\0'; i++)
			if (have[i] != ':')
				have[n++] = ascii_lower(have[i]);
	}
	have[4] = '\0'; /* a part is none */
	run(&t);
	assert_int_equal(t.client_rc, RC_GONE);
}

static void clear_text_is_not_believed(void **state)
{
	struct test t = fresh(NULL);
	(void)state;
	t.inject = "MAIL FROM:<evil@example.org>\r\n";
	run(&t);
}

static void rubbish_ends_the_handshake(void **state)
{
	struct test t = fresh(NULL);
	struct stream *io;
	(void)state;
	(void)io;
	t.protocols = "TLSv1"; /* below what the server takes */
	run(&t);
	assert_int_equal(t.server_rc, RC_SYNTAX);
	assert_int_equal(t.client_rc, RC_SYNTAX);
}

static int setup(void **state)
{
	struct err e;
	(void)state;
	int fd = mkstemp(ca_file);
	if (fd < 0)
		return -1;
	close(fd);
	loop_init();
	if (tls_prepare(NULL, &e) != RC_OK)
		return -1;
	ipc_set_ask(fake);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(ca_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsa_key_is_elsewhere),	      cmocka_unit_test(ec_key_is_elsewhere),
		cmocka_unit_test(names_are_compared),	      cmocka_unit_test(wildcards_of_many_labels),
		cmocka_unit_test(fingerprints_are_compared),  cmocka_unit_test(clear_text_is_not_believed),
		cmocka_unit_test(rubbish_ends_the_handshake),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
