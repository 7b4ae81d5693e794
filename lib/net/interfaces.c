/* net/interfaces.c - see interfaces.h. */
#include "net/interfaces.h"
#include "log/log.h"
#include "net/addr.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

static void add(struct inet_addr ip, struct buf *out)
{
	char text[INET_TEXT_MAX];

	ip.scope = 0;
	inet_addr_text(&ip, text);
	(void)buf_printf(out, ip.family == AF_INET6 ? "[%s] " : "%s ", text);
}

static void add_sockaddr(const struct sockaddr *sa, struct buf *out)
{
	struct sockaddr_storage ss = { 0 };
	struct inet_addr ip;

	if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
		return;
	memcpy(&ss, sa, sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	inet_addr_from_sockaddr(&ss, &ip, NULL);
	add(ip, out);
}

static void add_interfaces(bool loopback_only, struct buf *out)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		if (!loopback_only || (i->ifa_flags & IFF_LOOPBACK))
			add_sockaddr(i->ifa_addr, out);
	freeifaddrs(all);
}

static void add_host(const char *param, struct span word, struct buf *out)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *res = NULL;
	char host[256];

	if (span_cstr(word, host, sizeof(host)) != RC_OK || getaddrinfo(host, NULL, &hints, &res) != 0) {
		log_warning("%s: host not found: " SPAN_FMT, param, SPAN_ARG(word));
		return;
	}
	for (const struct addrinfo *i = res; i != NULL; i = i->ai_next)
		add_sockaddr(i->ai_addr, out);
	freeaddrinfo(res);
}

static void add_words(const struct conf *c, const char *param, struct buf *out)
{
	struct span rest = span_str(conf_str(c, param)), word;
	struct inet_addr ip;

	while (span_next_word(&rest, ", \t\r\n", &word)) {
		if (span_is_ci(word, "all"))
			add_interfaces(false, out);
		else if (span_is_ci(word, "loopback-only"))
			add_interfaces(true, out);
		else if (inet_addr_parse(word, &ip) == RC_OK)
			add(ip, out);
		else
			add_host(param, word, out);
	}
}

void own_addresses(const struct conf *c, struct buf *out)
{
	add_words(c, "inet_interfaces", out);
}

void proxy_addresses(const struct conf *c, struct buf *out)
{
	add_words(c, "proxy_interfaces", out);
}
