/* store/store.h - mailboxes: where they are, how mail gets into them, how it is read. One library for delivery
 * (local, virtual, lmtp), imapd and pop3d.
 *
 * Maildir++ ("INBOX" is the root, folder "a.b" is the directory ".a.b", separator '.') and mbox (a file per folder
 * below a directory, separator '/'; INBOX may be elsewhere). Other programs may change both at any time.
 *
 * Beside a mailbox stand
 *   dovecot-uidlist   UIDVALIDITY and UID of every Maildir message: the durable record, in Dovecot's version 3 format, so
 *                     that a Maildir keeps its UIDs on the way here (and back);
 *   dovecot-keywords  letter a..z in a Maildir file name -> keyword; subscriptions: one folder name a line;
 *   postern.index     flags, sizes, dates, names, modseq: a log of checksummed records (store/index.h). May vanish or be damaged at
 *                     any time: rebuilt from the mailbox and the uidlist;
 *   postern.cache     ENVELOPE and BODYSTRUCTURE as text, by offset from the index; equally expendable.
 * Flags of a Maildir live in the file names. Of an mbox flags and UIDs go into Status:, X-Status:, X-Keywords:, X-UID:,
 * X-IMAPbase: when the file is rewritten (expunge, last close).
 *
 * Calls here wait for the disk in the kernel. The process of one user calls them directly; who serves several users
 * in one process runs store_deliver() through task_offload() (threads that deliver at once commit together). Names and texts are spans
 * of the caller unless said otherwise. Errors common to all: RC_SYS; RC_NOTFOUND no such folder or message; RC_SYNTAX
 * a name that cannot be a folder's; RC_LIMIT; RC_AGAIN a lock that others hold too long. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"

#define STORE_PATH_MAX	 1024
#define STORE_NAME_MAX	 200 /* bytes of a folder name; Maildir++ makes one directory name of it */
#define STORE_DEPTH_MAX	 16
#define STORE_FOLDER_MAX 10000

/* ---- where ---- */
enum store_kind { STORE_MAILDIR, STORE_MBOX };
struct store_loc {
	enum store_kind kind;
	char root
	    [STORE_PATH_MAX]; /* no final slash; of an mbox location the directory of folders, "" when there are none */
	char inbox[STORE_PATH_MAX];   /* Maildir: same as root unless INBOX= says otherwise; mbox: the file */
	char index[STORE_PATH_MAX];   /* INDEX=: where postern.* go; "": beside the mailbox */
	char control[STORE_PATH_MAX]; /* CONTROL=: uidlist, keywords, subscriptions; "": beside the mailbox */
};
/* "maildir:~/Maildir", "mbox:~/mail:INBOX=/var/mail/%u:INDEX=...", "/path/" (final slash: maildir), "/path" (mbox file).
 * ~ and %h are `home`, %u `user`, %n and %d its parts, %% a percent sign. home and user may be "". Relative paths are below home.
 * An mbox location that names no INBOX= has it in root/inbox, or is itself the INBOX when written without "mbox:".
 * RC_SYNTAX: unknown format or option, a relative path without home, "/../" inside, too long. */
MUST_CHECK enum rc store_loc_parse(struct span text, const char *home, const char *user,
				   struct store_loc *out, struct err *e);

/* ---- delivery ---- */
struct store_extent {
	uint64_t off, len;
};
struct store_lock { /* mailbox_delivery_lock; only mbox is locked */
	bool fcntl, flock, dotlock;
	unsigned attempts; /* deliver_lock_attempts */
	unsigned delay_ms; /* deliver_lock_delay */
	int64_t stale_s;   /* stale_lock_time: an older dotlock is removed */
};
extern const struct store_lock store_lock_default; /* fcntl, dotlock, 20 attempts, 1 s, 500 s */
/* "fcntl, dotlock" -> fields; RC_SYNTAX for other words. */
MUST_CHECK enum rc store_lock_parse(struct span words, struct store_lock *out);
/* A mailbox of at most `mailbox` bytes has room for a message of `message` bytes; 0: any number. */
static inline bool store_limit_takes(uint64_t mailbox, uint64_t message)
{
	return mailbox == 0 || (message != 0 && message <= mailbox);
}

/* The dotlock of `path` alone, for somebody else who delivers with how->dotlock off. Waits. `dot` gets the name
 * to unlink; "": it cannot be made there, and another lock of `how` has to do.
 * errors   RC_AGAIN held by others; RC_DENIED cannot be made, and there is no other; RC_LIMIT; RC_SYS */
MUST_CHECK enum rc mbox_dotlock(const char *path, const struct store_lock *how, char *dot, size_t size,
				struct err *e);

