/* store/box.h - one folder as a process holds it, shared by its views. Internal to lib/store.
 *
 * Truth on disk: Maildir file names (flags), dovecot-uidlist (UIDs), dovecot-keywords. postern.index is a log
 * of records (store/index.c) that spares reading them; box.msg is that log applied. All changes happen under
 * the lock of postern.lock: lock, apply what others appended, change the disk, append records, unlock. */
#ifndef STORE_BOX_H
#define STORE_BOX_H

#include "base/list.h"
#include "base/table.h"
#include "store/paths.h"

#define HAVE_VSIZE 1 /* message.vsize is known */
#define WHERE_NEW  0
#define WHERE_CUR  1
#define RING	   256

/* What a stat call showed when the directory (or mbox file) was last read. */
struct stamp {
	uint64_t ino;
	int64_t mtime_ns;
	int64_t size; /* mbox only */
};

struct change { /* a flag change: for views that are nearly up to date */
	uint64_t modseq;
	uint32_t uid;
};

struct modseq_range {
	uint64_t from, to;
};

struct box {
	struct list link;  /* of the store */
	struct list views; /* struct mailbox */
	struct store *store;
	unsigned refs;
	char name[STORE_NAME_MAX + 8];
	char path[STORE_FILE_MAX]; /* Maildir directory or mbox file */
	char side[STORE_FILE_MAX], control[STORE_FILE_MAX];

	uint32_t uidvalidity, uidnext;
	uint64_t modseq; /* highest used */
	struct message *msg;
	size_t n, cap;
	struct buf names; /* file names; message.name_off */
	char *keyword[STORE_KEYWORDS_MAX];
	size_t keywords;
	struct stamp stamp[2]; /* new/, cur/; mbox: the file, unused */
	struct stamp uidlist;
	size_t uidlist_lines;

	uint64_t changes; /* grows with every change */
	uint64_t expunges;
	struct change ring[RING];
	uint64_t ring_next; /* count of entries ever written */

	int lock_fd, index_fd;
	unsigned locked;
	uint64_t index_ino, index_applied; /* bytes of the log that are in msg */
	struct buf log;			   /* records of this turn, appended at unlock */
	bool rewrite;			   /* the log is to be written anew at unlock */

	int cache_fd;
	uint64_t cache_size;
	struct buf cache_pending;
	bool dirty; /* mbox: flags or UIDs not yet in the file */
};

struct mailbox {
	struct list link; /* of box.views */
	struct box *box;
	unsigned mode;
	uint32_t *uid;
	size_t n, cap;
	uint32_t *recent; /* UIDs that this view saw first, ascending */
	size_t recents, recent_cap;
	uint64_t told_modseq, told_changes, told_expunges;
	uint32_t told_uidnext;
	struct modseq_range *quiet; /* own silent changes, ascending */
	size_t quiets, quiet_cap;
	char *data; /* mailbox_read() */
	size_t data_n, data_cap;
	uint32_t data_uid;
	bool data_whole;
	void (*on_change)(void *arg);
	void *on_change_arg;
};

struct store {
	struct store_loc loc;
	struct list boxes;
	struct {
		char name[STORE_NAME_MAX + 1];
		uint32_t flag;
	} special[16];
	size_t specials;
};

/* ---- box.c ---- */
MUST_CHECK enum rc box_get(struct store *s, struct span name, struct box **out,
			   struct err *e); /* counts a reference */
void box_put(struct box *b);
MUST_CHECK enum rc box_lock(struct box *b, struct err *e); /* and applies what others appended; nests */
void box_unlock(struct box *b);				   /* appends box.log */
/* Brings msg up to date with the disk; `view` (may be NULL) takes what is in new/ for its own. */
MUST_CHECK enum rc box_sync(struct box *b, struct mailbox *view, bool force, struct err *e);
struct message *box_find(const struct box *b, uint32_t uid);
size_t box_index_from(const struct box *b,
		      uint32_t uid); /* of the first message with that UID or a greater one */
