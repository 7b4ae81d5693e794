/* service/peers.c - who may talk to whom, and by which kind of socket. */
#include "service/masterproto.h"
#include "base/span.h"
#include <sys/socket.h>

#define AGENTS "smtp lmtp relay local virtual pipe error retry discard"

static const struct {
	const char *program, *peers;
} peers[] = {
	{ "smtpd",
	  "cleanup trivial-rewrite auth tlsmgr resolver proxymap proxywrite verify flush anvil spawn" },
	{ "lmtpd",
	  "cleanup trivial-rewrite auth tlsmgr resolver proxymap proxywrite verify flush anvil spawn" },
	{ "pickup", "cleanup trivial-rewrite proxymap" },
	{ "cleanup", "trivial-rewrite qmgr proxymap bounce" },
	{ "qmgr", "trivial-rewrite bounce cleanup flush verify pickup proxymap *" },
	{ "trivial-rewrite", "proxymap" },
	/* proxywrite: smtp_sasl_auth_cache_name; cleanup: transcripts for the postmaster (notify_classes) */
	{ "smtp", "cleanup resolver tlsmgr proxymap proxywrite bounce" },
	{ "lmtp", "cleanup resolver tlsmgr proxymap proxywrite bounce" },
	{ "relay", "cleanup resolver tlsmgr proxymap proxywrite bounce" },
	{ "local", "cleanup trivial-rewrite proxymap bounce *" },
	{ "virtual", "cleanup trivial-rewrite proxymap bounce" },
	{ "pipe", "cleanup trivial-rewrite proxymap bounce" },
	{ "bounce", "cleanup trivial-rewrite" },
	{ "defer", "cleanup trivial-rewrite" },
	{ "trace", "cleanup trivial-rewrite" },
	{ "verify", "cleanup proxywrite" },
	{ "flush", "qmgr" },
	{ "showq", "qmgr" },
	{ "pop3d", "auth tlsmgr" },
	{ "imapd", "auth tlsmgr" },
	{ "auth", "proxymap" },
};

/* The daemons of this suite that serve connections on UNIX sockets; `stream` where outsiders are among the
 * clients. */
static const struct {
	const char *program;
	bool stream;
} own[] = {
	{ "anvil", false },	 { "auth", true },     { "bounce", false }, { "cleanup", false },
	{ "defer", false },	 { "discard", false }, { "error", false },  { "flush", false },
	{ "imapd", true },	 { "lmtp", false },    { "lmtpd", true },   { "local", false },
	{ "pickup", false },	 { "pipe", false },    { "pop3d", true },   { "proxymap", false },
	{ "proxywrite", false }, { "qmgr", false },    { "relay", false },  { "resolver", false },
	{ "retry", false },	 { "showq", true },    { "smtp", false },   { "smtpd", true },
	{ "spawn", true },	 { "tlsmgr", false },  { "trace", false },  { "trivial-rewrite", false },
	{ "verify", false },	 { "virtual", false },
};

static bool listed(const char *words, const char *word)
{
	struct span rest = span_str(words), w;
	while (span_next_word(&rest, " ", &w))
		if (span_is(w, word))
			return true;
	return false;
}

const char *mp_peers_of(const char *program)
{
	for (size_t i = 0; i < ARRAY_LEN(peers); i++)
		if (span_is(span_str(program), peers[i].program))
			return peers[i].peers;
	return "";
}

bool mp_may_connect(const char *program, const char *target)
{
	const char *list = mp_peers_of(program);
	return listed(list, target) || (listed(list, "*") && listed(AGENTS, target));
}

bool mp_takes_hello(const char *program)
{
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (span_is(span_str(program), own[i].program))
			return true;
	return false;
}

int mp_socket_type(const char *program)
{
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (span_is(span_str(program), own[i].program))
			return own[i].stream ? SOCK_STREAM : SOCK_SEQPACKET;
	return SOCK_STREAM;
}
