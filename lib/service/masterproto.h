/* service/masterproto.h - what master(8) and its children share.
 *
 * A child starts with these descriptors:
 *   0          /dev/null       (stdin_fd of the client never lands here)
 *   1, 2       as master's
 *   3          channel to master: SOCK_SEQPACKET
 *   4          the file of maillog_file, O_APPEND; without one master's socket to syslog, or /dev/null
 *   5          the file of event_log, O_APPEND, or /dev/null when there is none
 *   6 ...      the listeners, as many as -S says
 *   after them, for a service of which there may be one process only: its lock, to be kept open as long as the process lives
 * and these arguments, besides those from master.cf:  PROGRAM -n SERVICE -t TYPE -S LISTENERS -L LANE -l MAXPROC [-c] [-u] ...
 *   -n NAME service name in master.cf  -t inet|unix|unix-dgram|pass  -L lane 0..255 for queue ids (queue/qid.h)
 *   -c chroot  -u run as the caller (one-uid mode)  -l maxproc  -v verbose  -o name=value
 * The environment holds MAIL_CONFIG, MAIL_LOGTAG, TZ and what import_environment names.
 *
 * Every record on the channel is one struct mp_record, fixed size; master reads nothing else from a child. */
#ifndef SERVICE_MASTERPROTO_H
#define SERVICE_MASTERPROTO_H

#include <stdbool.h>
#include <stdint.h>

#define MP_FD_MASTER 3
#define MP_FD_LOG    4
#define MP_FD_EVENTS 5
#define MP_FD_LISTEN 6
#define MP_NAME_MAX  160
#define MP_LANES     256

enum mp_type {
	/* child -> master */
	MP_READY = 1, /* started, sandboxed, serving */
	MP_BUSY, /* at its session limit: master watches the listeners again and may start another process */
	MP_FREE, /* below the limit again */
	MP_RETIRE,   /* takes no more sessions, will end when those it has are done */
	MP_CONNECT,  /* wants a connection to the service `name` of master.cf (unix only), to a path that the
			configuration names (it has a slash), or to a TCP port that it names: "inet:TEXT ADDRESS PORT" with
			the text as it stands there (net/endpoint.h); the descriptor is still connecting then */
	MP_SESSIONS, /* value: sessions now open (sent at most once a second, for the limit maxproc and
			postern status) */
	MP_WAKE,     /* the wake-up time of the service `name`, to which it may connect, is now */
	MP_LOST_SYSLOG, /* the socket to syslog leads nowhere: connect it again */
	/* master -> child */
	MP_CONNECTED = 64, /* answer to MP_CONNECT, same serial; carries a descriptor when value is 0, else
			      value is an errno */
	MP_LOGFILE, /* carries a new descriptor for the log file (value 0) or the file of event_log (1) */
	MP_DRAIN, /* finish what runs, take nothing new, end; value: seconds until the end is enforced, 0: no hurry (reload) */
	MP_WAKEUP, /* the wake-up time of master.cf came */
	MP_SESSION, /* carries a client's connection, accepted by master on a listener that a reload replaced; value: the
		       index of the listener that it would come to now */
};
struct mp_record {
	uint32_t type;
	uint32_t serial;
	int64_t value;
	char name[MP_NAME_MAX]; /* NUL-terminated */
};

/* The first record on a connection that master made for a child (sent by master before the child gets its
 * end): the acceptor believes it because SO_PEERCRED shows master's pid. */
struct mp_hello {
	uint32_t magic; /* MP_HELLO_MAGIC */
	uint32_t pid;
	char program[32];
	char service[MP_NAME_MAX];
};
#define MP_HELLO_MAGIC 0x50535448u

/* True when the acceptor behind a service of that program reads struct mp_hello first (our own daemons; not
 * spawn). */
bool mp_takes_hello(const char *program);
/* SOCK_SEQPACKET for programs that speak our records, SOCK_STREAM for those whose clients are outsiders, and
 * unknown ones. */
int mp_socket_type(const char *program);
/* True when `program` may ask for a connection to a service of program `target` (mp_peers_of, "*" resolved).
 */
bool mp_may_connect(const char *program, const char *target);
/* Which program may ask for a connection to which: by program names of master.cf, separated by spaces; "*"
 * stands for any delivery agent. */
const char *mp_peers_of(const char *program); /* "cleanup trivial-rewrite auth ..."; "" for none */

#endif
