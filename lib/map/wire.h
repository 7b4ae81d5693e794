/* map/wire.h - the way to tables that are servers (tcp: socketmap: memcache:): kept connections, time limits, another
 * try after a lost connection. An exchange runs on a helper thread (task_offload()) when a task asks, and in
 * place in a command; several may run at once, each on a connection of its own. */
#ifndef MAP_WIRE_H
#define MAP_WIRE_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/rc.h"

struct wire;	  /* opaque: one server; shared by all tables that name it with the same limits */
struct wire_conn; /* opaque: one connection, for the time of an exchange */

struct wire_limits {
	int64_t timeout_ms; /* for one attempt: connect, question and answer */
	int64_t pause_ms;   /* before another attempt */
	unsigned
	    attempts; /* after a connection that broke off; a refused one is tried again as well when... */
	bool retry_connect;   /* ... this says so */
	const char *def_port; /* of "inet:host"; NULL: must be named */
};

/* `endpoint`: "inet:host:port", "inet:[::1]:port", "inet:port" (this host), "unix:/path". Connects to nothing
 * yet. RC_SYNTAX with the story. */
MUST_CHECK enum rc wire_open(struct span endpoint, const struct wire_limits *limits, struct wire **out,
			     struct err *e);
void wire_close(struct wire **w);

/* One question and its answer. RC_OK, RC_NOTFOUND, RC_AGAIN and RC_DENIED: the server has answered, and the connection
 * is kept. RC_EOF and RC_SYS: tried again while attempts last. Any other ends the connection. Runs on any thread: no
 * log, nothing that others change. */
typedef enum rc wire_talk(struct wire_conn *c, void *arg, struct err *e);
/* errors: those of talk(), or RC_SYS, RC_TIMEOUT with a story that names the server */
MUST_CHECK enum rc wire_ask(struct wire *w, wire_talk *talk, void *arg, struct err *e);

/* ---- for talk() ---- */
MUST_CHECK enum rc wire_send(struct wire_conn *c, struct span data, struct err *e);
/* A line without its end (LF or CRLF); valid until the next call. RC_LIMIT: more than `max` bytes. */
MUST_CHECK enum rc wire_line(struct wire_conn *c, size_t max, struct span *line, struct err *e);
/* Exactly n bytes; likewise. */
MUST_CHECK enum rc wire_bytes(struct wire_conn *c, size_t n, struct span *data, struct err *e);
/* One byte. */
MUST_CHECK enum rc wire_byte(struct wire_conn *c, char *byte, struct err *e);

/* A server whose answer is `text` (tests, fuzzing): what is sent is dropped, and after the text comes the end. */
MUST_CHECK enum rc wire_pretend(struct span text, wire_talk *talk, void *arg, struct err *e);

#endif
