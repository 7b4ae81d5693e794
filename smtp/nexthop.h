/* nexthop.h - where a message goes, as tables of transports write it: "host", "host:port", "[host]", "[2001:db8::1]:port". Pure, but for names of
 * ports, which are looked up in services(5). */
#ifndef SMTP_NEXTHOP_H
#define SMTP_NEXTHOP_H

#include "base/span.h"

struct nexthop {
	struct span host; /* without brackets, "IPv6:" and final dot; never "" */
	bool literal;	  /* in brackets: the host itself, not its MX */
	uint16_t port;
	struct span service; /* the port as written */
};
/* `service` and `port`: where the text names none.
 * errors   RC_SYNTAX */
MUST_CHECK enum rc nexthop_parse(struct span text, const char *service, uint16_t port, struct nexthop *out,
				 struct err *e);

#endif
