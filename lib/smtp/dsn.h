/* smtp/dsn.h - status codes of RFC 3463 section 2 at the start of a text: "5.1.1 user unknown", as servers, tables, next hops of
 * error(8) and commands say it. Pure. */
#ifndef SMTP_DSN_H
#define SMTP_DSN_H

#include "base/span.h"

#define DSN_TEXT_MAX 9 /* "5.999.999" */

/* Bytes of the "class.subject.detail" that `text` begins with: class 2, 4 or 5, the others of one to three digits, white space or
 * the end behind them. 0: it does not begin with one. */
size_t dsn_length(struct span text);
/* Takes the code off *text, with the blanks around it. False: there is none of a class in `classes` ("45"), and nothing is taken. */
bool dsn_take(struct span *text, const char *classes, struct span *dsn);

#endif
