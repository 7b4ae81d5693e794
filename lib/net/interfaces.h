/* net/interfaces.h - the addresses of this host. */
#ifndef NET_INTERFACES_H
#define NET_INTERFACES_H

#include "base/buf.h"

/* Appends each address of an interface in the syntax of mynetworks ("192.0.2.1 [2001:db8::1] "). Before the sandbox. */
void own_addresses(struct buf *out);

#endif
