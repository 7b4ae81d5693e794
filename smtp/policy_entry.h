/* policy_entry.h - an entry of smtp_tls_policy_maps, which policy services and plug-ins for MTA-STS write, too: "secure match=a:b
 * servername=hostname { policy_string = version: STSv1 }". Pure. */
#ifndef SMTP_POLICY_ENTRY_H
#define SMTP_POLICY_ENTRY_H

#include "base/arena.h"
#include "net/tls.h"

/* Attributes as written; "" when the entry has none. Those that may come more than once are joined. */
struct policy_entry {
	enum tls_level level;
	struct span match, mx_pattern; /* joined by "|" */
	struct span tafile;	       /* joined by "," */
	struct span protocols, ciphers, exclude, servername, policy_type;
	struct span told;	    /* policy_domain and other facts for reports */
	const struct span *ignored; /* behind the level "none", where all attributes are without effect */
	size_t ignored_n;
};
/* What is not a copy lives in `text`.
 * errors   RC_SYNTAX, RC_LIMIT */
MUST_CHECK enum rc policy_entry_parse(struct span text, struct arena *a, struct policy_entry *out,
				      struct err *e);
/* Whether a name of an MX host fits a pattern of the entry (RFC 8461 section 4.1). */
bool policy_entry_fits(const struct policy_entry *p, struct span host);

const char *policy_level_name(enum tls_level level);
/* The words of a list of names, or of fingerprints, in which colons do not part words. */
size_t policy_words(struct span text, bool fingerprints, struct arena *a, struct span **out);

#endif
