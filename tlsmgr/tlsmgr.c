/* tlsmgr.c - tlsmgr(8): holds the private keys, the keys of session tickets, and the sessions of clients. Servers and clients that
 * speak TLS ask it for certificates and for signatures; no key ever leaves this process. */
#include "tlsmgr.h"
#include "log/log.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>

#define SECURE_HEAP_BYTES (1024 * 1024)
#define SECURE_HEAP_LEAST 16
#define CODE_NONE	  454

/* "smtpd" is key 0, "smtpd:1" the next. */
static size_t key_number(struct span *chain)
{
	uint64_t n = 0;
	ptrdiff_t colon = span_chr(*chain, ':');
	if (colon < 0)
		return 0;
	if (span_to_u64(span_skip(*chain, (size_t)colon + 1), KEYS_MAX, &n) != RC_OK)
		n = KEYS_MAX;
	*chain = span_head(*chain, (size_t)colon);
	return (size_t)n;
}

static void cert(struct ipc_call *call, const void *request)
{
	const struct tls_cert *q = request;
	struct tls_cert_reply r = { 0 };
	struct err e;
	struct span name = q->chain;
	size_t number = key_number(&name);
	const struct pair *p = certs_find(name, ipc_chan_peer(ipc_call_chan(call)), number, &e);
	if (p == NULL) {
		r.code = CODE_NONE;
		r.text = span_str(e.text);
	} else {
		r.generation = p->generation;
		r.pem = p->generation == q->have ? SPAN("") : span_dup(ipc_call_arena(call), p->pem);
	}
	ipc_reply(call, &r);
}

static void sign(struct ipc_call *call, const void *request)
{
	const struct tls_sign *q = request;
	struct tls_sign_reply r = { 0 };
	const struct ipc_peer *who = ipc_chan_peer(ipc_call_chan(call));
	const struct pair *p = certs_by_generation(q->generation, who);
	if (p == NULL || !sign_raw(p, q, ipc_call_arena(call), &r.data)) {
		log_warning("%s asks for an operation with a key that it has not", who->program);
		r = (struct tls_sign_reply){ .code = CODE_NONE };
	}
	ipc_reply(call, &r);
}

static void ticket_keys(struct ipc_call *call, const void *request)
{
	const struct tls_ticket_keys *q = request;
	struct tls_ticket_keys_reply r;
	tickets_find(ipc_chan_peer(ipc_call_chan(call))->program, q->service, &r);
	ipc_reply(call, &r);
}

static void session(struct ipc_call *call, const void *request)
{
	struct tls_session_reply r = { .session = sessions_do(ipc_chan_peer(ipc_call_chan(call))->program,
							      request) };
	ipc_reply(call, &r);
}

static void prepare(void)
{
	OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_LOAD_CONFIG, NULL);
	SSL_CTX_free(SSL_CTX_new(TLS_method())); /* algorithms are fetched while files can be opened */
	if (CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, SECURE_HEAP_LEAST) == 0)
		log_warning("no locked memory for private keys");
	certs_prepare();
	monitor_start();
}

#define SERVERS "smtpd lmtpd imapd pop3d"
static const struct ipc_handler handlers[] = {
	{ IPC_TLS_CERT, SERVERS " smtp lmtp relay", cert },
	{ IPC_TLS_SIGN, SERVERS " smtp lmtp relay", sign },
	{ IPC_TLS_TICKET_KEYS, SERVERS, ticket_keys },
	{ IPC_TLS_SESSION, "smtp lmtp relay", session },
	{ 0, NULL, NULL },
};

static const struct service tlsmgr = {
	.name = "tlsmgr",
	.kind = SV_IPC,
	.user = "key_owner",
	/* tlsmgr(8): the files are the monitor's. Tables of tls_server_sni_maps, open since prepare(), are locked while
	 * they are read: flock. */
	.rights = "stdio accept recvfd flock",
	.chroot_empty = true,
	.prepare = prepare,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &tlsmgr);
}
