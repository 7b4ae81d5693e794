/* net/tls_session.c - sessions that a client resumes: tlsmgr keeps them for all processes of a program. A session is asked
 * for before the handshake, under a name that holds all that is demanded of the server, and given to tlsmgr whenever the
 * server makes a new one, with TLS 1.3 some time after the handshake. */
#include "net/tls_int.h"
#include "ipc/ask.h"
#include "ipc/proto.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#define ASK_S 5 /* without an answer there is a full handshake */

struct note { /* hangs on the SSL */
	char key[2 * EVP_MAX_MD_SIZE + 1];
	int64_t life_s;
};
struct job {
	char key[2 * EVP_MAX_MD_SIZE + 1];
	int64_t life_s;
	size_t n;
	unsigned char bytes[TLS_SESSION_BYTES_MAX];
};
static int note_index = -1;

static void free_note(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

static void tell(enum tls_session_op op, const char *key, struct span session, int64_t life_s)
{
	struct tls_session q = {
		.op = (uint16_t)op, .key = span_str(key), .session = session, .life_s = life_s
	};
	struct tls_session_reply r;
	struct arena a;
	struct err e;
	arena_init(&a);
	(void)!ipc_ask("tlsmgr", false, IPC_TLS_SESSION, &q, &r, &a, deadline_s(ASK_S), &e);
	arena_release(&a);
}

static void keep_task(void *arg)
{
	struct job *j = arg;
	tell(TLS_SESSION_KEEP, j->key, span_make((const char *)j->bytes, j->n), j->life_s);
	OPENSSL_cleanse(j->bytes, j->n);
	free(j);
}

/* Called in the midst of a read: the mail does not wait for it. */
static int new_session(SSL *ssl, SSL_SESSION *session)
{
	const struct note *note = SSL_get_ex_data(ssl, note_index);
	int n = i2d_SSL_SESSION(session, NULL);
	if (note == NULL || n <= 0 || n > TLS_SESSION_BYTES_MAX || !SSL_SESSION_is_resumable(session))
		return 0;
	struct job *j = xcalloc(1, sizeof *j);
	unsigned char *p = j->bytes;
	memcpy(j->key, note->key, sizeof j->key);
	j->life_s = note->life_s;
	j->n = (size_t)i2d_SSL_SESSION(session, &p);
	task_spawn(keep_task, j);
	return 0; /* the reference stays OpenSSL's */
}

void tls_session_enable(SSL_CTX *ctx)
{
	if (note_index < 0)
		note_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_note);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, new_session);
}

static void resume(SSL *ssl, const char *key)
{
	struct tls_session q = { .op = TLS_SESSION_FIND, .key = span_str(key) };
	struct tls_session_reply r;
	struct arena a;
	struct err e;
	arena_init(&a);
	if (ipc_ask("tlsmgr", true, IPC_TLS_SESSION, &q, &r, &a, deadline_s(ASK_S), &e) == RC_OK &&
	    r.session.n > 0) {
		const unsigned char *p = (const unsigned char *)r.session.p;
		SSL_SESSION *s = d2i_SSL_SESSION(NULL, &p, (long)r.session.n);
		if (s != NULL)
			(void)SSL_set_session(ssl, s);
		SSL_SESSION_free(s);
		ERR_clear_error();
	}
	arena_release(&a);
}

void tls_session_offer(SSL *ssl, struct span description, int64_t life_s)
{
	unsigned char d[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	struct note *note = xcalloc(1, sizeof *note);
	if (EVP_Digest(description.p, description.n, d, &n, EVP_sha256(), NULL) != 1 ||
	    SSL_set_ex_data(ssl, note_index, note) != 1) {
		free(note);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		snprintf(note->key + 2 * (size_t)i, 3, "%02x", d[i]);
	note->life_s = life_s;
	resume(ssl, note->key);
}

void tls_session_refused(const char key[TLS_SESSION_KEY_BYTES])
{
	tell(TLS_SESSION_FORGET, key, SPAN(""), 0);
}

bool tls_session_key(const SSL *ssl, char out[TLS_SESSION_KEY_BYTES])
{
	const struct note *note = note_index < 0 ? NULL : SSL_get_ex_data(ssl, note_index);
	out[0] = '\0';
	if (note == NULL || SSL_get_session(ssl) == NULL)
		return false;
	memcpy(out, note->key, TLS_SESSION_KEY_BYTES);
	return true;
}
