/* service/service.h - the frame of a daemon. main() is a table and `return service_main(argc, argv,
 * &table);`.
 *
 * service_main does, in one order for all: arguments (masterproto.h), main.cf and -o, log, `prepare` (root
 * still: open tables, read keys, start monitors), chroot, groups/gid/uid, landlock + seccomp from `rights`
 * and `paths`, `start` (may start tasks and use peers), MP_READY, then serves: SV_STREAM calls serve() in a
 * task per connection, SV_IPC starts a channel per connection and runs the handlers, SV_DGRAM calls datagram(). Only then the first byte
 * from outside is read.
 *
 * Sessions: at most `session_limit` at a time per process (the listener is left alone beyond; master is told)
 * and `session_total` in its life, then it retires and a fresh process takes over. MP_DRAIN (stop, reload)
 * retires at once. For SV_IPC a session is a connection, kept by its peer for long: there 0 means no limit,
 * and one process serves all. */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "conf/conf.h"
#include "ipc/ipc.h"
#include "sandbox/sandbox.h"
#include "task/stream.h"
#include <sys/socket.h>

#define DATAGRAM_MAX 8192

enum service_kind { SV_STREAM, SV_IPC, SV_DGRAM, SV_NONE /* only wake-ups */ };

/* A client connection of SV_STREAM. */
struct service_conn {
	struct stream
	    *io; /* the frame closes it when serve() returns (serve may set it NULL after taking it) */
	struct sockaddr_storage peer, local;
	socklen_t peer_len, local_len; /* 0 for UNIX sockets */
	unsigned listener;	       /* index of the listener */
	uid_t uid;		       /* SO_PEERCRED on UNIX sockets, else -1 */
	pid_t pid;
	struct ipc_peer from; /* program "" unless master made the connection for one of our own */
};

struct service {
	const char *name; /* program name: "smtpd" */
	enum service_kind kind;
	const char *user;   /* parameter that names the user: "mail_owner", "net_owner", "aux_owner",
			       "key_owner"; NULL stays root */
	const char *rights; /* sandbox/sandbox.h */
	/* Paths for landlock, asked after prepare(); returned array lives in `a`. NULL: none at all. */
	size_t (*paths)(struct arena *a, struct sandbox_path **out);
	const char *
	    queue_dirs; /* besides: directories below queue_directory to read and change, "incoming pool"; NULL none */
	bool chroot_empty;     /* chroot to the (empty, root-owned) directory queue_directory/empty */
	void (*prepare)(void); /* as root; configuration is loaded; die() on trouble */
	void (*start)(void);   /* sandboxed, loop running (inside a task); may be NULL */
	void (*serve)(struct service_conn *c); /* SV_STREAM */
	const struct ipc_handler *handlers;    /* SV_IPC; ends with .run == NULL */
	/* SV_DGRAM: what came, DATAGRAM_MAX bytes at most (more is cut), and who sent it, as the kernel says. Does not wait. */
	void (*datagram)(struct span bytes, const struct ucred *from);
	void (*gone)(struct ipc_chan *c); /* SV_IPC: told when a peer's channel has ended; may be NULL */
	void (*wakeup)(void); /* MP_WAKEUP, and a byte on a trigger socket; in a task, never twice at once;
				 may be NULL */
	void (*drain)(void);  /* told to end; in a task; may be NULL. The process ends when no hold is left
				 and, of SV_STREAM,  no session, of SV_IPC, no request that waits for its reply
				 (idle channels are cut) */
	int64_t session_limit, session_total;  /* 0: from master.cf's maxproc (0 there: 1000) and none */
	const char *limit_param, *total_param; /* parameters that give them instead, or NULL */
	const int *keep_caps; /* CAP_ numbers ended by -1 that a daemon without `user` keeps; NULL: none */
	unsigned offload_threads; /* 0: 8 where rights name rpath or wpath, else 2 */
};

int service_main(int argc, char **argv, const struct service *s);

/* ---- for the running daemon ---- */
const struct conf *service_conf(void);
const char *service_name(void);	   /* as in master.cf: "submission" */
size_t service_args(char ***argv); /* what follows the options in master.cf: "flags=DRXhu" "user=vmail" ... */
const char *service_trigger(
    void); /* inside wakeup(): the bytes of the triggers that came ("F"), "" for the timer alone */
const char *service_queue_dir(
    void); /* path prefix that works after chroot: "" or the queue directory without final slash */
unsigned service_lane(void); /* for queue ids */
bool service_draining(void);
bool service_ending(void);  /* draining, and master will not wait for long: the suite stops */
void service_retire(void);  /* take no more sessions; the process ends when those it has are done, and master
			       starts a fresh one */
bool service_one_uid(void); /* started without root */
void service_hold(void);    /* work outside of sessions is going on: do not end yet */
void service_unhold(void);
void service_peer_wake(
    const char *service); /* has one of our peers look for work, as its wake-up time in master.cf does */
/* A channel to another service ("cleanup", "rewrite": its name in master.cf), made on first use through
 * master, kept, and made anew after it broke. Waits. errors: RC_DENIED not among our peers, RC_AGAIN not
 * running, RC_TIMEOUT. The channel stays the frame's; do not close it. */
MUST_CHECK enum rc service_peer(const char *service, struct ipc_chan **out, deadline_t d, struct err *e);
/* service_peer + ipc_request, with one further try when the kept channel turned out to be dead before the
 * request was answered (only for idempotent requests: `again` true). */
MUST_CHECK enum rc service_request(const char *service, bool again, uint16_t type, const void *request,
				   void *reply, struct arena *a, deadline_t d, struct err *e);
/* A raw connected descriptor to a service through master (streams: auth's protocol). The caller owns it. A
 * `service` with a slash in it is the path of a socket of somebody else ("private/dovecot-lmtp",
 * "/run/opendkim/opendkim.sock"): master connects to it as a stream when the configuration names that very
 * path; "inet:TEXT ADDRESS PORT" is net/endpoint.h's request. At most MP_NAME_MAX - 1 bytes. */
MUST_CHECK enum rc service_connect(const char *service, int *fd, deadline_t d, struct err *e);

#endif
