/* ipc/ipc.h - typed messages between processes over SOCK_SEQPACKET UNIX sockets.
 *
 * One datagram is one record:  version u8 | flags u8 | type u16 | serial u32 | fields...   (little endian)
 * Fields follow in the order of the message's table, each as its kind says; trailing bytes are an error. A
 * request carries a serial chosen by the caller; its reply carries the same serial. Flag IPC_REPLY marks
 * replies. Strings: length u32 and bytes. Lists: count u32, then each element's fields. Descriptors travel as
 * SCM_RIGHTS.
 *
 * The receiver validates everything as if it came from the network. A malformed record closes the channel and
 * is logged; it never ends the process. Structs are never copied onto the wire. */
#ifndef IPC_IPC_H
#define IPC_IPC_H

#include "base/arena.h"
#include "base/buf.h"
#include "task/task.h"

#define IPC_VERSION	 1
#define IPC_FRAME_MAX	 (160 * 1024) /* bytes of a record; larger content goes through a file */
#define IPC_FDS_MAX	 4
#define IPC_HEADER_BYTES 8
#define IPC_REPLY	 0x01 /* the one flag */

/* Requests in progress on one channel, beyond which its socket is not read: of a peer that connected by
 * itself, and of one that master introduced. */
#define IPC_CALLS_PUBLIC 4
#define IPC_CALLS_MAX	 4096
/* A peer that does not take a reply for so long is cut off. */
#define IPC_REPLY_TIMEOUT_S 60

/* How a field stands in the C struct and on the wire. */
enum field_kind {
	F_END = 0,
	F_BOOL, /* bool; u8, 0 or 1 */
	F_U16,	/* uint16_t */
	F_U32,	/* uint32_t */
	F_U64,	/* uint64_t */
	F_I64,	/* int64_t */
	F_SPAN, /* struct span; `arg` is the greatest length; decoded spans point into the frame */
	F_LIST, /* struct ipc_list; `sub` is the table of an element, `size` its sizeof, `arg` the greatest
		   count */
	F_FD,	/* int, -1 for none; decoded descriptors are close-on-exec and owned by the receiver */
};
struct field {
	enum field_kind kind;
	size_t offset;
	size_t arg;
	const struct field *sub;
	size_t size;
};
struct ipc_list {
	void *v; /* array of the element struct */
	size_t n;
};

#define FIELD(kind, type, member)                                                                            \
	{                                                                                                    \
		kind, offsetof(type, member), 0, NULL, 0                                                     \
	}
#define FIELD_SPAN(type, member, max)                                                                        \
	{                                                                                                    \
		F_SPAN, offsetof(type, member), max, NULL, 0                                                 \
	}
#define FIELD_LIST(type, member, tab, elem, max)                                                             \
	{                                                                                                    \
		F_LIST, offsetof(type, member), max, tab, sizeof(elem)                                       \
	}
#define FIELD_END                                                                                            \
	{                                                                                                    \
		F_END, 0, 0, NULL, 0                                                                         \
	}

/* One row per message type; ipc/proto.c holds them all (ipc_types[]). */
struct ipc_type {
	uint16_t type;
	const char *name;
	const struct field *request, *reply; /* reply NULL: no answer is sent */
	size_t request_size, reply_size;     /* sizeof the C structs */
};
extern const struct ipc_type ipc_types[];
extern const size_t ipc_types_count;
const struct ipc_type *ipc_type_find(uint16_t type); /* NULL: no such type */

/* ---- coding, without sockets ---- */
/* Appends the fields to `out`; the descriptors stay the caller's. RC_LIMIT: a bound of the table, out->max or
 * IPC_FDS_MAX. */
MUST_CHECK enum rc ipc_encode(const struct field *tab, const void *msg, struct buf *out, int fds[IPC_FDS_MAX],
			      size_t *nfds);
/* Lists are allocated from `a`; spans point into `body`. On success the descriptors are the message's; on
 * failure (RC_SYNTAX) all descriptors in fds were closed and *msg holds nothing of use. */
MUST_CHECK enum rc ipc_decode(const struct field *tab, struct span body, int *fds, size_t nfds,
			      struct arena *a, void *msg, struct err *e);

/* ---- a channel: one connection, any number of calls in flight ---- */
struct ipc_chan; /* opaque */
struct ipc_call; /* an incoming request: opaque, see below */

/* Who is at the other end: master introduces every connection it makes for a daemon (service/masterproto.h).
 */
struct ipc_peer {
	char program[32];  /* "smtpd"; "" when the peer connected by itself to a public socket */
	char service[160]; /* "submission"; as long as a name of master.cf may be (MP_NAME_MAX) */
	uid_t uid;	   /* SO_PEERCRED of one who connected by itself */
	pid_t pid;
};

/* What the serving side does with one message type: runs in a task of its own. Must end with ipc_reply()
 * exactly once when the type has a reply. */
struct ipc_handler {
	uint16_t type;
	const char *from; /* programs that may send it, "smtpd pickup", or "*" */
	void (*run)(struct ipc_call *call, const void *request);
};

/* Takes over fd. handlers (ending with .run == NULL) may be NULL for a pure client. Starts the reader task.
 * The caller owns the channel and calls ipc_chan_close() once, also after the connection ended; the function
 * given to ipc_chan_on_close() may do it. Memory goes when the last task using it is done. */
struct ipc_chan *ipc_chan_new(int fd, const struct ipc_handler *handlers, const struct ipc_peer *peer,
			      void *context);
/* Closes; waiting callers get RC_EOF. Handlers that run go on, their replies go nowhere. NULL is fine; leaves
 * NULL. */
void ipc_chan_close(struct ipc_chan **c);
bool ipc_chan_alive(const struct ipc_chan *c);
unsigned ipc_chan_busy(const struct ipc_chan *c); /* requests of the peer in progress here */
const struct ipc_peer *ipc_chan_peer(const struct ipc_chan *c);
void *ipc_chan_context(const struct ipc_chan *c);
/* Called once when the connection ends by itself (in the reader's task; the peer left or sent nonsense),
 * before the channel is freed; not after ipc_chan_close(). */
void ipc_chan_on_close(struct ipc_chan *c, void (*fn)(struct ipc_chan *c, void *arg), void *arg);

/* Sends a request and waits for the reply, decoded into `reply` (sizes as the table says); lists and spans
 * live in `a`. Descriptors in the request stay the caller's. RC_EOF: the peer ended; RC_TIMEOUT; RC_LIMIT:
 * the request passes a bound of its table, nothing was sent; RC_SYNTAX: nonsense came back (the channel is
 * closed). Many tasks may call at once. */
MUST_CHECK enum rc ipc_request(struct ipc_chan *c, uint16_t type, const void *request, void *reply,
			       struct arena *a, deadline_t d, struct err *e);
/* Sends without waiting for an answer (types without reply). Waits for socket space only. */
MUST_CHECK enum rc ipc_notify(struct ipc_chan *c, uint16_t type, const void *message, deadline_t d,
			      struct err *e);

/* ---- inside a handler ---- */
/* Valid until ipc_reply(); request spans and lists too. */
struct arena *ipc_call_arena(struct ipc_call *call);
struct ipc_chan *ipc_call_chan(struct ipc_call *call);
/* Answers and frees the call (also when sending failed: the peer is gone then). Descriptors in reply are
 * sent, then closed here; those in the request are the handler's to close. A handler may return first and
 * another task reply later. */
void ipc_reply(struct ipc_call *call, const void *reply);
/* For types without reply. */
void ipc_done(struct ipc_call *call);

#endif
