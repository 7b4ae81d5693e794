/* smtp/params.h - the arguments of MAIL and RCPT (RFC 5321 sections 4.1.1.2, 4.1.1.3 and 4.1.2; RFC 1870, 3461,
 * 4954, 6152, 6531). Pure: they take the text of a command and give typed values, or the reply that says what
 * is wrong. */
#ifndef SMTP_PARAMS_H
#define SMTP_PARAMS_H

#include "queue/envelope.h"

/* Bytes of the values. RFC 3461 allows 100 (section 5.4) and 500 (4.2); there are senders that do not keep to it. */
#define ENVID_TEXT_MAX 500
#define ORCPT_TEXT_MAX 1000

/* Extensions that are on, and so are their parameters. */
#define EXT_SIZE     1u
#define EXT_8BITMIME 2u
#define EXT_DSN	     4u
#define EXT_AUTH     8u
#define EXT_SMTPUTF8 16u
#define EXT_XVERP    32u

/* "FROM:<path> PARAM=..." -> the path as it stands between the brackets and the parameters. Without brackets
 * the path is the first word, unless `strict`. NULL, or a reply. */
const char *params_path(struct span text, const char *keyword, bool strict, struct span *path,
			struct span *rest);

struct mail_params {
	uint64_t size; /* 0: not given */
	enum env_body body;
	enum env_ret ret;
	struct span envid; /* decoded, printable ASCII */
	bool smtputf8;
	struct span auth; /* decoded; n 0: not given */
	bool xverp;	  /* XVERP, or XVERP=+= with the delimiters, not judged yet */
	bool own_verp;	  /* with delimiters of its own */
	struct span verp;
};
const char *params_mail(struct span rest, unsigned extensions, struct arena *a, struct mail_params *out);

struct rcpt_params {
	uint16_t notify;
	struct span orcpt; /* "rfc822;user@example" with the address decoded */
};
const char *params_rcpt(struct span rest, unsigned extensions, struct arena *a, struct rcpt_params *out);

#endif
