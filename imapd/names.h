/* Mailbox names as clients write them (RFC 3501 5.1). Pure. */
#ifndef IMAPD_NAMES_H
#define IMAPD_NAMES_H

#include "base/arena.h"
#include "base/span.h"

/* Is it modified UTF-7 (RFC 3501 5.1.3): printable US-ASCII, "&-" for an ampersand, and between "&" and "-" base64 of
 * whole UTF-16 characters that could not stand for themselves? */
bool name_is_utf7(struct span name);
/* INBOX in any case is INBOX, also as the first part of a longer name. */
struct span name_canonical(struct span name, char sep, struct arena *a);

#endif
