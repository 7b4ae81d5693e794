/* conf/defaults.c - defaults that this host decides: its name, its domain, its networks. */
#include "conf/conf_int.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define NETS_MAX 1024

struct conf_net {
	int family;
	unsigned char addr[16];
	unsigned bits; /* of the interface's mask */
};

/* Asking for one default may ask for another; a main.cf that makes a circle of it gets the plain value. */
static bool ask(const struct conf *c, const char *name, struct span *out)
{
	enum rc rc = RC_LIMIT;

	if (c->late->computing < 4) {
		c->late->computing++;
		rc = conf_expand(c, span_str(conf_raw(c, name)), &c->late->arena, out, NULL);
		c->late->computing--;
	}
	return rc == RC_OK;
}

/* Without a dot in the host's name: the domain of main.cf, else "localdomain" (as Postfix does). */
static const char *host_name(const struct conf *c)
{
	char name[256] = "localhost";
	struct span domain = SPAN("localdomain");

	if (gethostname(name, sizeof(name)) != 0)
		(void)snprintf(name, sizeof(name), "localhost");
	name[sizeof(name) - 1] = '\0';
	if (strchr(name, '.') != NULL)
		return arena_strdup(&c->late->arena, name);
	if (conf_is_set(c, "mydomain") && (!ask(c, "mydomain", &domain) || domain.n == 0))
		domain = SPAN("localdomain");
	return arena_printf(&c->late->arena, "%s." SPAN_FMT, name, SPAN_ARG(domain));
}

static const char *domain_name(const struct conf *c)
{
	struct span host;
	ptrdiff_t dot;

	if (!ask(c, "myhostname", &host) || (dot = span_chr(host, '.')) < 0)
		return "localdomain";
	return arena_cstr(&c->late->arena, span_skip(host, (size_t)dot + 1));
}

/* ---- networks ---- */

static unsigned mask_bits(const unsigned char *mask, size_t n)
{
	unsigned bits = 0;

	for (size_t i = 0; i < n; i++)
		for (unsigned b = 0x80; b != 0 && (mask[i] & b) != 0; b >>= 1)
			bits++;
	return bits;
}

static size_t address_of(const struct sockaddr *sa, unsigned char out[16])
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(&v4, sa, sizeof(v4));
		memcpy(out, &v4.sin_addr, 4);
		return 4;
	case AF_INET6:
		memcpy(&v6, sa, sizeof(v6));
		memcpy(out, &v6.sin6_addr, 16);
		return 16;
	default:
		return 0;
	}
}

void conf_find_nets(struct conf *c)
{
	struct ifaddrs *all, *i;
	size_t cap = 0;

	if (getifaddrs(&all) != 0)
		return;
	for (i = all; i != NULL && c->nets < NETS_MAX; i = i->ifa_next) {
		struct conf_net net = { 0 };
		unsigned char mask[16] = { 0 };
		size_t n;

		if (i->ifa_addr == NULL || (i->ifa_flags & IFF_UP) == 0)
			continue;
		if ((n = address_of(i->ifa_addr, net.addr)) == 0)
			continue;
		net.family = i->ifa_addr->sa_family;
		net.bits = (unsigned)n * 8;
		if (i->ifa_netmask != NULL && address_of(i->ifa_netmask, mask) == n)
			net.bits = mask_bits(mask, n);
		if (c->nets == cap)
			c->net = arena_grow(&c->arena, c->net, c->nets, &cap, sizeof(*c->net));
		c->net[c->nets++] = net;
	}
	freeifaddrs(all);
}

static bool is_loopback(const struct conf_net *net)
{
	static const unsigned char v6[16] = { [15] = 1 };

	return net->family == AF_INET ? net->addr[0] == 127 : memcmp(net->addr, v6, 16) == 0;
}

/* A word of inet_interfaces: "all", "loopback-only", an address, or a name (of which only those in hosts(5)
 * count here). */
