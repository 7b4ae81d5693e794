/* conf/bounce_template.h - the texts of delivery status notifications (bounce(5)): built in, or from the file
 * that bounce_template_file names. The file holds up to four blocks
 *
 *   failure_template = <<WORD
 *   Charset: us-ascii
 *   From: MAILER-DAEMON (Mail Delivery System)
 *   Subject: ...
 *   Postmaster-Subject: ...
 *
 *   text with $myhostname and other parameters
 *   WORD
 *
 * Each header may be left out: it is then that of the built-in text.
 *
 * Text fields are spans into what was parsed, or into constants. Pure: no file is opened here. */
#ifndef CONF_BOUNCE_TEMPLATE_H
#define CONF_BOUNCE_TEMPLATE_H

#include "conf/conf.h"

enum bounce_text { BT_FAILURE, BT_DELAY, BT_SUCCESS, BT_VERIFY, BT_COUNT };
struct bounce_template {
	const char *name; /* "failure_template" */
	struct span charset;
	struct span from; /* as in the file: an address without domain, and a name */
	struct span subject;
	struct span postmaster_subject; /* of copies to the postmaster; "" none (success, verify) */
	struct span body;		/* lines; $name as in main.cf, and times in other units (below) */
};
extern const struct bounce_template bounce_templates[BT_COUNT]; /* the built-in ones */

/* Replaces in out[] (filled with built-in or former ones by the caller) what `file` defines. A block that is malformed,
 * an unknown name, or a header that is not plain ASCII is RC_SYNTAX with the line number in the story. */
MUST_CHECK enum rc bounce_template_parse(struct span file, struct arena *a,
					 struct bounce_template out[BT_COUNT], struct err *e);
/* The body with its $names expanded. A time parameter NAME is also $NAME_seconds, _minutes, _hours, _days, _weeks,
 * rounded up. RC_SYNTAX: a loop or bad syntax of a parameter. */
MUST_CHECK enum rc bounce_template_body(const struct conf *c, const struct bounce_template *t,
					struct arena *a, struct span *out, struct err *e);

#endif
