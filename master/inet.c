/* master/inet.c - the sockets of an inet service: its own host and port, or its port on every address of
 * inet_interfaces. */
#include "master.h"
#include "inherit.h"
#include "conf/ports.h"
#include "log/log.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

struct wanted {
	struct running *r;
	struct service *s;
	struct list *fresh;
	bool v4, v6;
};

static void read_protocols(struct wanted *w)
{
	struct span rest = span_str(conf_str(w->r->conf, "inet_protocols")), word;
	w->v4 = w->v6 = false;
	while (span_next_word(&rest, ", \t", &word)) {
		w->v4 |= span_is_ci(word, "all") || span_is_ci(word, "ipv4");
		w->v6 |= span_is_ci(word, "all") || span_is_ci(word, "ipv6");
	}
}

static enum rc keep(struct wanted *w, struct listener *l, struct err *e)
{
	struct service *s = w->s;
	for (size_t i = 0; i < s->listeners; i++)
		if (s->listener[i] == l)
			return RC_OK;
	LIST_EACH(it, &w->r->services)
	{
		const struct service *other = LIST_ENTRY(it, struct service, link);
		for (size_t i = 0; i < other->listeners; i++)
			if (other->listener[i] == l)
				return err_set(e, RC_SYNTAX, "%s is an address of service %s in line %u, too",
					       l->key, other->name, other->entry->line);
	}
	if (s->listeners == ADDRESSES_MAX)
		return err_set(e, RC_LIMIT, "service %s: too many addresses", s->name);
	if (s->listener == NULL)
		s->listener = arena_array(&w->r->arena, ADDRESSES_MAX, sizeof(struct listener *));
	s->listener[s->listeners++] = l;
	return RC_OK;
}

static void text_of(const struct sockaddr *a, socklen_t len, char *out, size_t n)
{
	char host[64], port[16];
	if (getnameinfo(a, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(out, n, "unknown address");
	else
		snprintf(out, n, "%s port %s", host, port);
}

static int bind_and_listen(int fd, const struct sockaddr *a, socklen_t len)
{
	return bind(fd, a, len) < 0 ? -1 : listen(fd, SOMAXCONN);
}

/* The port is taken: by our own socket for the wildcard address, or for one that the wildcard contains, it may be shared. */
static int bind_beside(struct list *fresh, int fd, const struct sockaddr *a, socklen_t len)
{
	static const int one = 1, zero = 0;
	overlap_share(fresh, a, len, true);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
	int bound = bind_and_listen(fd, a, len), reason = errno;
	overlap_share(fresh, a, len, false);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &zero, sizeof zero);
	errno = reason;
	return bound;
}

static enum rc open_socket(struct list *fresh, const struct sockaddr *a, socklen_t len, const char *text,
			   int *out, struct err *e)
{
	static const int one = 1;
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket for %s", text);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    (a->sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) ||
	    (bind_and_listen(fd, a, len) < 0 &&
	     (errno != EADDRINUSE || bind_beside(fresh, fd, a, len) < 0))) {
		enum rc rc = err_sys(e, "bind %s", text);
		close(fd);
		return rc;
	}
	*out = fd;
	return RC_OK;
}

static enum rc take_address(struct wanted *w, const struct sockaddr *a, socklen_t len, struct err *e)
{
	char text[96];
	int fd = -1;
	text_of(a, len, text, sizeof text);
	const char *key = arena_printf(&w->r->arena, "inet:%s", text);
	struct listener *l = listen_find(w->fresh, key);
	if (l != NULL)
		return keep(w, l, e);
	struct inherited *h = inherit_by_address(a, len);
	enum rc rc = h != NULL ? RC_OK : open_socket(w->fresh, a, len, text, &fd, e);
	if (rc != RC_OK)
		return rc;
	l = listen_new(key, NULL, h != NULL ? h->fd : fd);
	if (h != NULL)
		l->inherited = h->used = true;
	list_add_tail(w->fresh, &l->link);
	return keep(w, l, e);
}

/* host NULL: the wildcard address. An address of a family that this host lacks is skipped for the wildcard.
 */
