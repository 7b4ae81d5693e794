/* asuser/asuser.h - work done as another user, by a root monitor that reads only one fixed-size record.
 *
 * asuser_start() is called in service.prepare(), while root: it forks the monitor (sandboxed to id, fork,
 * kill) and returns; the daemon then drops its rights. asuser_run() asks the monitor to fork a child that
 * becomes (uid, gid, groups of `user`), is confined (landlock: `dir` and what child_paths adds; seccomp:
 * child_rights), and calls child_main(fd, &id) with its end of a SOCK_SEQPACKET or SOCK_STREAM pair; the
 * caller gets the other end. Where conf.ticket_dir is set, the caller is not believed: asuser_hand_over() takes its
 * place (below), and asuser_run() is refused. Without root (one-uid mode) the child stays what the caller is, and only its own
 * uid is accepted. The monitor refuses uid 0, uids below `min_uid`, and the uids of the suite's own users.
 * Two exceptions are made, for a daemon that asks for them: root's own mailbox (conf.root_dir), and files of root's that are
 * read (conf.root_files). The request names no path then; what the child may touch is what the daemon's configuration
 * said while root.
 * One child per call of asuser_run(); asuser_hand_over() uses one per user. */
#ifndef ASUSER_ASUSER_H
#define ASUSER_ASUSER_H

#include "base/span.h"
#include "sandbox/sandbox.h"
#include "task/task.h"
#include <stdbool.h>
#include <stdint.h>

#define ASUSER_NAME_MAX 128
#define ASUSER_PATH_MAX 512

#define ASUSER_ROOT_MAILBOX 1
#define ASUSER_ROOT_FILES   2

/* Fixed size; validated in the monitor: NUL-terminated, absolute path without "..", printable name. */
struct asuser_id {
	char user[ASUSER_NAME_MAX]; /* for initgroups and messages; need not exist in passwd */
	uint32_t uid, gid;
	char home[ASUSER_PATH_MAX];
	char dir[ASUSER_PATH_MAX]; /* the directory tree the child may read and write; made (0700, owned) when
				      missing and make_dir; "" none */
	uint8_t make_dir;
	uint8_t allow_exec; /* delivery to a command: the child has conf.exec_rights */
	uint8_t
	    root; /* ASUSER_ROOT_...: uid and gid 0, no paths, no exec: the child of conf.root_dir or root_files */
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
	/* Several accounts may have uid 0: makes what stands at root_dir and root_files that of id->user, one of those that the daemon knew
	 * while root; another name is an error. In the child, before anything else. NULL: there is one account. */
	enum rc (*root_pick)(const struct asuser_id *id, struct err *e);
	/* Root's mailbox; NULL: uid 0 is refused always. root_enter is called in the child, which is root without
	 * capabilities, confined to root_dir (the mailbox's directory): it makes and locks the mailbox and says
	 * which paths are left after that, relative to nothing a stranger can change. It may fork a holder of its
	 * locks; `fd` is the child's end of the channel. */
	const char *root_dir, *root_rights;
	enum rc (*root_enter)(int fd, struct sandbox_path *out, size_t max, size_t *n, struct err *e);
	/* Files that a child which is root without capabilities may read, and nothing else; those that are missing when it
	 * starts stay so for it. Ends with NULL; NULL: no such child. */
	const char *const *root_files;
};

MUST_CHECK enum rc asuser_start(const struct asuser_conf *c, struct err *e);
/* In a task. *fd is the caller's. RC_DENIED: refused by the monitor; RC_AGAIN: too many children or no
 * memory; RC_GONE: the monitor has ended, and only a new process gets a new one. */
MUST_CHECK enum rc asuser_run(const struct asuser_id *id, int *fd, struct err *e);
/* As asuser_run, and *status_fd becomes readable with one int32_t (wait status) when the child ended. */
MUST_CHECK enum rc asuser_run_wait(const struct asuser_id *id, int *fd, int *status_fd, struct err *e);

/* ---- by ticket: for a caller that meets the network ----
 *
 *	caller --ticket, bytes, descriptors--> monitor --bytes, descriptors--> child of the user
 *	   ^                                      | (ticket to auth, once: asuser/ticket.h)
 *	   +------------- struct asuser_answer ---+------------------------------+
 *
 * Each connection goes with a ticket of its own. The monitor learns from auth whose it is, and passes it to that user's
 * child: the one that runs, or a new one. The monitor alone holds the channels to the children. A caller that was taken over can
 * thus reach nobody who does not log in through it from then on: it cannot say for whom a connection is, it has no descriptor
 * that leads to a child but those of connections that were taken, and a ticket is good once. The monitor does not look into the
 * bytes, and never waits for a child. The children end with the monitor, and that with the caller. */
#define ASUSER_BYTES_MAX 9216
struct asuser_ticket;
/* In a task. Makes a pair of stream sockets, whose far end goes first, then `client` unless it is -1 (it stays the caller's), and
 * waits for the child's answer. *fd: the near end, after the answer; *pid: the child's, as it says itself.
 * errors   RC_LIMIT the child takes no more; RC_DENIED the ticket stands for nobody, was spent, or is of one who may not be served;
 *          RC_AGAIN no child, or it ended without an answer; RC_TIMEOUT; RC_GONE as for asuser_run() */
MUST_CHECK enum rc asuser_hand_over(const struct asuser_ticket *t, struct span bytes, int client, int *fd,
				    int32_t *pid, deadline_t d, struct err *e);
/* The monitor ends, and all children see the end of their channels. */
void asuser_end(void);

/* In the child: the next connection from the channel `fd`, which is child_main's. fds[1]: -1 when no `client` came.
 * errors   RC_AGAIN none is there; RC_EOF the channel is over; RC_SYNTAX one that makes no sense, and is gone */
MUST_CHECK enum rc asuser_take(int fd, void *bytes, size_t size, size_t *n, int fds[2]);
/* In the child, before anything else is written to fds[0]. */
void asuser_answer(int far_end, enum rc rc);

/* For any forked half that goes on with other rights than the daemon: closes all descriptors (listeners, the
 * channel to master, tables, keys) but 0..2, the log's and `keep`. */
void asuser_close_others(int keep);

#endif
