/* net/hostname.h - the verified name of a client, as smtpd, pop3d and imapd log it: PTR, then a forward
 * look-up must lead back to the address; otherwise "unknown". */
#ifndef NET_HOSTNAME_H
#define NET_HOSTNAME_H

#include "net/dns.h"

struct client_name {
	struct span name;		  /* verified name or "unknown" */
	struct span reverse;		  /* unverified PTR name or "unknown" */
	uint16_t name_code, reverse_code; /* 2 ok, 4 temporary, 5 no such name:
					     reject_unknown_client_hostname's answer 450/550 */
	struct span forged; /* what PTR said last and does not lead back; "" none, or `name` is verified */
	const char *
	    forged_why; /* its addresses cannot be had, in the words of getaddrinfo(3); NULL: they are others */
};
void client_name_find(const struct inet_addr *addr, struct arena *a, struct client_name *out, deadline_t d);

#endif
