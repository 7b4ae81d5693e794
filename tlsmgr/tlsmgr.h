/* tlsmgr.h - what the files of this process share.
 *
 *   monitor.c   root: opens configured files, passes descriptors      files.c   their contents
 *   certs.c     certificate configurations: load, check, renew        tickets.c session ticket keys
 *   sign.c      private key operations                                tlsmgr.c  main(), the IPC handlers */
#ifndef TLSMGR_H
#define TLSMGR_H

#include "ipc/proto.h"
#include "service/service.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#define KEYS_MAX  4  /* of different types in one configuration; net/tls_int.h has the same bound */
#define FILES_MAX 16 /* per configuration */
#define PEM_MAX	  (64 * 1024)

/* ---- monitor.c ---- */
/* In prepare(): a file that may be opened later; its number. The same name has the same number. */
unsigned monitor_file(const char *path);
const char *monitor_path(unsigned file);
void monitor_start(void); /* after all names are known; forks */
/* A descriptor of the file as it is now. In a task. */
MUST_CHECK enum rc monitor_open(unsigned file, int *fd, struct err *e);

/* ---- certs.c ---- */
struct pair { /* a key and its certificates */
	EVP_PKEY *key;
	struct span pem; /* certificates, the key's own first; malloc'd */
	uint64_t generation;
};
void certs_prepare(void); /* reads the parameters, tells the monitor the names */
/* Key number `i` of configuration `name`, looked at again on disk at most once a second. NULL with the story:
 * none. */
const struct pair *certs_find(struct span name, const struct ipc_peer *who, size_t i, struct err *e);
/* NULL: no such generation, or not for this one. */
const struct pair *certs_by_generation(uint64_t generation, const struct ipc_peer *who);

/* ---- sni.c: tls_server_sni_maps ---- */
struct sni {		     /* the tables of one value of the parameter */
	const char *service; /* that of master.cf with a value of its own; NULL: all the others */
	struct maps *maps;
};
/* Opens the tables that `conf` names, tells the monitor of files. */
void sni_prepare(const char *service, const struct conf *conf);
const struct sni *sni_of(const struct ipc_peer *who); /* NULL: it has none */
/* Keys and certificates in PEM for the name a client asks for, or for its parents (".example.com"); *key is what matched.
 * Both live in `a`. RC_NOTFOUND: none. */
MUST_CHECK enum rc sni_lookup(const struct sni *t, struct span name, struct arena *a, struct span *key,
			      struct span *pem, struct err *e);

/* Key number *at of all tables, and whose; moves it on. false: no more. */
bool sni_next(size_t *at, struct arena *a, const struct sni **t, struct span *key);

/* ---- sign.c ---- */
/* Runs on a helper thread; false when the operation makes no sense for this key. */
bool sign_raw(const struct pair *p, const struct tls_sign *q, struct arena *a, struct span *out);

/* ---- tickets.c ---- */
/* The keys of `service` of `program`, valid for *valid_s more seconds; "" when there are too many services, or
 * nothing is to be resumed.
 */
void tickets_find(const char *program, struct span service, struct tls_ticket_keys_reply *out);

/* ---- sessions.c ---- */
/* FIND, KEEP or FORGET; what was found is valid until the next call. */
struct span sessions_do(const char *program, const struct tls_session *q);

#endif
