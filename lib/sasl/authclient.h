/* sasl/authclient.h - the client's side of the Dovecot authentication protocol, version 1.2, for smtpd, imapd and pop3d.
 *
 *	client                                       server (service `auth`, or Dovecot's own)
 *	VERSION 1 2, CPID <pid>                      VERSION 1 2, MECH <name> [plaintext ...]..., SPID, CUID, COOKIE <hex>, DONE
 *	AUTH <id> <mech> service=<s> [secured] [rip= lip= rport= lport= session= local_name=] [resp=<base64>]
 *	CONT <id> <base64>                           CONT <id> <base64> | OK <id> user=<u> ... | FAIL <id> [user=] [reason=] [temp] [code=]
 *	CANCEL <id>
 *	REQUEST <rid> <cpid> <id> <cookie>           USER <rid> <user> uid= gid= home= mail= ... | NOTFOUND <rid> | FAIL <rid>
 *
 * Fields are separated by TAB; TAB, LF, CR, NUL and \001 inside a value are written as \001 t, n, r, 0, 1.
 * REQUEST is what Dovecot's login processes have their master process send: it turns the success of exchange `id`
 * into the user's ids and mailbox, once (by id and the connection's cookie). Our auth takes it on the same
 * connection, from imapd and pop3d only, and adds ticket=, with which a monitor learns the same from auth itself.
 *
 * One connection per process carries all exchanges; it is made on first use and again after it broke (exchanges under way then
 * end with AUTH_TEMP). Every byte from a mail client is checked here before it goes on the shared connection. */
#ifndef SASL_AUTHCLIENT_H
#define SASL_AUTHCLIENT_H

#include "base/arena.h"
#include "task/task.h"

#define AUTH_DATA_MAX                                                                                        \
	12288 /* bytes of a decoded SASL message (RFC 4954 section 4: 12288 octets of base64 must do) */
#define AUTH_MECHS_MAX 32

struct authclient; /* opaque: one per process */
struct authclient_conf {
	const char *service;  /* "auth": name in master.cf; with a slash: a path (see service_connect()) */
	const char *protocol; /* "smtp", "imap", "pop3" */
	/* service_connect(), or a test's own */
	enum rc (*connect)(const char *service, int *fd, deadline_t d, struct err *e);
};
struct authclient *authclient_new(
    const struct authclient_conf *c); /* copies nothing: strings stay the caller's */
void authclient_free(struct authclient **ac);

#define AUTHMECH_PLAINTEXT  1u /* shows the password: under TLS only, unless allowed */
#define AUTHMECH_ANONYMOUS  2u
#define AUTHMECH_PRIVATE    4u	/* not to be announced */
#define AUTHMECH_ACTIVE	    8u	/* can be attacked from within the connection */
#define AUTHMECH_DICTIONARY 16u /* who listens can guess the password */
#define AUTHMECH_SECRECY    32u /* who learns the password later cannot read what was said */
#define AUTHMECH_MUTUAL	    64u /* the server proves itself, too */
#define AUTHMECH_WANTED	    (AUTHMECH_SECRECY | AUTHMECH_MUTUAL) /* virtues; the others are faults */
struct auth_mech {
	char name[24]; /* upper case */
	unsigned flags;
};
/* What the server offers; connects when needed. The array is the client's, valid until the next wait.
 * errors RC_AGAIN no server, RC_TIMEOUT, RC_SYNTAX it does not speak the protocol */
MUST_CHECK enum rc authclient_mechs(struct authclient *ac, const struct auth_mech **v, size_t *n,
				    deadline_t d, struct err *e);

/* Who asks: for logs and policies of the server. Texts may be empty. */
struct auth_about {
	const char *rip, *lip, *session, *local_name;
	unsigned rport, lport;
	bool secured; /* TLS, or a connection that does not leave the host */
};

enum auth_status {
	AUTH_OK,       /* user is set; ticket good for one authclient_redeem() */
	AUTH_CONTINUE, /* challenge is to be sent; go on with authclient_continue() or authclient_cancel() */
	AUTH_FAIL,     /* wrong credentials */
	AUTH_TEMP,     /* the server has trouble, or is not there */
};
struct auth_outcome {
	enum auth_status status;
	struct span challenge; /* decoded */
	struct span user;      /* AUTH_OK; AUTH_FAIL when known: for the log only */
	struct span reason;    /* AUTH_FAIL, AUTH_TEMP: for the client; "" none */
	struct span
	    code; /* AUTH_FAIL: "user_disabled", "pass_expired", "authz_fail", "temp_fail" ...; "" none */
	struct span
	    final; /* AUTH_OK: data of the server that comes with success (SCRAM's v=); decoded; "" none */
};

struct auth_exchange; /* opaque: one log-in attempt */
/* Begins one. `initial` is decoded; has_initial tells an empty initial response from none (RFC 4954 section 4 "=").
 * Spans in *out live in `a`. *x is made for AUTH_OK (until redeemed or ended) and AUTH_CONTINUE, else NULL. Never fails otherwise than
 * by status; the story of AUTH_TEMP is in *e. At the deadline the exchange is cancelled: AUTH_TEMP. */
enum auth_status authclient_start(struct authclient *ac, struct span mech, const struct auth_about *about,
				  bool has_initial, struct span initial, struct arena *a,
				  struct auth_exchange **x, struct auth_outcome *out, deadline_t d,
				  struct err *e);
/* The client's answer to a challenge, decoded. */
enum auth_status authclient_continue(struct auth_exchange **x, struct span response, struct arena *a,
				     struct auth_outcome *out, deadline_t d, struct err *e);
/* Gives up ("*" from the client), or ends an exchange whose ticket is not wanted. NULL is fine. */
void authclient_cancel(struct auth_exchange **x);

struct auth_user {
	struct span user;     /* canonical: may differ from what was typed */
	struct span ticket;   /* for asuser_hand_over() (asuser/asuser.h); "" none */
	struct span noticket; /* why there is none */
};
/* Asks who the user of an AUTH_OK exchange is, once, and frees the exchange. Ids and mailbox that come with it are left: they concern the monitor, which asks itself. errors RC_NOTFOUND no such user (any more), RC_AGAIN, RC_TIMEOUT, RC_SYNTAX */
MUST_CHECK enum rc authclient_redeem(struct auth_exchange **x, struct arena *a, struct auth_user *out,
				     deadline_t d, struct err *e);

#endif
