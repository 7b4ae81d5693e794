/* resolver.h - what the files of this process share.
 *
 *   setup.c     resolv.conf, hosts, and whether they changed     message.c  questions and answers in wire format
 *   exchange.c  one question to the servers: UDP, TCP            cache.c    answers kept for their time to live
 *   resolver.c  main(), the IPC handler, equal questions joined */
#ifndef RESOLVER_H
#define RESOLVER_H

#include "ipc/proto.h"
#include "net/addr.h"
#include "service/service.h"

#define QUESTION_MAX   300   /* header, name, type, class, OPT */
#define ANSWER_MAX     65535 /* RFC 1035 section 4.2.2 */
#define UDP_ANSWER_MAX 1232  /* announced with EDNS: fits any path unfragmented (RFC 9715) */
#define SERVERS_MAX    8

/* ---- setup.c ---- */
struct server {
	struct inet_addr addr;
	uint16_t port;
};
struct setup {
	struct server server[SERVERS_MAX];
	size_t servers;
	int64_t timeout_s;
	unsigned attempts;
	bool trust_ad;
};
extern struct setup setup;
void setup_read(void);	/* in prepare() */
void setup_watch(void); /* in start(): a task that retires this process when a file changes */
/* Address number `i` of a name in the hosts file; false: no more. */
bool setup_host(struct span name, int family, size_t i, struct inet_addr *out);
/* The first name of an address there, asked by its name below in-addr.arpa or ip6.arpa; "" none. */
struct span setup_host_name(struct span reverse);

/* ---- message.c ---- */
struct question {
	unsigned char p[QUESTION_MAX];
	size_t n, name_end; /* the question section ends at name_end + 4 */
};
/* RC_SYNTAX: not a domain name. The id is still 0. */
MUST_CHECK enum rc question_make(struct span name, uint16_t qtype, bool ad, struct question *q);
void question_new_id(struct question *q);
void question_drop_edns(struct question *q);
/* Whether `answer` is one to this question (RFC 5452 section 9.1). */
bool answer_fits(const struct question *q, struct span answer);
unsigned answer_rcode(struct span answer);
bool answer_truncated(struct span answer);
bool answer_secure(struct span answer);
/* What the caller of IPC_DNS_QUERY is told, and how long the answer may be kept (RFC 2308 sections 3, 5; 0:
 * not at all). */
uint16_t answer_status(struct span answer, uint16_t qtype, uint32_t *ttl_s);
/* An answer made here, from the hosts file. */
struct span answer_from_hosts(struct span name, uint16_t qtype, struct arena *a);

/* ---- exchange.c ---- */
/* Asks the servers in turn. RC_OK: *answer in `a`, from a server that could answer. RC_AGAIN: none could. */
MUST_CHECK enum rc exchange(struct question *q, struct arena *a, struct span *answer, struct err *e);

/* ---- cache.c ---- */
struct cached {
	struct span answer;
	uint16_t status;
	bool secure;
	uint32_t ttl_s; /* left */
};
bool cache_get(struct span key, struct cached *out); /* the span is valid until the next cache_put() */
void cache_put(struct span key, const struct cached *c);

#endif
