/* net/addr.h - IP addresses and networks. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include "base/span.h"
#include <netinet/in.h>
#include <sys/socket.h>

struct inet_addr {
	int family; /* AF_INET or AF_INET6; IPv4-mapped IPv6 addresses are turned into AF_INET */
	uint8_t b[16];
	uint32_t scope;
};
#define INET_TEXT_MAX 64
MUST_CHECK enum rc inet_addr_parse(
    struct span text, struct inet_addr *out); /* "192.0.2.1", "2001:db8::1", with or without [], "IPv6:" */
void inet_addr_text(const struct inet_addr *a, char out[INET_TEXT_MAX]); /* canonical, without brackets */
/* 4 or 16 bytes in network order, as that family says. */
void inet_addr_from_bytes(int family, const void *bytes, struct inet_addr *out);
void inet_addr_from_sockaddr(const struct sockaddr_storage *ss, struct inet_addr *out, uint16_t *port);
socklen_t inet_addr_to_sockaddr(const struct inet_addr *a, uint16_t port, struct sockaddr_storage *ss);
struct inet_net {
	struct inet_addr addr;
	unsigned bits;
};
/* "192.0.2.0/24", "192.0.2.1", "[2001:db8::]/32", "[2001:db8::/32]". RC_SYNTAX when host bits are set, as Postfix says. */
MUST_CHECK enum rc inet_net_parse(struct span text, struct inet_net *out, struct err *e);
bool inet_net_has(const struct inet_net *n, const struct inet_addr *a);
bool inet_addr_eq(const struct inet_addr *a, const struct inet_addr *b);
/* in-addr.arpa / ip6.arpa name; buffer of 80 bytes. */
void inet_addr_reverse_name(const struct inet_addr *a, char out[80]);

#endif
