/* auth/keeper.h - the questions that go to the root part of auth(8), and its answers. Fixed size,
 * NUL-terminated texts, checked on arrival. */
#ifndef AUTH_KEEPER_H
#define AUTH_KEEPER_H

#include "base/rc.h"
#include <stdint.h>

#define KEEPER_NAME_MAX	  256
#define KEEPER_SECRET_MAX 1024
#define KEEPER_PATH_MAX	  512

enum keeper_op { KEEPER_FIND = 1, KEEPER_PAM = 2 };
struct keeper_question {
	uint32_t op, serial;
	char user[KEEPER_NAME_MAX];
	char password[KEEPER_SECRET_MAX]; /* KEEPER_PAM */
	char rip[64];
};
enum keeper_source { KEEPER_NOBODY = 0, KEEPER_FILE, KEEPER_SASLDB, KEEPER_SYSTEM, KEEPER_TROUBLE };
struct keeper_answer {
	uint32_t serial;
	uint32_t source;		/* enum keeper_source */
	uint32_t granted;		/* KEEPER_PAM: 1 right, 0 wrong */
	uint32_t uid, gid;		/* (uint32_t)-1: none named */
	char stored[KEEPER_SECRET_MAX]; /* KEEPER_FIND: "{SCHEME}hash", "" none (PAM decides) */
	char home[KEEPER_PATH_MAX], mail[KEEPER_PATH_MAX];
};

struct keeper_conf {
	const char *passwd_file;  /* "" none */
	const char *sasldb_file;  /* "" none */
	const char *sasldb_realm; /* of names without one */
	const char *pam_service;  /* "" none: system accounts do not log in */
};
/* Forks the keeper; as root in service.prepare() (in one-uid mode it has no more rights than we). */
void keeper_start(const struct keeper_conf *c);
/* In a task. RC_AGAIN: the keeper is gone or has trouble. */
MUST_CHECK enum rc keeper_ask(struct keeper_question *q, struct keeper_answer *out, struct err *e);

#endif
