/* net/hostport.h - "host:port" as the commands take it, looked up through the C library. It blocks and reads the
 * files of the host: for commands before their loop runs, not for daemons (those ask the resolver). */
#ifndef NET_HOSTPORT_H
#define NET_HOSTPORT_H

#include "base/span.h"
#include <netdb.h>

struct hostport_want {
	const char *
	    host; /* when the text names none; NULL: no host, which is what listeners mean by any interface */
	const char *port; /* when the text names none; NULL: then a text without ":" is a port */
	int family;	  /* AF_UNSPEC, AF_INET, AF_INET6 */
	bool listen;	  /* addresses to bind */
};
/* "host", "host:port", ":port", "[2001:db8::1]:port"; host and port numeric or by name. The caller frees *out with
 * freeaddrinfo().
 * errors   RC_SYNTAX, RC_NOTFOUND (both with a story that begins with the text) */
MUST_CHECK enum rc hostport_lookup(const char *text, const struct hostport_want *want, struct addrinfo **out,
				   struct err *e);

#endif
