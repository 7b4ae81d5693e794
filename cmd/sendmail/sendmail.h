/* sendmail.h - what the files of sendmail(1) share. */
#ifndef SENDMAIL_H
#define SENDMAIL_H

#include "base/arena.h"
#include "conf/conf.h"
#include "queue/envelope.h"
#include <sys/types.h>

enum mode {
	MODE_DELIVER,
	MODE_NOTHING, /* -bh, -bH */
	MODE_VERIFY,
	MODE_LIST,
	MODE_ALIASES,
	MODE_DAEMON,
	MODE_SMTP,
	MODE_FLUSH,
	MODE_FLUSH_ID,
	MODE_FLUSH_SITE
};

struct options {
	enum mode mode;
	const char *sender;    /* NULL: the login name */
	const char *full_name; /* NULL: NAME, then the user database */
	const char *config, *flush_arg;
	const char *envid;
	const char *verp; /* delimiters; "": the default ones; NULL: no VERP */
	bool extract, keep_dot, eight_bit, smtputf8, gateway;
	unsigned verbose; /* how many -v */
	bool uucp;	  /* rmail: the From_ line names the sender */
	const char *uucp_path;
	uint16_t notify, ret;
	char **rcpt;
	int rcpts;
};

extern struct arena memory;
extern const struct conf *config;

/* "sendmail: fatal: ..." on stderr and in the log; ends with status 75 whatever went wrong, as callers
 * expect. */
NORETURN void fatal(const char *fmt, ...) PRINTF_LIKE(1, 2);
void warn(const char *fmt, ...) PRINTF_LIKE(1, 2); /* on stderr and in the log; life goes on */
const char *who(void);				   /* "root(0)" */
const char *for_whom(struct span sender); /* the same with the sender of the message, if there is one */

void options_parse(int argc, char **argv, struct options *o);

/* ---- rmail.c ---- */
void rmail_options(int argc, char **argv, struct options *o);
/* One From_ line of the message's head: adds its host to the path, takes its user. */
void rmail_from_line(struct options *o, struct span line);
void rmail_need_sender(const struct options *o); /* status 65 when no line named one */

/* ---- message.c ---- */
/* Standard input: From_ lines stripped, LF line ends, "." ends it unless keep_dot. */
struct span message_read(struct options *o);
struct span message_probe(struct span sender, const struct ipc_list *rcpts);

/* ---- sender.c ---- */
/* The address that the argument of -f means; "" nobody. Says so when there are several. */
struct span sender_read(struct span text);

/* ---- recipients.c ---- */
void recipients_take(const struct options *o, struct span sender, struct span content, struct ipc_list *out);

/* ---- submit.c: 250 or a file in maildrop/ when these return ---- */
void submit(const struct envelope *env, struct span content);
enum submitted { SUBMIT_STORED, SUBMIT_REFUSED, SUBMIT_FAILED };
/* The same for one that has to go on. *what: stored, the queue id (of the last part of several); else what was the matter. */
enum submitted submit_try(const struct envelope *env, struct span content, const char **what);

/* ---- dialogue.c: -bs ---- */
void dialogue_run(struct options *o);

/* ---- identity.c ---- */
void require_submit_user(void); /* authorized_submit_users */
const char *login_name(void);
/* -F, else what is known of the caller; white space in place of control characters. */
struct span full_name(const struct options *o);

/* ---- other.c: the names and modes that are other programs ---- */
NORETURN void run_other(const struct options *o);

#endif