static bool names_interface(struct span word, const struct conf_net *net)
{
	struct addrinfo hints = { .ai_family = net->family, .ai_socktype = SOCK_STREAM }, *res, *i;
	char host[256];
	bool found = false;

	if (span_is(word, "all"))
		return true;
	if (span_is(word, "loopback-only"))
		return is_loopback(net);
	if (word.n > 2 && word.p[0] == '[' && word.p[word.n - 1] == ']')
		word = span_make(word.p + 1, word.n - 2);
	if (span_cstr(word, host, sizeof(host)) != RC_OK || getaddrinfo(host, NULL, &hints, &res) != 0)
		return false;
	for (i = res; i != NULL && !found; i = i->ai_next) {
		unsigned char addr[16];
		size_t n = address_of(i->ai_addr, addr);

		found = n > 0 && memcmp(addr, net->addr, n) == 0;
	}
	freeaddrinfo(res);
	return found;
}

static bool is_ours(const struct conf_net *net, const struct span *word, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (names_interface(word[i], net))
			return true;
	return false;
}

static unsigned style_bits(struct span style, const struct conf_net *net)
{
	if (span_is_ci(style, "subnet"))
		return net->bits;
	if (span_is_ci(style, "class"))
		return net->family != AF_INET ? net->bits
		       : net->addr[0] < 128   ? 8
		       : net->addr[0] < 192   ? 16
					      : 24;
	return net->family == AF_INET ? 32 : 128;
}

static void append_net(struct buf *out, const struct conf_net *net, unsigned bits)
{
	unsigned char addr[16];
	char text[INET6_ADDRSTRLEN], item[INET6_ADDRSTRLEN + 16];

	memcpy(addr, net->addr, sizeof(addr));
	for (unsigned i = bits; i < (net->family == AF_INET ? 32U : 128U); i++)
		addr[i / 8] &= (unsigned char)~(0x80U >> (i % 8));
	if (inet_ntop(net->family, addr, text, sizeof(text)) == NULL)
		return;
	(void)snprintf(item, sizeof(item), net->family == AF_INET ? " %s/%u" : " [%s]/%u", text, bits);
	if (span_find(buf_span(out), span_str(item)) < 0)
		(void)buf_puts(out, item);
}

static const char *networks(const struct conf *c)
{
	struct span style = SPAN_NONE, list = SPAN_NONE, protocols = SPAN_NONE, *word = NULL;
	struct buf out;
	const char *text;
	size_t n = 0;

	if (!ask(c, "mynetworks_style", &style) || !ask(c, "inet_interfaces", &list) ||
	    !ask(c, "inet_protocols", &protocols) ||
	    conf_words(list, false, &c->late->arena, &word, &n, NULL) != RC_OK)
		return "127.0.0.0/8 [::1]/128";
	buf_init(&out, CONF_VALUE_MAX);
	for (size_t i = 0; i < c->nets; i++) {
		const struct conf_net *net = &c->net[i];

		if (span_find(protocols, SPAN("all")) < 0 &&
		    span_find(protocols, net->family == AF_INET ? SPAN("ipv4") : SPAN("ipv6")) < 0)
			continue;
		if (is_ours(net, word, n))
			append_net(&out, net, style_bits(style, net));
	}
	text = arena_cstr(&c->late->arena, span_trim(buf_span(&out)));
	buf_release(&out);
	return text;
}

static const char *directory(const struct conf *c)
{
	return c->dir;
}

static const char *process_id(const struct conf *c)
{
	return arena_printf(&c->late->arena, "%ld", (long)getpid());
}

static const char *process_name(const struct conf *c)
{
	(void)c;
	return program_invocation_short_name;
}

static const struct {
	const char *name;
	const char *(*compute)(const struct conf *);
} computed[] = {
	{ "config_directory", directory }, { "mydomain", domain_name },	 { "myhostname", host_name },
	{ "mynetworks", networks },	   { "process_id", process_id }, { "process_name", process_name },
};

const char *conf_default(const struct conf *c, const struct param *p)
{
	struct span key = span_str(p->name);

	for (size_t i = 0; i < ARRAY_LEN(computed); i++) {
		char *text;

		if (strcmp(computed[i].name, p->name) != 0)
			continue;
		if ((text = table_get(c->late->computed, key)) == NULL) {
			text = arena_strdup(&c->late->arena, computed[i].compute(c));
			if (c->late->computing == 0)
				(void)table_set(c->late->computed, key, text);
		}
		return text;
	}
	return p->def;
}
