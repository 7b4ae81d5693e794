/* cmd/smtp-sink/sink.h - smtp-sink(1): a server that takes mail and throws it away. One task per session; the
 * choices of the command line are in `conf` and in the table of verbs, both fixed once the loop runs. */
#ifndef SMTP_SINK_H
#define SMTP_SINK_H

#include "base/arena.h"
#include "task/stream.h"

struct session;

struct sink_conf {
	const char *hostname; /* -h */
	bool lmtp;	      /* -L */
	bool plain;	      /* -e, -P: no ESMTP */
	bool pix;	      /* -P */
	bool no_pipelining, no_8bitmime, no_auth, no_xclient, no_xforward, no_codes, no_dsn;
	const char *soft_reply, *hard_reply;
	int64_t abort_s;       /* -A; < 0: never */
	int64_t read_delay_s;  /* -H */
	int64_t timeout_s;     /* -t */
	int64_t max_sessions;  /* -m: at a time */
	int64_t quit_sessions; /* -n; 0: never */
	int64_t quit_messages; /* -M; 0: never */
	int64_t window;	       /* -T; 0: the system's */
	int64_t end_after_s;   /* -x; 0: never */
	bool qmqp;	       /* called as qmqp-sink */
	int family;	       /* -4, -6 */
	bool counters;	       /* -c */
	const char *single;    /* -d */
	const char *multi;     /* -D */
	struct span start;     /* -S, escapes undone */
};
extern struct sink_conf conf;

/* ---- verbs.c: what clients say, CONNECT and "." among it, and what the options make of it ---- */
struct verb {
	const char *name;
	bool (*run)(struct session *s, struct span arg); /* false: the session is over */
	bool off;					 /* not known */
	bool reject_hard, reject_soft, hang_up, say_421, log;
	int64_t delay_s;
	int odds; /* 0: wait delay_s; else a random multiple of it */
};
struct verb *verb_find(struct span name); /* NULL when there is no such, or it is off */
/* "rcpt, data": sets the bool at `offset` of each. */
void verbs_mark(const char *list, size_t offset);
void verb_set_delay(const char *spec); /* -W: command:delay[:odds] */
void verbs_apply_conf(void);	       /* switches off what the options leave out */
int64_t verb_delay_s(const struct verb *v);

/* ---- session.c ---- */
struct session {
	struct stream *io;
	struct arena arena;
	char client[64]; /* address without brackets, IPv6 with "ipv6:"; "local" for a UNIX socket */
	const char *proto;
	struct buf helo;
	bool in_mail;
	unsigned recipients;
	struct buf mail, rcpt; /* for the dump: argument of MAIL, lines of X-Rcpt-Args */
};
void session_run(void *fd); /* a task; the descriptor, as a pointer-sized number */
bool run_connect(struct session *s, struct span arg);
bool run_hello(struct session *s, struct span arg);
bool run_ehlo(struct session *s, struct span arg);
bool run_mail(struct session *s, struct span arg);
bool run_rcpt(struct session *s, struct span arg);
bool run_data(struct session *s, struct span arg);
bool run_rset(struct session *s, struct span arg);
bool run_ok(struct session *s, struct span arg);
bool run_quit(struct session *s, struct span arg);
/* What the options say about `v`: waits, logs, refuses. False: the session is over; *refused: it has been answered. */
bool session_obey(struct session *s, const struct verb *v, struct span line, bool *refused);
bool session_flush(struct session *s);

/* ---- qmqp.c ---- */
void qmqp_run(void *fd); /* a task */

/* ---- data.c ---- */
bool data_receive(struct session *s);

/* ---- dump.c: messages on disk. What fails here ends the process: a capture with holes is of no use. ---- */
struct dump; /* NULL when nothing is to be dumped: every call takes it */
struct dump *dump_begin(struct session *s);
void dump_write(struct dump *d, struct span text);
void dump_end(struct dump **d, bool keep); /* not kept: as if it had not been begun */

/* ---- count.c ---- */
void count_session_begins(void);
void count_session_ends(void);
void count_quit(void);
void count_message(void);
bool count_messages_enough(void); /* -M */
void count_wait_for_room(void);	  /* until fewer than -m sessions are there */

/* ---- listen.c ---- */
/* Binds the address of the command line; then a task per listener. */
void listen_open(const char *address, int backlog);
void listen_start(void);

#endif
