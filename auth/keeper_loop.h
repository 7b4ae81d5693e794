/* auth/keeper_loop.h - the keeper's own side. */
#ifndef AUTH_KEEPER_LOOP_H
#define AUTH_KEEPER_LOOP_H

#include "keeper.h"
#include <stdbool.h>

/* Answers questions on fd until it closes; the exit status. */
int keeper_loop(int fd, const struct keeper_conf *c);

/* ---- passwdfile.c: lines "user:password:uid:gid:gecos:home:shell:extra..." (Dovecot's passwd-file) ---- */
/* KEEPER_FILE, KEEPER_NOBODY, or KEEPER_TROUBLE when the file cannot be read. Read anew when it changed. */
enum keeper_source passwdfile_find(const char *path, const char *user, struct keeper_answer *out);

/* ---- sasldb.c ---- */
/* As above; a file that is not there has nobody. A name without realm is looked for in `realm`, then in this host's. */
enum keeper_source sasldb_find(const char *path, const char *realm, const char *user,
			       struct keeper_answer *out);

/* ---- pam.c ---- */
/* Forks: the child answers on fd itself. False when it cannot be forked. */
bool pam_answer(int fd, const struct keeper_question *q, const char *service);

#endif