struct store_delivery {
	struct span qid;       /* with recipient: what tells a repeated delivery; "" never looked for */
	struct span recipient; /* as delivered to (final form) */
	struct span sender;    /* mbox From_ line; "" becomes MAILER-DAEMON */
	struct span
	    prefix; /* header lines put before the content (Return-Path, X-Original-To, Delivered-To); LF line ends */
	const struct span *piece; /* content in memory, LF line ends, in order */
	size_t pieces;
	int fd; /* or, when pieces is 0: a file and its extents */
	const struct store_extent *extent;
	size_t extents;
	int64_t arrival_us; /* wall clock; 0 now */
	uint64_t
	    max_bytes; /* mailbox_size_limit: of the message in a Maildir, of the file for an mbox; 0 none. RC_LIMIT */
	const struct store_lock *lock; /* NULL: store_lock_default */
};
/* Deliveries into Maildirs that run at once (threads of one process) are committed together; more than this gain nothing. */
#define STORE_DELIVERIES 16
struct store_delivered {
	bool repeated;	/* it was there already: nothing was written (an earlier attempt got that far) */
	uint64_t bytes; /* written */
	char name[256]; /* Maildir: file name; mbox: "" */
};
/* Puts one message into `folder` ("INBOX", or an existing one; RC_NOTFOUND otherwise; the INBOX is made when missing), complete and on
 * stable storage when RC_OK comes back, else not at all. As the mailbox's owner: call it with that uid.
 *
 * Maildir: the file name is "<arrival seconds>.P<qid>R<hash of recipient>.<host>,S=<size>,W=<size with CRLF>". qid, recipient and
 * arrival are the same at every attempt, so this very name in new/, or one beginning with "<seconds>.P<qid>R<hash>." in cur/,
 * is this very message: it is synced again and reported as repeated. The content goes into an unnamed file (O_TMPFILE, or
 * tmp/ where that is not offered), is linked into new/, then file and new/ are synced: no crash leaves the message in
 * tmp/ only, also when queue and mailbox are on different file systems.
 *
 * mbox: From_ line, content with "From " quoted as ">From ", empty line; under locks; synced; cut back to the former length on failure. A
 * repeated delivery is a message behind the last one older than arrival_us that begins with the same `prefix` and has the
 * queue id in its header (store/mbox_deliver.c); a torn one at the end of the file is cut off and written again. Where
 * the content's header lacks the queue id, "X-Postern-Id: <qid>" follows the prefix. */
MUST_CHECK enum rc store_deliver(const struct store_loc *loc, const char *folder,
				 const struct store_delivery *m, struct store_delivered *out, struct err *e);

/* ---- a user's mailboxes ---- */
struct store; /* opaque: one per user and process; shares open mailboxes between sessions */
/* Makes the root and INBOX when missing. */
MUST_CHECK enum rc store_open(const struct store_loc *loc, struct store **out, struct err *e);
void store_close(struct store **s); /* after all mailboxes */
char store_separator(const struct store *s);
const struct store_loc *store_location(const struct store *s);

#define FOLDER_NOSELECT	   (1u << 0) /* only a name above others */
#define FOLDER_CHILDREN	   (1u << 1)
#define FOLDER_SUBSCRIBED  (1u << 2)
#define FOLDER_DRAFTS	   (1u << 4) /* RFC 6154, by name: see store_special_use() */
#define FOLDER_SENT	   (1u << 5)
#define FOLDER_TRASH	   (1u << 6)
#define FOLDER_JUNK	   (1u << 7)
#define FOLDER_ARCHIVE	   (1u << 8)
#define FOLDER_NONEXISTENT (1u << 9) /* subscribed, but not there */
struct store_folder {
	struct span name; /* as on the wire: modified UTF-7, RFC 3501 5.1.3 */
	uint32_t flags;
};
/* All folders sorted by name, INBOX first; names above others that do not exist themselves are there as NOSELECT; subscribed names that
 * are gone as NONEXISTENT. At most STORE_FOLDER_MAX. */
MUST_CHECK enum rc store_folders(struct store *s, struct arena *a, struct store_folder **out, size_t *n,
				 struct err *e);
/* "Drafts=\\Drafts Sent=\\Sent Trash=\\Trash Junk=\\Junk": names that carry a special use; with `create` they are made and subscribed. */
MUST_CHECK enum rc store_special_use(struct store *s, struct span words, bool create, struct err *e);
MUST_CHECK enum rc store_create(struct store *s, struct span name, struct err *e); /* RC_DENIED: exists */
MUST_CHECK enum rc store_delete(struct store *s, struct span name, struct err *e); /* RC_DENIED: INBOX */
/* With everything below it; renaming INBOX moves its messages into a new folder (RFC 3501 6.3.5). RC_DENIED: the new name exists. */
MUST_CHECK enum rc store_rename(struct store *s, struct span from, struct span to, struct err *e);
MUST_CHECK enum rc store_subscribe(struct store *s, struct span name, bool on, struct err *e);
bool store_name_valid(const struct store *s, struct span name);

