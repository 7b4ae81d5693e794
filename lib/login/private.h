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

/* ---- front to user's process, through the monitor (asuser_hand_over()): fixed size, and `ahead` bytes behind it ---- */
#define LOGIN_MAGIC 0x4c4f4732u
/* One connection: for the log, and what the client has sent already. Whose it is the process knows: it is his. With one descriptor
 * (the relay's end) or two (the client's, and one that is held until the session ends). Texts are NUL-terminated. */
struct login_record {
	uint32_t magic, ahead;
	char id[LOGIN_TEXT_MAX], rip[LOGIN_TEXT_MAX], lip[LOGIN_TEXT_MAX], tag[LOGIN_TAG_MAX];
};
#define LOGIN_AHEAD_MAX 8192
struct login_parcel {
	struct login_record r;
	char ahead[LOGIN_AHEAD_MAX];
};
_Static_assert(sizeof(struct login_parcel) <= ASUSER_BYTES_MAX, "a monitor takes it in one record");

/* ---- child.c: the user's process ---- */
void login_say_bye(struct stream *io); /* conf->bye, within a second */
int login_child(int fd, const struct asuser_id *id);
size_t login_child_paths(const struct asuser_id *id, struct sandbox_path *out, size_t max);

/* ---- ahead.c ---- */
/* Takes over fd; `bytes` (copied) are read first. */
struct stream *login_stream(int fd, struct span bytes);

#endif
