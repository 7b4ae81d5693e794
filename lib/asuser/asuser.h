/* asuser/asuser.h - work done as another user, by a root monitor that reads only one fixed-size record.
 *
 * asuser_start() is called in service.prepare(), while root: it forks the monitor (sandboxed to id, fork,
 * kill) and returns; the daemon then drops its rights. asuser_run() asks the monitor to fork a child that
 * becomes (uid, gid, groups of `user`), is confined (landlock: `dir` and what child_paths adds; seccomp:
 * child_rights), and calls child_main(fd, &id) with its end of a SOCK_SEQPACKET or SOCK_STREAM pair; the
 * caller gets the other end. Where conf.ticket_dir is set, the caller is not believed: asuser_redeem() hands
 * over a ticket, and the monitor has auth(8) tell whom it stands for (asuser/ticket.h); asuser_run() is refused
 * then. Without root (one-uid mode) the child stays what the caller is, and only its own
 * uid is accepted. The monitor refuses uid 0, uids below `min_uid`, and the uids of the suite's own users.
 * One exception is made, for a daemon that asks for it: root's own mailbox (conf.root_dir). The request names no path
 * then; what the child may touch is what the daemon's configuration said while root.
 * One child per call; who wants one per user keeps the descriptor (a process per principal serves all
 * connections of that user). */
#ifndef ASUSER_ASUSER_H
#define ASUSER_ASUSER_H

#include "base/rc.h"
#include "sandbox/sandbox.h"
#include <stdbool.h>
#include <stdint.h>

#define ASUSER_NAME_MAX 128
#define ASUSER_PATH_MAX 512

/* Fixed size; validated in the monitor: NUL-terminated, absolute path without "..", printable name. */
struct asuser_id {
	char user[ASUSER_NAME_MAX]; /* for initgroups and messages; need not exist in passwd */
	uint32_t uid, gid;
	char home[ASUSER_PATH_MAX];
	char dir[ASUSER_PATH_MAX]; /* the directory tree the child may read and write; made (0700, owned) when
				      missing and make_dir; "" none */
	uint8_t make_dir;
	uint8_t allow_exec;	    /* delivery to a command: the child has conf.exec_rights */
	uint8_t root_mailbox;	    /* uid and gid 0, no paths, no exec: the child of conf.root_dir */
	char tag[64];		    /* told to child_main: "imap", "local" ... */
	char mail[ASUSER_PATH_MAX]; /* told to child_main and child_paths: the mail location as text; "" none
				     */
};

struct asuser_conf {
	const char *name;	   /* process title and log service of monitor and children */
	bool seqpacket;		   /* kind of the socket pair */
	uint32_t min_uid, max_uid; /* 0: no bound (uid 0 is refused always) */
	const char *child_rights;  /* sandbox words; "exec" counts for children with allow_exec only */
	const char *exec_rights;   /* of those with allow_exec; NULL: child_rights */
	size_t (*child_paths)(const struct asuser_id *id, struct sandbox_path *out,
			      size_t max);		       /* more paths; may be NULL */
	int (*child_main)(int fd, const struct asuser_id *id); /* its value is the exit status; has no loop
								  yet: loop_after_fork() was called */
	unsigned max_children;				       /* 0: 1000 */
	const char
	    *ticket_dir; /* private/ of the queue directory: identities come from auth alone; NULL: from
				   the caller */
	const char *ticket_service; /* "imap": tickets of this service count */
	const char *chroot_dir;	    /* the children's root directory; NULL or "": the monitor's */
	/* Root's mailbox; NULL: uid 0 is refused always. root_enter is called in the child, which is root without
	 * capabilities, confined to root_dir (the mailbox's directory): it makes and locks the mailbox and says
	 * which paths are left after that, relative to nothing a stranger can change. It may fork a holder of its
	 * locks; `fd` is the child's end of the channel. */
	const char *root_dir, *root_rights;
	enum rc (*root_enter)(int fd, struct sandbox_path *out, size_t max, size_t *n, struct err *e);
};

MUST_CHECK enum rc asuser_start(const struct asuser_conf *c, struct err *e);
/* In a task. *fd is the caller's. RC_DENIED: refused by the monitor; RC_AGAIN: too many children or no
 * memory; RC_GONE: the monitor has ended, and only a new process gets a new one. */
MUST_CHECK enum rc asuser_run(const struct asuser_id *id, int *fd, struct err *e);
/* As asuser_run, and *status_fd becomes readable with one int32_t (wait status) when the child ended. */
MUST_CHECK enum rc asuser_run_wait(const struct asuser_id *id, int *fd, int *status_fd, struct err *e);

/* As asuser_run, for the user that the ticket stands for; RC_DENIED also when it stands for nobody, or was spent. */
struct asuser_ticket;
MUST_CHECK enum rc asuser_redeem(const struct asuser_ticket *t, int *fd, struct err *e);

/* For any forked half that goes on with other rights than the daemon: closes all descriptors (listeners, the
 * channel to master, tables, keys) but 0..2, the log's and `keep`. */
void asuser_close_others(int keep);

#endif
