/* net/idna.h - domain names in Unicode and in the ASCII form that DNS knows (IDNA 2008, RFC 5890 to 5893, with the
 * mapping of UTS 46, nontransitional). Pure. */
#ifndef NET_IDNA_H
#define NET_IDNA_H

#include "base/arena.h"

/* "bücher.example" -> "xn--bcher-kva.example". A name that is ASCII already comes back as it is. RC_SYNTAX: no IDNA
 * name. */
MUST_CHECK enum rc idna_to_ascii(struct span domain, struct arena *a, struct span *out);
/* The reverse: every "xn--" label decoded. RC_SYNTAX: a label that is none. */
MUST_CHECK enum rc idna_to_unicode(struct span domain, struct arena *a, struct span *out);
/* The other of the two forms; false: there is none, or it is the same. */
bool idna_other_form(struct span domain, struct arena *a, struct span *out);

#endif
