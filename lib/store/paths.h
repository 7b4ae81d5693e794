/* store/paths.h - folder names and file system: small things that the files of lib/store share. Internal to
 * lib/store. */
#ifndef STORE_PATHS_H
#define STORE_PATHS_H

#include "store/store.h"
#include <sys/stat.h>

#define STORE_FILE_MAX (STORE_PATH_MAX + 512)

/* The directory (Maildir) or file (mbox) of a folder. RC_SYNTAX: not a name. */
MUST_CHECK enum rc folder_path(const struct store_loc *l, struct span name, char out[STORE_FILE_MAX],
			       struct err *e);
/* Where postern.* (index) or dovecot-uidlist (control) of a folder go: without final slash. */
MUST_CHECK enum rc folder_side_path(const struct store_loc *l, struct span name, bool control,
				    char out[STORE_FILE_MAX], struct err *e);
bool folder_name_valid(const struct store_loc *l, struct span name);
bool folder_is_inbox(struct span name); /* any case: RFC 3501 5.1 */
/* "<dir>/<name>"; false when it does not fit. */
bool path_join(char out[STORE_FILE_MAX], const char *dir, const char *name);
/* Every missing directory of `path`, mode 0700; each new name is synced. */
MUST_CHECK enum rc path_mkdirs(const char *path, struct err *e);
/* cur, new, tmp below dir, and dir itself. */
MUST_CHECK enum rc maildir_make(const char *dir, struct err *e);
MUST_CHECK enum rc path_sync_dir(const char *dir, struct err *e);
void path_try_sync(const char *dir); /* where we may search but not read it, nothing happens */
MUST_CHECK enum rc fd_write_all(int fd, struct span data, struct err *e);
/* At most `max` bytes; RC_NOTFOUND when the file is missing. Freed by the caller. */
MUST_CHECK enum rc file_read_all(const char *path, size_t max, struct buf *out, struct err *e);
/* Writes a new file beside and renames it; `sync`: file and directory. */
MUST_CHECK enum rc file_replace(const char *path, struct span data, bool sync, struct err *e);
uint64_t fnv1a(struct span s); /* stable across processes, unlike siphash() */

/* The content of a delivery, piece by piece: memory or extents of a file. */
struct content {
	const struct store_delivery *m;
	size_t next;   /* piece or extent */
	uint64_t done; /* bytes of the present extent */
	bool prefix_done;
	char *buf;
};
#define CONTENT_CHUNK 65536
void content_start(struct content *c, const struct store_delivery *m);
/* RC_EOF at the end. The span is valid until the next call. */
MUST_CHECK enum rc content_next(struct content *c, struct span *chunk, struct err *e);
void content_end(struct content *c);

MUST_CHECK enum rc maildir_deliver(const char *dir, const struct store_delivery *m,
				   struct store_delivered *out, struct err *e);
MUST_CHECK enum rc mbox_deliver(const char *path, const struct store_delivery *m, struct store_delivered *out,
				struct err *e);
/* One more writer of Maildir files: an open unnamed or tmp/ file, and its way into new/ or cur/. */
struct maildir_file {
	int fd;
	char tmp[STORE_FILE_MAX]; /* "" when unnamed */
	uint64_t size, lone_lf;
	char last;
};
MUST_CHECK enum rc maildir_file_open(const char *dir, struct maildir_file *f, struct err *e);
MUST_CHECK enum rc maildir_file_write(struct maildir_file *f, struct span data, struct err *e);
/* Gives it the name `path`; RC_DENIED: the name exists. */
MUST_CHECK enum rc maildir_file_link(struct maildir_file *f, const char *path, struct err *e);
void maildir_file_close(struct maildir_file *f); /* removes the tmp/ name */
/* Names it `path` in DIR/new, then file and directory to the disk, together with those that other threads commit
 * at this moment. RC_DENIED: the name exists, nothing was done. After any other failure there is no name. */
MUST_CHECK enum rc maildir_commit(struct maildir_file *f, const char *dir, const char *path, struct err *e);
/* Host part of a unique name: no '/' and ':'. */
void maildir_host(char out[72]);

/* ---- mbox locks (mailbox_delivery_lock) ---- */
struct mbox_lock {
	char dot[STORE_FILE_MAX]; /* "" when none */
};
/* Opens and locks `path`, making it when missing and `flags` has O_CREAT. Gives up with RC_AGAIN. A dotlock
 * that cannot be made for lack of permission is done without, as other programs do. */
MUST_CHECK enum rc mbox_open_locked(const char *path, int flags, const struct store_lock *how, int *fd,
				    struct mbox_lock *l, struct err *e);
void mbox_unlock_close(int *fd, struct mbox_lock *l);
/* Seconds of a From_ line's date in local time, or -1 when the line is not one. */
int64_t mbox_from_line(struct span line);

#endif