/* ---- one mailbox ---- */
/* Flags as bits, in the order of RFC 3501 2.3.2. */
#define MSG_SEEN	   (1u << 0)
#define MSG_ANSWERED	   (1u << 1)
#define MSG_FLAGGED	   (1u << 2)
#define MSG_DELETED	   (1u << 3)
#define MSG_DRAFT	   (1u << 4)
#define MSG_PASSED	   (1u << 5) /* Maildir's P; $Forwarded on the wire */
#define MSG_RECENT	   (1u << 6) /* of the view that first saw it; never stored */
#define MSG_FLAGS	   0x3fu
#define STORE_KEYWORDS_MAX 64

struct message {
	uint32_t uid;
	uint32_t flags;	   /* MSG_ without MSG_RECENT */
	uint64_t keywords; /* bit i: mailbox_keyword(i) */
	uint64_t modseq;
	uint64_t size;	/* bytes as stored */
	uint64_t vsize; /* with CRLF line ends; see mailbox_vsize() */
	int64_t date_s; /* INTERNALDATE */
	/* private to lib/store */
	uint64_t pos;	    /* mbox: offset of the From_ line */
	uint64_t cache_off; /* in postern.cache, 0 none */
	uint32_t name_off;  /* in the mailbox's heap of names */
	uint16_t name_len;
	uint8_t where; /* new/, cur/ */
	uint8_t have;
};

struct
    mailbox; /* opaque: one session's view. Its list of UIDs (sequence numbers) changes in mailbox_news() only */
#define MAILBOX_READONLY 1 /* EXAMINE: nothing moves from new/ to cur/ */
MUST_CHECK enum rc mailbox_open(struct store *s, struct span name, unsigned mode, struct mailbox **out,
				struct err *e);
void mailbox_close(struct mailbox **m); /* NULL is fine */
const char *mailbox_name(const struct mailbox *m);
uint32_t mailbox_uidvalidity(const struct mailbox *m);
uint32_t mailbox_uidnext(const struct mailbox *m);
uint64_t mailbox_highest_modseq(const struct mailbox *m);
size_t mailbox_keywords(const struct mailbox *m);
const char *mailbox_keyword(const struct mailbox *m, size_t i); /* NULL past the end */
/* Bit number of a keyword, made when missing and `make`; -1: unknown or no room. */
int mailbox_keyword_bit(struct mailbox *m, struct span name, bool make);

size_t mailbox_count(const struct mailbox *m);		   /* of the view */
uint32_t mailbox_uid(const struct mailbox *m, size_t seq); /* 1-based */
size_t mailbox_seq(const struct mailbox *m, uint32_t uid); /* 0: not in the view */
size_t mailbox_seq_from(const struct mailbox *m,
			uint32_t uid); /* first with that UID or a greater one; count + 1 at the end */
bool mailbox_recent(const struct mailbox *m, size_t seq);
size_t mailbox_recent_count(const struct mailbox *m);
/* NULL when it was expunged meanwhile by somebody (the view still counts it). Valid until the next call that may
 * change the mailbox (poll, store, expunge, append). */
const struct message *mailbox_message(const struct mailbox *m, size_t seq);
/* mbox and foreign Maildir files have no W=: counted by reading on first need, then remembered. */
MUST_CHECK enum rc mailbox_vsize(struct mailbox *m, size_t seq, uint64_t *bytes, struct err *e);

/* Looks whether the mailbox was changed on disk (two stat calls when not). */
MUST_CHECK enum rc mailbox_poll(struct mailbox *m, struct err *e);
/* Tells the difference between view and mailbox, and updates the view: first what was expunged (each with the sequence number it
 * has at that moment, in ascending order), then flag changes, then new messages.
 * expunge NULL: expunged messages stay in the view (RFC 3501 7.4.1). flags(): message changed by somebody else than through `m` since
 * the last time. exists(): the new count. */
