/* map/own_domains.h - the domains whose addresses tables may name by the local part alone (virtual(5), generic(5),
 * recipient_bcc_maps): myorigin, what mydestination lists, and the [addresses] of inet_interfaces and proxy_interfaces. */
#ifndef MAP_OWN_DOMAINS_H
#define MAP_OWN_DOMAINS_H

#include "map/map.h"

struct conf;
struct own_domains; /* opaque; lives as long as the process */
/* Reads these parameters; opens the tables among mydestination. In prepare(). */
MUST_CHECK enum rc own_domains_open(const struct conf *c, struct own_domains **out, struct err *e);
/* RC_OK it is one of ours, RC_NOTFOUND it is not, RC_AGAIN a table failed. May wait (map_lookup()). */
MUST_CHECK enum rc own_domains_have(struct own_domains *o, struct span domain, struct err *e);

#endif