struct span box_file_name(const struct box *b, const struct message *m);
/* Adds at the end: uid must be greater than all. Logs it. */
struct message *box_add(struct box *b, const struct message *m, struct span name);
void box_set_flags(struct box *b, struct message *m, uint32_t flags, uint64_t keywords, uint8_t where,
		   struct span name);
void box_remove_marked(struct box *b, const bool *gone); /* gone[i]: msg[i] goes; logs it */
void box_clear(struct box *b);
void box_changed(struct box *b);
void view_add_recent(struct mailbox *v, uint32_t uid);
int box_keyword(struct box *b, struct span name, bool make); /* saves dovecot-keywords when made */

/* ---- index.c ---- */
MUST_CHECK enum rc index_open(struct box *b, struct err *e); /* RC_NOTFOUND: none or damaged: start empty */
MUST_CHECK enum rc index_catch_up(struct box *b, struct err *e); /* RC_NOTFOUND as above */
void index_log_add(struct box *b, const struct message *m, struct span name);
void index_log_flags(struct box *b, const struct message *m, struct span name);
void index_log_expunge(struct box *b, uint32_t uid);
void index_log_info(struct box *b, const struct message *m);
void index_log_keyword(struct box *b, size_t i);
void index_log_state(struct box *b);
void index_write(struct box *b); /* appends box.log or rewrites the file; failure only costs time later */

/* ---- uidlist.c ---- */
struct uidlist_entry {
	uint32_t uid;
	struct span base;
};
struct uidlist {
	uint32_t uidvalidity, uidnext; /* 0: none */
	struct uidlist_entry *v;
	size_t n;
	struct table *by_base; /* -> struct uidlist_entry */
	struct buf text;
};
MUST_CHECK enum rc uidlist_read(struct box *b, struct uidlist *u,
				struct err *e); /* RC_NOTFOUND: none, or not one */
void uidlist_free(struct uidlist *u);
MUST_CHECK enum rc uidlist_append(struct box *b, size_t from, struct err *e); /* msg[from..n), synced */
MUST_CHECK enum rc uidlist_rewrite(struct box *b, struct err *e);
bool uidlist_changed(struct box *b); /* by somebody else */
void keywords_read(struct box *b);
void keywords_write(struct box *b);

/* ---- maildir_sync.c ---- */
MUST_CHECK enum rc maildir_sync(struct box *b, struct mailbox *view, bool force, struct err *e);
/* Flags from the letters behind ":2,"; letters that mean nothing are left out. */
void maildir_name_flags(const struct box *b, struct span name, uint32_t *flags, uint64_t *keywords);
/* "<base>:2,<letters>", keeping letters of `old` that are unknown here. False: too long. */
bool maildir_make_name(const struct box *b, struct span old, uint32_t flags, uint64_t keywords, char *out,
		       size_t size);
struct span maildir_base(struct span name);
bool stamp_get(const char *path, struct stamp *out);
bool stamp_eq(const struct stamp *a, const struct stamp *b);
/* Around our own changes of new/ or cur/: when nothing else had changed before, nothing is to be read again
 * after. */
void maildir_before(struct box *b, bool same[2]);
void maildir_after(struct box *b, const bool same[2]);
bool maildir_file_path(const struct box *b, uint8_t where, struct span name, char out[STORE_FILE_MAX]);

/* ---- mbox_box.c ---- */
MUST_CHECK enum rc mbox_sync(struct box *b, bool force, struct err *e);
MUST_CHECK enum rc mbox_read(struct box *b, const struct message *m, struct buf *out, struct err *e);
/* Writes flags and UIDs into the file, without the messages with gone[i] (NULL: none). */
MUST_CHECK enum rc mbox_rewrite(struct box *b, const bool *gone, struct err *e);

#endif