struct mailbox_sink {
	void (*expunge)(void *arg, size_t seq, uint32_t uid);
	void (*flags)(void *arg, size_t seq);
	void (*exists)(void *arg, size_t count, size_t recent);
};
void mailbox_news(struct mailbox *m, const struct mailbox_sink *sink, void *arg);
/* Directories whose change means news (inotify IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE, or IN_MODIFY of the mbox): at most 2. */
size_t mailbox_watch_paths(const struct mailbox *m, const char *out[2]);
/* A number that grows with every change that any session of this process knows of: compare instead of polling. */
uint64_t mailbox_changes(const struct mailbox *m);
/* Calls fn(arg) whenever it grows through another session of this process (IDLE). One per view; NULL ends it. */
void mailbox_on_change(struct mailbox *m, void (*fn)(void *arg), void *arg);

enum flags_op { FLAGS_SET, FLAGS_ADD, FLAGS_REMOVE };
/* For the messages seq[0..n): flags and keyword bits. Those gone meanwhile are skipped. `silent`: mailbox_news() of this view does not tell
 * these changes. unchanged_since: RFC 7162, UINT64_MAX none; those with a greater modseq stay and are marked in failed[i] (may be NULL). */
MUST_CHECK enum rc mailbox_flags(struct mailbox *m, const size_t *seq, size_t n, enum flags_op op,
				 uint32_t flags, uint64_t keywords, bool silent, uint64_t unchanged_since,
				 bool *failed, struct err *e);
/* Removes messages of the view that have \Deleted (all, or the given UIDs only); mailbox_news() tells it. */
MUST_CHECK enum rc mailbox_expunge(struct mailbox *m, const uint32_t *uid, size_t n, bool only_given,
				   struct err *e);
/* Removes the given ones whether \Deleted or not (POP3 QUIT, MOVE). */
MUST_CHECK enum rc mailbox_remove(struct mailbox *m, const uint32_t *uid, size_t n, struct err *e);

/* The whole message as stored (LF, or CRLF where somebody stored it so), read into memory of the mailbox: valid until the next read
 * on this view or mailbox_read_done(). RC_GONE: expunged meanwhile. */
MUST_CHECK enum rc mailbox_read(struct mailbox *m, size_t seq, struct span *content, struct err *e);
/* At most the first `n` bytes: headers. */
MUST_CHECK enum rc mailbox_read_head(struct mailbox *m, size_t seq, size_t n, struct span *content,
				     struct err *e);
void mailbox_read_done(struct mailbox *m); /* gives the memory back */
/* A Maildir message as a descriptor (the caller closes it): for stream_sendfile(). RC_DENIED for mbox. */
MUST_CHECK enum rc mailbox_open_message(struct mailbox *m, size_t seq, int *fd, struct err *e);
/* Stable id of a message for POP3 UIDL, as Dovecot makes it by default ("%08Xu%08Xv": UID, UIDVALIDITY). */
#define MAILBOX_UIDL_MAX 32
void mailbox_uidl(const struct mailbox *m, size_t seq, char out[MAILBOX_UIDL_MAX]);

/* Cached text of a message: an opaque blob per message; imapd keeps ENVELOPE and BODYSTRUCTURE in it. RC_NOTFOUND: none yet. */
MUST_CHECK enum rc mailbox_cache_get(struct mailbox *m, size_t seq, struct span *blob);
void mailbox_cache_put(struct mailbox *m, size_t seq, struct span blob);
void mailbox_cache_flush(struct mailbox *m); /* writes what was put, in one piece */

/* ---- new messages through IMAP ---- */
struct mailbox_append; /* opaque: one message being written */
MUST_CHECK enum rc mailbox_append_open(struct store *s, struct span folder, struct mailbox_append **out,
				       struct err *e);
/* Any line ends; CRLF becomes LF. */
MUST_CHECK enum rc mailbox_append_write(struct mailbox_append *ap, struct span data, struct err *e);
struct mailbox_appended {
	uint32_t uidvalidity, uid;
};
/* Completes: on stable storage with its UID when RC_OK. Frees ap in any case. date_s: INT64_MIN is now. keywords by name. */
MUST_CHECK enum rc mailbox_append_commit(struct mailbox_append **ap, uint32_t flags,
					 const struct span *keyword, size_t keywords, int64_t date_s,
					 struct mailbox_appended *out, struct err *e);
void mailbox_append_abort(struct mailbox_append **ap); /* NULL is fine */
/* Copies (`move`: moves) messages with flags, keywords and date. to_uid[i] is the new UID (0: the message was gone). All or none. */
MUST_CHECK enum rc mailbox_copy(struct mailbox *m, const size_t *seq, size_t n, struct span to, bool move,
				uint32_t *to_uid, uint32_t *uidvalidity, struct err *e);

/* STATUS and the like without a view. */
struct store_status {
	uint32_t messages, recent, unseen, uidnext, uidvalidity;
	uint64_t highest_modseq, size;
};
MUST_CHECK enum rc store_status(struct store *s, struct span name, struct store_status *out, struct err *e);

#endif
