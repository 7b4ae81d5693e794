/* auth/auth.h - auth(8): checks credentials for smtpd, imapd and pop3d over the Dovecot authentication
 * protocol (sasl/authclient.h shows it).
 *
 *   connection.c  the protocol: lines in, lines out; a task per exchange
 *   exchange.c    SASL mechanisms through Cyrus SASL
 *   verify.c      is this the password?  scheme.c  {SCHEME}hash
 *   location.c    whose process a log-in gets, and with which mailbox
 *   tickets.c     tells the monitors of imapd and pop3d, for one-time tickets
 *   keeper.c      the root part: passwd-like file, sasldb, system accounts, PAM; a process of its own that
 * answers one kind of fixed-size question (keeper.h) and never sees what a client sent but a checked name and
 * a password guard.c       delays against guessing
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "keeper.h"
#include "asuser/asuser.h"
#include "base/arena.h"
#include "sasl/authclient.h"
#include "task/stream.h"

struct auth_conf {
	const char *mechanisms, *default_realm;
	const char *mail_location, *mail_home;
	int64_t mail_uid, mail_gid; /* -1: none */
	int64_t failure_delay_s, penalty_max_s;
};
extern struct auth_conf auth_conf;

/* ---- verify.c ---- */
enum verdict_kind { V_OK, V_WRONG, V_NO_USER, V_TEMP };
/* Finds the user and compares; hashing runs on another thread, PAM in another process. For a user that does
 * not exist a hash is computed all the same, so that time tells nothing. */
enum verdict_kind verify_password(struct span user, struct span password, const char *service,
				  const char *rip);
/* The plain-text password, for CRAM-MD5 and SCRAM. V_NO_USER also when only a hash is known. */
enum verdict_kind verify_secret(struct span user, struct arena *a, struct span *secret);
/* With default_realm; false: not a name that could be a user's. */
bool verify_canonical(struct span user, char out[KEEPER_NAME_MAX]);

/* ---- scheme.c ---- */
/* "{SHA512-CRYPT}$6$...", "{PLAIN}x", "$6$...": RC_OK match, RC_DENIED not, RC_SYNTAX unknown scheme. Slow on
 * purpose: see task_offload(). */
MUST_CHECK enum rc scheme_check(struct span stored, struct span password, struct err *e);
bool scheme_plain(struct span stored, struct span *secret); /* the secret itself, when it is stored so */

/* ---- exchange.c ---- */
struct sasl_exchange;		  /* opaque */
void exchange_prepare(void);	  /* loads Cyrus SASL and its mechanisms; before the sandbox */
const char *exchange_mechs(void); /* "PLAIN LOGIN ..." as configured and available */
struct exchange_about {
	const char *service, *rip, *lip;
	bool secured;
};
struct sasl_exchange *exchange_new(const struct exchange_about *about);
void exchange_free(struct sasl_exchange **x);
struct exchange_step {
	enum auth_status status; /* AUTH_OK, AUTH_CONTINUE, AUTH_FAIL, AUTH_TEMP */
	struct span data;	 /* challenge, or the server's last data; valid until the next step */
	const char *user;	 /* canonical, when known */
};
/* mech NULL: a further step. */
void exchange_step(struct sasl_exchange *x, const char *mech, bool has_data, struct span data,
		   struct exchange_step *out);

/* ---- location.c ---- */
void location_prepare(void);
/* Ids, home, mail location and directory of a user that was found; `service` is "imap" or "pop3". In a task: may ask
 * proxymap. errors RC_NOTFOUND no ids or no mailbox can be told (the story says what is missing); RC_AGAIN; RC_LIMIT */
MUST_CHECK enum rc location_find(const struct keeper_answer *u, const char *user, const char *service,
				 struct asuser_id *id, struct err *e);

/* ---- guard.c ---- */
/* Waits as long as earlier failures from this address (or, on loopback, for this user) demand; then counts
 * the outcome. */
void guard_wait(const char *rip, const char *user);
void guard_count(const char *rip, const char *user, bool failed);

#endif
