/* net/interfaces.h - the addresses of this host. */
#ifndef NET_INTERFACES_H
#define NET_INTERFACES_H

#include "base/buf.h"
#include "conf/conf.h"

/* Appends each address that inet_interfaces names ("all", "loopback-only", addresses with or without brackets, names of hosts), in the
 * syntax of mynetworks ("192.0.2.1 [2001:db8::1] "). Before the sandbox: names are looked up; one that is not found is warned of. */
void own_addresses(const struct conf *c, struct buf *out);
/* The same of proxy_interfaces: addresses of ours on the other side of a proxy or address translator. */
void proxy_addresses(const struct conf *c, struct buf *out);

#endif
