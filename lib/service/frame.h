/* service/frame.h - the state of the frame; shared by the files of this folder alone. */
#ifndef SERVICE_FRAME_H
#define SERVICE_FRAME_H

#include "service/masterproto.h"
#include "service/service.h"
#include "task/task.h"

struct frame {
	const struct service *s;
	struct conf *conf;
	struct arena arena; /* for the life of the process */
	/* from the arguments */
	const char *name, *type;
	bool chroot, one_uid;
	unsigned lane, listeners, verbose;
	int64_t maxproc;
	char **argv; /* what follows the options */
	size_t argc;
	/* identity */
	uid_t uid;
	gid_t gid;
	const char *queue_prefix;
	pid_t master;
	/* the life of the process */
	int64_t session_limit, session_total; /* 0: none */
	int64_t sessions, served, holds;
	bool draining, busy;
	bool ending; /* drain() is told (again) when a stop follows a reload */
};
extern struct frame frame;

/* args.c: fills the part "from the arguments"; *overrides are "name=value" words in order. die() on nonsense.
 */
void args_parse(int argc, char **argv, struct span **overrides, size_t *n);

/* identity.c: the ritual, in three parts. die() on trouble. */
void identity_find(void);    /* while names can be resolved */
void identity_take(void);    /* chroot, groups, gid, uid */
void identity_confine(void); /* landlock, threads, seccomp */

/* channel.c: records to and from master. */
void channel_start(void); /* starts the reader task */
void channel_send(enum mp_type type, uint32_t serial, int64_t value,
		  const char *name); /* never waits for long */
/* MP_CONNECT and its answer. */
MUST_CHECK enum rc channel_connect(const char *service, int *fd, deadline_t d, struct err *e);

/* hello.c: who is at the other end of an accepted UNIX connection. */
enum hello_kind { HELLO_OURS, HELLO_PUBLIC, HELLO_TRIGGER };
/* Waits for the first bytes. For HELLO_TRIGGER they were consumed (trigger, NUL-terminated). */
MUST_CHECK enum rc hello_read(int fd, enum service_kind kind, struct ipc_peer *peer, enum hello_kind *what,
			      char *trigger, size_t size, struct err *e);

/* pass.c: a listener of type "pass": on each of its connections a client's connection is handed over. Waits for it; *s gets its
 * addresses, and *fd the descriptor in place of the carrier's, which is closed. */
MUST_CHECK enum rc pass_receive(int *fd, struct service_conn *c, struct err *e);

/* datagram.c: SV_DGRAM. */
void datagram_start(unsigned index);
void datagram_rest(unsigned index); /* draining: what was sent before is still taken */

/* strangers.c: counts the connections that a uid has made by itself to a UNIX socket. False: that uid has enough. `uid` is for
 * stranger_leave(). */
#define STRANGER_NONE ((uid_t)-1)
bool stranger_enter(int fd, uid_t *uid);
void stranger_leave(uid_t uid);

/* session.c */
void accept_start(void);
void accept_stop(void); /* draining: what nobody listens on any more shall refuse connections */
void session_hand(int fd, unsigned index); /* MP_SESSION: a connection that was accepted for us */
bool session_any_busy(void);		   /* SV_IPC: a request waits for its reply */
void session_wake(void);		   /* there is room again, or the process drains */

/* life.c */
void life_init(void);
void life_session_begins(void);
void life_session_ends(void);
void life_end(bool soon); /* MP_DRAIN */
void life_drain(void);	  /* reload, master gone, or total reached */
void life_check(void);	  /* ends the loop when nothing is left to do */
void life_wakeup(const char *trigger);

#endif
