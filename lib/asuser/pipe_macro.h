/* asuser/pipe_macro.h - $name in the arguments of a pipe(8) command. Pure. An argument is one argument
 * whatever its values hold: no shell sees it. */
#ifndef ASUSER_PIPE_MACRO_H
#define ASUSER_PIPE_MACRO_H

#include "base/arena.h"
#include "base/buf.h"
#include "mime/address.h"

/* flags= letters that change values */
#define PIPE_FOLD_DOMAIN 1 /* h */
#define PIPE_FOLD_LOCAL	 2 /* u */
#define PIPE_QUOTE	 4 /* q */

struct pipe_value {
	const char *name;
	struct span value;
};
/* The values that all recipients have in common, in this order: sender nexthop queue_id size client_address client_hostname
 * client_helo client_port client_protocol sasl_method sasl_sender sasl_username envid. */
#define PIPE_COMMON_VALUES 13
void pipe_common_values(const struct span v[PIPE_COMMON_VALUES], struct pipe_value out[PIPE_COMMON_VALUES]);
/* The values that differ between recipients, of one address in external form: recipient user extension
 * mailbox domain. */
#define PIPE_RCPT_VALUES 6
void pipe_rcpt_values(struct span addr, struct span orig, unsigned flags, struct address_extensions x,
		      struct arena *a, struct pipe_value out[PIPE_RCPT_VALUES]);
/* The address as arguments show it. */
struct span pipe_address(struct span addr, unsigned flags, struct arena *a);
/* True when the argument has a name of the recipient in it: it is repeated for each. */
bool pipe_is_per_rcpt(struct span arg);
/* Whether it could be expanded. RC_NOTFOUND: unknown name (story); RC_SYNTAX. */
MUST_CHECK enum rc pipe_check(struct span arg, struct err *e);
/* $name ${name} $(name) ${name?text} ${name:text} $$. RC_NOTFOUND: unknown name (story); RC_SYNTAX; RC_LIMIT:
 * longer than 8000 bytes. */
MUST_CHECK enum rc pipe_expand(struct span arg, const struct pipe_value *common, size_t n,
			       const struct pipe_value *rcpt, size_t m, struct arena *a, struct span *out,
			       struct err *e);

#endif
