/* login/private.h - shared by the files of lib/login alone. */
#ifndef LOGIN_PRIVATE_H
#define LOGIN_PRIVATE_H

#include "asuser/ticket.h"
#include "login/login.h"

struct login_settings {
	const struct login_conf *conf;
	int64_t timeout_s, user_limit;
	bool plaintext, wrapper;
	struct tls_server *tls; /* NULL: not offered */
	struct authclient *auth;
};
extern struct login_settings login_set;

/* ---- front and user's process: fixed-size records on a SOCK_SEQPACKET pair ---- */
#define LOGIN_MAGIC 0x4c4f4731u
/* First record of the user's process. */
struct login_hello {
	uint32_t magic;
	int32_t pid;
	uint32_t rc; /* enum rc: could the mailbox be opened? */
};
/* One connection; carries one descriptor (the relay's end) or two (the client's, and one that is held until
 * the session ends). Texts are NUL-terminated. `ahead` bytes follow, which the client has sent already. */
struct login_record {
	uint32_t magic, ahead;
	char user[LOGIN_USER_MAX];
	char id[LOGIN_TEXT_MAX], rip[LOGIN_TEXT_MAX], lip[LOGIN_TEXT_MAX], tag[LOGIN_TAG_MAX];
};
#define LOGIN_AHEAD_MAX 8192

/* ---- child.c: the user's process ---- */
void login_say_bye(struct stream *io); /* conf->bye, within a second */
int login_child(int fd, const struct asuser_id *id);
size_t login_child_paths(const struct asuser_id *id, struct sandbox_path *out, size_t max);

/* ---- handover.c ---- */
void login_end_processes(void); /* the users' processes end their sessions, and themselves */

/* ---- ahead.c ---- */
/* Takes over fd; `bytes` (copied) are read first. */
struct stream *login_stream(int fd, struct span bytes);

#endif
