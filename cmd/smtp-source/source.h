/* cmd/smtp-source/source.h - smtp-source(1): sends messages as fast as a server takes them. One task per session (-s); they
 * share the number of messages that are left. */
#ifndef SMTP_SOURCE_H
#define SMTP_SOURCE_H

#include "base/buf.h"
#include "task/stream.h"
#include <netdb.h>

struct source_conf {
	const char *myhostname; /* -M */
	const char *from, *to;
	const char *subject;   /* -S; NULL: none */
	bool go_on;	       /* -A: what the server refuses ends the transaction only */
	bool counter;	       /* -c */
	bool keep;	       /* -d: next message over the same connection */
	bool lmtp;	       /* -L */
	bool numbered;	       /* -N */
	bool old;	       /* -o: no HELO, no header */
	bool random_pause;     /* -R instead of -w */
	int64_t pause_s;       /* -R, -w */
	int64_t sessions;      /* -s */
	int64_t messages;      /* -m */
	int64_t recipients;    /* -r */
	int64_t connect_tries; /* -C */
	int64_t window;	       /* -T; 0: the system's */
	bool qmqp;	       /* called as qmqp-source */
	int family;	       /* -4, -6 */
};
extern struct source_conf conf;

/* ---- target.c ---- */
void target_set(const char *text); /* "[inet:]host[:port]", "unix:path"; looked up once */
int target_connect(void);	   /* a connected descriptor; ends the process when there is no server */

/* ---- payload.c ---- */
void payload_generate(int64_t length); /* -l; 0: the short text that stands for "some message" */
void payload_read(const char *path);   /* -F */
struct span payload_text(void);	       /* as it goes over the wire, without the final dot */
bool payload_has_header(void);	       /* the text brings its own */
void payload_header(struct stream *io, int64_t session, int64_t message);

/* ---- session.c ---- */
void session_run(void *number); /* a task */
void pause_before_message(void);
void count_message(void);

/* ---- qmqp.c ---- */
void qmqp_prepare(int64_t length); /* of a message with its header; 0: 1024 */
void qmqp_run(void *number);	   /* a task */

#endif
