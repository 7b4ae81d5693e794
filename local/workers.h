/* local/workers.h - children that are the recipients: one per identity, kept for a while, asked over a
 * channel of its own.
 *
 * A child does what only the recipient may do: write a mailbox, read .forward. It takes many requests at
 * once. A command has a child of its own, which ends with it. */
#ifndef LOCAL_WORKERS_H
#define LOCAL_WORKERS_H

#include "agent.h"
#include "asuser/asuser.h"

#define WORKER_IDLE_S 60
/* What a program of the user's may want; it cannot gain anything by set-uid programs (no_new_privs). */
#define WORKER_EXEC_RIGHTS "stdio recvfd rpath wpath chown flock thread watch inet udp unix fork kill exec"

/* What is done as root for root's mail (struct asuser_conf: root_pick, root_dir, root_enter, root_files); dir NULL: no mailbox. */
struct worker_root {
	enum rc (*pick)(const struct asuser_id *id, struct err *e);
	const char *dir;
	const char *const *files;
	enum rc (*enter)(int fd, struct sandbox_path *out, size_t max, size_t *n, struct err *e);
};

/* In prepare(), as root. `root`: NULL: nothing is delivered as root. `extra`: further directories every child may read and write (mail_spool_directory);
 * they stay the caller's. */
void workers_prepare(const char *name, uint32_t min_uid, const char *const *extra, size_t n,
		     const struct worker_root *root);
/* Before it: the root directory of all children, which must outlive the process; "": none. */
void workers_chroot(const char *dir);
/* One request to the identity's child, which is started when there is none. When it dies on the way, once
 * more to a new one. RC_DENIED: this identity is refused; RC_AGAIN, RC_EOF, RC_TIMEOUT: later. */
MUST_CHECK enum rc worker_ask(const struct asuser_id *id, uint16_t type, const void *request, void *reply,
			      struct arena *a, int64_t timeout_s, struct err *e);
/* The same with a child for this request alone, once: commands. */
MUST_CHECK enum rc worker_run_alone(const struct asuser_id *id, uint16_t type, const void *request,
				    void *reply, struct arena *a, int64_t timeout_s, struct err *e);
/* True when the string fits and has no inner NUL. */
bool worker_text(char *dst, size_t size, struct span s);

/* child.c: serves requests until the front closes the channel. */
int worker_main(int fd, const struct asuser_id *id);
/* Around every request. */
void child_begin(void);
void child_end(void);
/* child_store.c, child_read.c, child_run.c, root.c: its handlers. */
void root_store(struct ipc_call *call, const void *request);
void child_store(struct ipc_call *call, const void *request);
void child_read(struct ipc_call *call, const void *request);
void child_run(struct ipc_call *call, const void *request);

#endif
