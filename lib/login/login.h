/* login/login.h - what pop3d and imapd share: the front, which speaks with a client until it has logged in,
 * and the process of a user, which serves all connections of that user from then on.
 *
 *	client ==TLS== front (posternnet, no files) ---- auth: SASL, one-time ticket
 *	                 | ticket, and the connection: a relay's end, or the descriptor itself when it is in clear text
 *	              monitor (root) ---- auth: whose ticket is this? it is spent
 *	                 | the connection
 *	              process of that user (his uid, his mailbox only): the one that runs, or a new one
 *
 * The front keeps TLS and relays. Without TLS the process of the user gets the client's descriptor, and what
 * the front has read ahead. The front has no way to a user's process but this one, log-in by log-in, and names nobody
 * (asuser/asuser.h). A user's process ends when its last connection has been gone for a few seconds.
 * Log lines are Dovecot's ("pop3-login: Login: user=<...>, ..."), because log readers know them. */
#ifndef LOGIN_LOGIN_H
#define LOGIN_LOGIN_H

#include "net/tls.h"
#include "sasl/authclient.h"
#include "service/service.h"
#include "store/store.h"

#define LOGIN_TEXT_MAX 64
#define LOGIN_USER_MAX 128
#define LOGIN_TAG_MAX  132

/* ---- one connection in the process of the user ---- */
struct login_session {
	struct stream *io; /* closed by the frame */
	struct store *store;
	char user[LOGIN_USER_MAX];
	char id[LOGIN_TEXT_MAX]; /* session=<...> of the log */
	char rip[LOGIN_TEXT_MAX], lip[LOGIN_TEXT_MAX];
	char tag[LOGIN_TAG_MAX]; /* what login_hand_over() was told: the tag of IMAP's log-in command */
	char who[LOGIN_USER_MAX + 3 * LOGIN_TEXT_MAX]; /* "pop3(kim)<123><abc>" for log lines */
	bool unusable; /* set by serve(): the mailbox cannot be opened any more; the process ends with its
			  sessions, and the next log-in gets a new one */
};

struct login_conf {
	const char *protocol;	  /* "pop3", "imap"; parameters are <protocol>d_... */
	const char *child_rights; /* sandbox words of the user's process */
	const char *bye;	  /* last line to a client when the suite stops, with its CRLF */
	/* In the user's process, in a task: answers the log-in command, and serves to the end. */
	void (*serve)(struct login_session *s);
};
/* In prepare(), as root: reads <protocol>d_login_timeout, _plaintext_auth, _user_session_limit,
 * _tls_wrappermode, _tls_cert_file; makes the TLS context; starts the monitor. die() on trouble. `c` must
 * live as long as the process. */
void login_prepare(const struct login_conf *c);
/* For struct service: when the suite stops, every client is told `bye`; a reload lets sessions run on. */
void login_drain(void);
/* Rights of the front, for struct service. */
#define LOGIN_FRONT_RIGHTS "stdio accept recvfd"

/* ---- one connection in the front ---- */
struct login {
	struct list link; /* private: among the connections of the front */
	bool handed_over; /* private */
	struct service_conn *conn;
	struct stream *io;
	struct arena a; /* of the connection */
	char id[LOGIN_TEXT_MAX], rip[LOGIN_TEXT_MAX], lip[LOGIN_TEXT_MAX];
	unsigned rport, lport;
	bool tls, secured; /* secured: TLS, or it does not leave the host */
	deadline_t until;  /* log-in must be done by then */
	const char *sni;   /* the name that the client asked TLS for; NULL none */
	mono_t since;
	unsigned attempts;
	char user[LOGIN_USER_MAX], method[24]; /* last tried */
	struct auth_exchange *x;	       /* the ticket, after AUTH_OK */
};
/* Fills *l and, where the listener says so, does the TLS handshake. False: over, and logged. */
bool login_open(struct login *l, struct service_conn *conn);
/* Logs "Disconnected: <why> (...)" unless why is NULL (after login_hand_over()); frees what is there. */
void login_close(struct login *l, const char *why);

bool login_tls_offered(const struct login *l); /* STLS/STARTTLS may be used now */
/* After the command was answered and flushed. Input that came before the handshake is refused: RC_DENIED.
 * Anything but RC_OK: over; the story is for login_close(). */
MUST_CHECK enum rc login_start_tls(struct login *l, struct err *e);

/* May passwords travel on this connection? */
bool login_plaintext_ok(const struct login *l);
/* Mechanisms that may be used now, each with `before` in front: " PLAIN LOGIN" (POP3), " AUTH=PLAIN ..."
 * (IMAP). Nothing when auth is away. */
void login_mechs(struct login *l, const char *before, struct buf *out);

enum login_result {
	LOGIN_OK,	 /* go on with login_hand_over() */
	LOGIN_FAILED,	 /* wrong credentials */
	LOGIN_EXPIRED,	 /* the right ones, once */
	LOGIN_TEMP,	 /* not the client's fault */
	LOGIN_PLAINTEXT, /* refused: TLS first */
	LOGIN_NO_MECH,
	LOGIN_BAD_BASE64,
	LOGIN_CANCELLED, /* "*" */
	LOGIN_LOST,	 /* connection or time is over; `why` for login_close() */
};
/* A whole SASL exchange: "+ <base64>" out, a line of base64 in (RFC 5034, RFC 3501 6.2.2, with the initial
 * response of RFC 4959: base64, or "=" for an empty one). *why (may be changed for LOGIN_LOST and the text
 * of a failure) has static or the connection's life. */
enum login_result login_sasl(struct login *l, struct span mech, bool has_initial, struct span initial,
			     const char **why);
/* USER and PASS, LOGIN. */
enum login_result login_password(struct login *l, struct span user, struct span password, const char **why);

/* Gives ticket and connection to the monitor, logs "Login: ...", and serves until the end: RC_OK.
 * errors   RC_LIMIT too many sessions of this user; everything else: a temporary failure, already logged */
MUST_CHECK enum rc login_hand_over(struct login *l, struct span tag, struct err *e);

#endif
