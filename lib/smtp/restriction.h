/* smtp/restriction.h - the names of smtpd(8)'s restrictions and what their arguments look like, for who evaluates them and for who
 * checks main.cf. */
#ifndef SMTP_RESTRICTION_H
#define SMTP_RESTRICTION_H

#include "base/arena.h"

enum restriction_arg {
	ARG_NONE,
	ARG_TABLE, /* "type:name" */
	ARG_DOMAIN, /* of a DNS list, perhaps with "=" and a filter; without one the restriction does nothing */
	ARG_SERVICE, /* a policy server */
	ARG_NUMBER,  /* seconds */
};
#define RESTRICTION_SLEEP_MAX_S 3600

/* In any case of letters; false: no such restriction. */
bool restriction_find(struct span name, enum restriction_arg *arg);
/* The known name that is most like `name`, or "". */
struct span restriction_nearest(struct span name);
/* What stands behind it in a list is never reached. */
bool restriction_is_final(struct span name);

/* "d.d.d.d" of "list.example=d.d.d.d": which addresses count. Each d: a number, or "[1;3..5]". */
#define DNSBL_BYTES 4
MUST_CHECK enum rc dnsbl_filter_parse(struct span text, uint8_t allowed[DNSBL_BYTES][32]);

/* check_policy_service: what the list says in { } behind the server, else what the parameters smtpd_policy_service_... say. */
struct policy_settings {
	int64_t timeout_s, retry_delay_s, try_limit, max_idle_s, max_ttl_s, request_limit;
	struct span default_action, context;
};
/* "name=value", or "{ name = value with blanks }"; spans lie in `word`. */
MUST_CHECK enum rc policy_attribute(struct span word, struct policy_settings *p);
/* The name of number `i` and where it is; NULL behind the last. */
const char *policy_number(struct policy_settings *p, size_t i, int64_t **at);

#endif
