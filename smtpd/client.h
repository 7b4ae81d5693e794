/* client.h - who the client is, and what XCLIENT and XFORWARD of a trusted front-end or filter say of it (the protocols of Postfix's XCLIENT_README
 * and XFORWARD_README). Pure. */
#ifndef SMTPD_CLIENT_H
#define SMTPD_CLIENT_H

#include "base/arena.h"
#include "net/addr.h"

/* As far as XCLIENT can say it. */
struct client {
	struct span name, rname, addr;	/* addr without IPv6:; "unknown": none */
	uint16_t name_code, rname_code; /* 2 known, 4 not known now, 5 not known */
	unsigned port, local_port;
	struct span local_addr;
	struct inet_addr ip; /* family AF_UNSPEC: not an IP client */
	struct span helo;
	bool esmtp;
	struct span sasl_method, sasl_user;
};

struct forward { /* what XFORWARD told; "" nothing, "unknown" that there is none */
	struct span name, addr, port, proto, helo, ident;
	bool local, sourced; /* SOURCE=LOCAL; SOURCE was told */
};

/* Takes all of "NAME=value ...", or nothing: NULL, or the reply. Values are xtext. New strings live in `a`. */
const char *xclient_take(struct span args, bool utf8, struct arena *a, struct client *c);
const char *xforward_take(struct span args, bool utf8, struct arena *a, struct forward *f);

/* 255 bytes at most of a name from outside, with '?' for what would make more of it than one word in a header or a log. */
struct span neutral_name(struct arena *a, struct span name, bool utf8);

#endif
