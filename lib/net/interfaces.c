/* net/interfaces.c - see interfaces.h. */
#include "net/interfaces.h"
#include "net/addr.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>

static void add(const struct sockaddr *sa, struct buf *out)
{
	struct sockaddr_storage ss = { 0 };
	char text[INET_TEXT_MAX];
	struct inet_addr ip;

	if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
		return;
	memcpy(&ss, sa, sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	inet_addr_from_sockaddr(&ss, &ip, NULL);
	ip.scope = 0;
	inet_addr_text(&ip, text);
	(void)buf_printf(out, ip.family == AF_INET6 ? "[%s] " : "%s ", text);
}

void own_addresses(struct buf *out)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		add(i->ifa_addr, out);
	freeifaddrs(all);
}
