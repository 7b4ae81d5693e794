/* sandbox/sandbox.h - giving up rights, in one order for all (see service/service.h): groups, gid, uid, proof that there
 * is no way back, no_new_privs, not dumpable, landlock, seccomp. What the kernel does not offer is logged once; seccomp is required.
 *
 * `rights` is a list of words; every other system call fails with EPERM, and a SIGSYS handler logs "sandbox: denied CALL"
 * (a few times for each call; SIGSYS must not be blocked, or the denied call kills the process):
 *   stdio    read, write, send and receive on what is open; memory, time, futex, epoll, threads that exist; always granted
 *   accept   accept on inherited listeners
 *   recvfd   socketpair (descriptors travel on channels that exist: part of stdio)
 *   inet     create TCP and UDP sockets, bind, connect
 *   udp      create UDP (and TCP, for truncated answers) sockets, connect: the resolver
 *   unix     create UNIX sockets and connect
 *   rpath    open files for reading, stat, directories (landlock says where)
 *   wpath    open for writing, create, rename, link, unlink, truncate, fsync, mkdir (landlock says where)
 *   wfile    as wpath, but nothing that changes a file by its name: the landlock of Linux before 6.2 does not see
 *            truncate(2), which matters to a process that is root
 *   chown    change owner, mode and times of files
 *   flock    fcntl locks and flock
 *   id       setuid family (root monitors only)
 *   fork     fork, wait
 *   exec     execve. What is exec'd inherits the filter, so with this word the filter turns from a list of what is
 *            allowed into a list of what nobody needs (ptrace, mount, modules, bpf ...)
 *   kill     signal others
 *   thread   create threads (offload that was not pre-started)
 *   watch    inotify
 *   confine  enter a tighter sandbox later (monitors, whose children do: filters only ever add up) */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include "base/rc.h"
#include <stdbool.h>
#include <sys/types.h>

#define SB_READ	 1 /* read files and directories below */
#define SB_WRITE 2 /* change, create, remove, rename below */
#define SB_EXEC	 4

struct sandbox_path {
	const char *path;
	int access; /* SB_... ; a path that does not exist is skipped */
};

/* Name -> ids from the user database; RC_NOTFOUND with the story. Call before chroot. */
MUST_CHECK enum rc sandbox_user(const char *name, uid_t *uid, gid_t *gid, struct err *e);
/* The identities of the suite itself: noted by service_main, never taken on by a child of a monitor (asuser/asuser.h). */
void sandbox_reserve(uid_t uid);
bool sandbox_reserved(uid_t uid);
/* chroot + chdir("/"). */
MUST_CHECK enum rc sandbox_chroot(const char *dir, struct err *e);
/* Sets groups, gid, uid for good and proves it. `groups` beyond gid may be 0. Without root (one-uid mode):
 * checks nothing, RC_OK. */
MUST_CHECK enum rc sandbox_become(uid_t uid, gid_t gid, const gid_t *groups, size_t ngroups, struct err *e);
/* no_new_privs, PR_SET_DUMPABLE 0, empties capability sets and the bounding set (keep_caps: list of CAP_
 * numbers ended by -1, may be NULL), landlock with exactly `paths` (n may be 0: nothing), TCP rules when
 * "inet" is not among the rights, scopes for signals and abstract sockets, then seccomp with `rights`. After
 * it the process can never get more. */
MUST_CHECK enum rc sandbox_enter(const char *rights, const struct sandbox_path *paths, size_t n,
				 const int *keep_caps, struct err *e);
/* The two halves of sandbox_enter(), for one who starts threads between them: threads inherit what the first
 * one took away (it works on the calling thread), and the second reaches all threads. */
MUST_CHECK enum rc sandbox_confine(const char *rights, const struct sandbox_path *paths, size_t n,
				   const int *keep_caps, struct err *e);
MUST_CHECK enum rc sandbox_filter(const char *rights, struct err *e);
/* Landlock only, for a second, tighter round later. */
MUST_CHECK enum rc sandbox_restrict_paths(const struct sandbox_path *paths, size_t n, struct err *e);
/* Whether the list `rights` has the word. */
bool sandbox_has(const char *rights, const char *word);
/* Closes every descriptor from `first` up. */
void sandbox_close_fds_from(int first);
int sandbox_landlock_abi(void); /* 0: not there */

#endif
