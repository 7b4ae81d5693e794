/* cmd/posttls-finger/finger.h - posttls-finger(1): options in main.c, from a destination to addresses and a connection in
 * dest.c, lines of SMTP in dialogue.c, the handshake and what is told of the certificate in handshake.c. No tasks: one
 * connection at a time, every wait bounded by the timeouts of the socket. */
#ifndef FINGER_H
#define FINGER_H

#include "base/arena.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "net/addr.h"
#include "net/tls_int.h"

/* -L */
#define LOGS_SUMMARY  1u
#define LOGS_PEERCERT 2u
#define LOGS_CACHE    4u
#define LOGS_DEBUG    8u

struct finger {
	struct conf *conf;
	struct arena a;
	int family; /* tried first; AF_UNSPEC: any */
	bool quiet, show_chain, lmtp, wrapper, dns, native;
	enum tls_level level;
	unsigned logs;
	const char *anchors[16];
	size_t n_anchors;
	const char *ca_file, *ca_path, *cert, *key, *ciphers, *protocols, *digest;
	char *sni;
	int64_t connect_s, command_s, delay_s, reconnects;
	/* the destination */
	const char *dest, *path; /* as typed; of "unix:" */
	struct span nexthop;
	bool no_mx;
	uint16_t port;
	struct span *match;
	size_t matches;
	/* this connection */
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
	SSL_SESSION *session;	/* of the connection before */
	struct span host, peer; /* "mx.example", "mx.example[192.0.2.1]:25" */
	char server[256];	/* what it calls itself */
	bool reused, esmtp, starttls;
	struct buf in;
	size_t in_at;
};

/* ---- dest.c ---- */
void dest_parse(struct finger *f, const char *text); /* dies when it is none */
/* Connects to the first address that answers; the failure was told. */
bool dest_connect(struct finger *f);

/* ---- dialogue.c ---- */
bool dialogue_greeting(struct finger *f);
bool dialogue_ehlo(struct finger *f);
bool dialogue_starttls(struct finger *f);
void dialogue_quit(struct finger *f);

/* ---- handshake.c ---- */
void handshake_prepare(struct finger *f); /* dies when files cannot be used */
bool handshake(struct finger *f);

#endif