static enum rc take_host(struct wanted *w, const char *host, const char *port, struct err *e)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM }, *list;
	enum rc rc = RC_OK;
	size_t taken = w->s->listeners;
	uint16_t number;
	bool known = port_parse(span_str(port), &number);
	/* getaddrinfo() takes 70000 for 4464 */
	if ((known && number == 0) || (!known && strspn(port, "0123456789") == strlen(port)))
		return err_set(e, RC_SYNTAX, "bad port number \"%s\"", port);
	int failed = getaddrinfo(host, known ? arena_printf(&w->r->arena, "%u", (unsigned)number) : port,
				 &hints, &list);
	if (failed != 0)
		return err_set(e, RC_NOTFOUND, "%s:%s: %s", host != NULL ? host : "", port,
			       gai_strerror(failed));
	for (const struct addrinfo *a = list; rc == RC_OK && a != NULL; a = a->ai_next) {
		if ((a->ai_family == AF_INET && !w->v4) || (a->ai_family == AF_INET6 && !w->v6))
			continue;
		rc = take_address(w, a->ai_addr, a->ai_addrlen, e);
		if (rc == RC_SYS && (e->sys == EAFNOSUPPORT || (host == NULL && e->sys == EADDRNOTAVAIL)))
			rc = RC_OK;
	}
	freeaddrinfo(list);
	if (rc == RC_OK && w->s->listeners == taken)
		return err_set(e, RC_NOTFOUND, "%s: no usable address with inet_protocols = %s",
			       host != NULL ? host : "all", conf_str(w->r->conf, "inet_protocols"));
	return rc;
}

static enum rc take_interfaces(struct wanted *w, const char *port, struct err *e)
{
	struct span *words;
	size_t n;
	enum rc rc =
	    conf_words(span_str(conf_str(w->r->conf, "inet_interfaces")), true, &w->r->arena, &words, &n, e);
	for (size_t i = 0; rc == RC_OK && i < n; i++) {
		struct span h = words[i];
		if (h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
			h = span_make(h.p + 1, h.n - 2);
		if (span_is_ci(h, "all"))
			rc = take_host(w, NULL, port, e);
		else if (!span_is_ci(h, "loopback-only"))
			rc = take_host(w, arena_cstr(&w->r->arena, h), port, e);
		else {
			rc = w->v4 ? take_host(w, "127.0.0.1", port, e) : RC_OK;
			if (rc == RC_OK && w->v6 && take_host(w, "::1", port, e) != RC_OK && !w->v4)
				rc = RC_NOTFOUND;
		}
	}
	return rc;
}

/* "smtp", "127.0.0.1:10025", "[::1]:25" */
static void split_name(struct wanted *w, const char **host, const char **port)
{
	struct span name = w->s->entry->name, h;
	ptrdiff_t colon = span_rchr(name, ':');
	*host = NULL;
	*port = w->s->name;
	if (colon < 0)
		return;
	h = span_head(name, (size_t)colon);
	if (h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = span_make(h.p + 1, h.n - 2);
	*host = h.n > 0 ? arena_cstr(&w->r->arena, h) : NULL;
	*port = w->s->name + colon + 1;
}

static enum rc take_inherited(struct wanted *w, bool *any, struct err *e)
{
	size_t pos = 0;
	enum rc rc = RC_OK;
	for (struct inherited *h; rc == RC_OK && (h = inherit_by_name(w->s->name, &pos)) != NULL;) {
		const char *key = arena_printf(&w->r->arena, "systemd:%s:%d", w->s->name, h->fd);
		struct listener *l = listen_new(key, NULL, h->fd);
		l->inherited = h->used = true;
		list_add_tail(w->fresh, &l->link);
		rc = keep(w, l, e);
		*any = true;
	}
	/* on a reload they are in the pool already */
	const char *prefix = arena_printf(&w->r->arena, "systemd:%s:", w->s->name);
	LIST_EACH(it, &master.listeners)
	{
		struct listener *l = LIST_ENTRY(it, struct listener, link);
		if (rc == RC_OK && !l->closing && strncmp(l->key, prefix, strlen(prefix)) == 0) {
			rc = keep(w, l, e);
			*any = true;
		}
	}
	return rc;
}

enum rc inet_listen(struct running *r, struct service *s, struct list *fresh, struct err *e)
{
	struct wanted w = { .r = r, .s = s, .fresh = fresh };
	const char *host, *port;
	bool any = false;
	enum rc rc = take_inherited(&w, &any, e);
	if (rc != RC_OK || any)
		return rc;
	read_protocols(&w);
	if (!w.v4 && !w.v6) { /* a host without network, as it was installed */
		log_warning("service %s listens nowhere: inet_protocols is empty", s->name);
		return RC_OK;
	}
	split_name(&w, &host, &port);
	if (host != NULL)
		rc = take_host(&w, host, port, e);
	else
		rc = take_interfaces(&w, port, e);
	if (rc != RC_OK)
		err_prefix(e, "%s/master.cf line %u: service %s", conf_dir(r->conf), s->entry->line, s->name);
	return rc;
}
