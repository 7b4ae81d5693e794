/* asuser/attributes.h - the attributes of pipe(8) and spawn(8) in master.cf: whose rights a command has, and what it is. */
#ifndef ASUSER_ATTRIBUTES_H
#define ASUSER_ATTRIBUTES_H

#include "asuser/asuser.h"
#include "conf/conf.h"

struct attributes {
	bool spawn; /* of spawn(8) */
	const struct span *argv;
	size_t argc;
	char user[ASUSER_NAME_MAX], group[ASUSER_NAME_MAX]; /* group "": the user's own */
	struct span flags;				    /* letters of ATTRIBUTE_FLAGS */
	const char *directory, *chroot;			    /* "": none */
	struct span eol, null_sender;
	uint64_t size_limit; /* 0: none */
};
#define ATTRIBUTE_FLAGS "BDFORXhqu.>"

/* From the n words that follow the options; `spawn`: the attributes of spawn(8) only. What is found lies in `a` and in the words.
 * errors   RC_SYNTAX what is wrong, and what would be right */
MUST_CHECK enum rc attributes_parse(const struct span *words, size_t n, bool spawn, struct arena *a,
				    struct attributes *out, struct err *e);

/* Whose rights work may be done with: not root's, not those of the mail system itself. `group` "": the user's own.
 * errors   RC_NOTFOUND no such user or group; RC_DENIED; RC_SYS the user database does not answer */
MUST_CHECK enum rc account_may_work(const struct conf *c, const char *user, const char *group, bool one_uid,
				    uint32_t *uid, uint32_t *gid, struct err *e);
/* A uid or gid in digits, `least` or more. */
MUST_CHECK enum rc account_id_parse(struct span text, uint64_t least, uint32_t *id);
/* The same as account_may_work() for the command; errors say that it is the attribute user=. */
MUST_CHECK enum rc attributes_account(const struct conf *c, const struct attributes *t, bool one_uid,
				      uint32_t *uid, uint32_t *gid, struct err *e);

#endif
