/* smtp/check_action.h - what a table of header_checks(5) or body_checks says of a line: "PREPEND X-Seen: yes". Pure. */
#ifndef SMTP_CHECK_ACTION_H
#define SMTP_CHECK_ACTION_H

#include "base/span.h"

enum check_verb {
	CHECK_DUNNO, /* also OK, and an empty result */
	CHECK_BCC,
	CHECK_DISCARD,
	CHECK_FILTER,
	CHECK_HOLD,
	CHECK_IGNORE,
	CHECK_INFO,
	CHECK_PASS,
	CHECK_PREPEND,
	CHECK_REDIRECT,
	CHECK_REJECT,
	CHECK_REPLACE,
	CHECK_STRIP,
	CHECK_WARN,
	CHECK_VERBS
};

struct check_action {
	enum check_verb verb;
	struct span text; /* behind the word: within `value` */
	struct span dsn;  /* of CHECK_REJECT; "" none */
};
/* `map`: the parameter that names the table, for the story. `header`: a text that goes into a header has to be one field.
 * errors   RC_SYNTAX */
MUST_CHECK enum rc check_action_parse(struct span value, const char *map, bool header,
				      struct check_action *out, struct err *e);

#endif
