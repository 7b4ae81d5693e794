/* restrict.h - the restrictions of smtpd(8) (SMTPD_ACCESS_README's subject): lists of names, read once into
 * rules, evaluated from left to right until one decides. */
#ifndef SMTPD_RESTRICT_H
#define SMTPD_RESTRICT_H

#include "smtpd.h"
#include "smtp/restriction.h"

enum outcome { DUNNO, PERMIT, REJECT, PERMIT_ALL /* DISCARD and the like: no further list */ };

struct check { /* what is being decided */
	enum stage stage;
	struct span subject;			       /* stands in <> of replies */
	const char *class;			       /* "Client host", "Sender address" ... */
	struct span rcpt;			       /* the recipient in question, "" none */
	const struct router_validate_reply *validated; /* of rcpt, once asked */
	bool
	    before_relay; /* refused by smtpd_recipient_restrictions, while an old default has them judged first */
	bool warn_only; /* warn_if_reject stands before */
	unsigned depth; /* restriction classes and access results within each other */
	struct arena *a;
	struct verdict verdict; /* of REJECT */
};

struct rule;
struct restriction {
	const char *name;
	enum outcome (*run)(struct session *s, struct check *c, const struct rule *r);
	int which; /* for functions that serve several names */
};
struct rule {
	const struct restriction *def;
	bool warn;
	struct span arg;	/* domain, service or number */
	struct maps *maps;	/* ARG_TABLE */
	struct rule_list *list; /* a restriction class */
	int64_t
	    number; /* ARG_NUMBER; of check_ccert_access: the keys in order, two bits each (CCERT_), 0 the usual ones */
	void *state; /* restrict_dnsbl.c, restrict_policy.c */
};
#define CCERT_CERT 1 /* fingerprint of the certificate */
#define CCERT_KEY  2 /* fingerprint of its public key */
struct rule_list {
	struct rule *rule;
	size_t n, cap;
	bool judged, guards; /* rules_guard() */
};
extern const struct restriction restrictions[]; /* ends with .name == NULL */
enum restriction_arg arg_of(const struct restriction *r);
#define DEPTH_MAX 20 /* classes within classes */

/* ---- restrict_read.c ---- */

/* Reads a list; what cannot be understood answers 451 when it is reached, and a warning says so now. */
struct rule_list *rules_read(const char *param, struct span text);
/* Those of smtpd_restriction_classes, before any list: a result may name one that no list names, and no table is opened in the sandbox.
 * Classes that name each other are read once each; rules_run() ends the loop. */
void rules_read_classes(void);
bool rules_guard(struct rule_list *l); /* holds one that keeps strangers from relaying */
/* The rule that `word` of an access result names; its argument is taken off *rest.
 * errors   RC_SYNTAX: what was said in the log; a mistake of configuration */
MUST_CHECK enum rc rule_from_result(struct span word, struct span *rest, const char *table, struct rule *out);

/* ---- restrict.c ---- */
enum outcome rules_run(struct session *s, struct check *c, const struct rule_list *l);
/* smtpd_log_access_permit_actions: the line for what c->subject was let through by; `from`: "from TABLE", or "". */
void log_permit(struct session *s, struct check *c, const char *action, const char *from);
/* The list of names in an access result. */
enum outcome rules_run_text(struct session *s, struct check *c, struct span text, const char *table);

/* "CODE DSN text" */
const char *restrict_text(struct check *c, const struct verdict *v);
/* Outcomes with a story. `text` without "<subject>: ". */
enum outcome restrict_reject(struct session *s, struct check *c, int64_t code, const char *dsn,
			     const char *fmt, ...) PRINTF_LIKE(5, 6);
enum outcome restrict_reject_bare(struct session *s, struct check *c, int64_t code, struct span dsn,
				  struct span text);
enum outcome restrict_trouble(struct session *s, struct check *c); /* a table failed: 451 4.3.0 */
/* Remembers a 450 that is given when the request would be permitted in the end. */
enum outcome restrict_defer_if_permit(struct session *s, struct check *c, const char *dsn, const char *fmt,
				      ...) PRINTF_LIKE(4, 5);
/* As 451 whatever stands before: a mistake of configuration is never a warning only. */
enum outcome restrict_config_error(struct check *c);
/* Such a mistake in a table that was asked about c->subject. */
enum outcome restrict_table_error(struct check *c, const char *class);
/* What the log says of defaults of an older compatibility_level: that an empty smtpd_relay_restrictions let a recipient pass; that
 * fingerprints are made with md5, once in a process. */
void restrict_tell_relay(struct session *s, struct check *c);
void restrict_tell_digest(void);
const struct router_validate_reply *restrict_validated(struct session *s, struct check *c);
/* The address as routing sees it: with a domain, without %, ! or source route. */
struct span restrict_canonical(struct session *s, struct check *c, struct span addr);
/* Access tables by host name and its parents, and by address and its networks: RC_NOTFOUND, or not to be told. */
enum rc access_find_name(struct maps *m, struct span name, struct arena *a, struct span *value);
enum rc access_find_addr(struct maps *m, struct span addr, struct arena *a, struct span *value);
/* The result of an access table (access(5)), or of a policy server. */
enum outcome access_result(struct session *s, struct check *c, struct span value, const char *source,
			   struct span subject, const char *class);

/* restrict_client.c, restrict_helo.c, restrict_address.c, restrict_access.c, restrict_dnsbl.c,
 * restrict_policy.c, restrict_verify.c */
typedef enum outcome restriction_fn(struct session *s, struct check *c, const struct rule *r);
restriction_fn run_permit, run_reject, run_defer, run_sleep, run_defer_if, run_mynetworks, run_sasl,
    run_tls_certs, run_inet_interfaces, run_plaintext, run_pipelining, run_unknown_client, run_invalid_helo,
    run_non_fqdn_helo, run_unknown_helo, run_permit_auth_destination, run_unauth_destination,
    run_non_fqdn_address, run_unknown_domain, run_unlisted, run_unverified, run_login_mismatch,
    run_multi_bounce, run_access, run_server_access, run_dnsbl, run_policy, run_unknown_name, run_class,
    run_mx_backup, run_naked_ip;

/* ---- restrict_stages.c ---- */
/* The checks of each step; false: the reply is sent. */
bool check_connect(struct session *s);
bool check_helo(struct session *s);
bool check_sender(struct session *s);
/* rcpt in external form; *r (may be NULL) is what router said of it. */
bool check_rcpt(struct session *s, struct span rcpt, const char *where);
bool check_data(struct session *s);
/* A status X.1.Y that fits what is refused: "Sender address", "Recipient address", others. */
struct span restrict_fitting_dsn(const char *class, struct span dsn, struct arena *a);
bool check_end_of_data(struct session *s, struct verdict *v);
bool check_etrn(struct session *s, struct span domain);
void *dnsbl_read(struct span arg);
void *policy_read(struct span arg);

#endif
