/* master/overlap.c - the wildcard address and single addresses on the same port: 0.0.0.0:25 beside 127.0.0.1:25.
 *
 * Linux lets them listen side by side when all have SO_REUSEPORT while the later one is bound; the more exact one gets the
 * connections. So a reload binds the new sockets beside the old ones, and there is no moment in which nobody listens:
 *   from single addresses to the wildcard  the old sockets stay, as further listeners of the service that has the wildcard now
 *   and back                               the old socket is closed; what waits on it is accepted here, and given to the service that
 *                                          listens on the address that the client has asked for. */
#include "master.h"
#include <netinet/in.h>
#include <unistd.h>

#define LEAVE_MS     1000 /* for clients whose handshake is under way */
#define ACCEPTED_MAX 4096 /* at a time */

struct place {
	struct sockaddr_storage addr;
	socklen_t len;
};

static bool place_of(int fd, struct place *p)
{
	memset(p, 0, sizeof *p);
	p->len = sizeof p->addr;
	return getsockname(fd, (struct sockaddr *)&p->addr, &p->len) == 0 &&
	       (p->addr.ss_family == AF_INET || p->addr.ss_family == AF_INET6);
}

static in_port_t port_of(const struct place *p)
{
	return p->addr.ss_family == AF_INET ? ((const struct sockaddr_in *)&p->addr)->sin_port
					    : ((const struct sockaddr_in6 *)&p->addr)->sin6_port;
}

static bool is_wildcard(const struct place *p)
{
	return p->addr.ss_family == AF_INET
		   ? ((const struct sockaddr_in *)&p->addr)->sin_addr.s_addr == htonl(INADDR_ANY)
		   : IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&p->addr)->sin6_addr);
}

static bool same_address(const struct place *a, const struct place *b)
{
	if (a->addr.ss_family == AF_INET)
		return ((const struct sockaddr_in *)&a->addr)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)&b->addr)->sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)&a->addr)->sin6_addr,
				  &((const struct sockaddr_in6 *)&b->addr)->sin6_addr);
}

static bool overlap(const struct place *a, const struct place *b)
{
	return a->addr.ss_family == b->addr.ss_family && port_of(a) == port_of(b) &&
	       (is_wildcard(a) || is_wildcard(b) || same_address(a, b));
}

static bool listens_beside(const struct listener *l, const struct place *p)
{
	struct place own;
	return l->path == NULL && l->fd >= 0 && place_of(l->fd, &own) && overlap(&own, p);
}

void overlap_share(struct list *fresh, const struct sockaddr *a, socklen_t len, bool on)
{
	const int value = on;
	struct place p = { .len = len };
	memcpy(&p.addr, a, len);
	struct list *where[2] = { fresh, &master.listeners };
	for (size_t i = 0; i < ARRAY_LEN(where); i++)
		LIST_EACH(it, where[i])
		{
			const struct listener *l = LIST_ENTRY(it, struct listener, link);
			if (listens_beside(l, &p))
				(void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof value);
		}
}

/* The exact address before the wildcard. */
static struct listener *listener_of(const struct place *p)
{
	struct listener *found = NULL;
	LIST_EACH(it, &master.listeners)
	{
		struct listener *l = LIST_ENTRY(it, struct listener, link);
		struct place own;
		if (l->service == NULL || l->path != NULL || !place_of(l->fd, &own) || !overlap(&own, p))
			continue;
		if (same_address(&own, p))
			return l;
		found = l;
	}
	return found;
}

void overlap_place(int fd)
{
	struct place p;
	struct listener *l = place_of(fd, &p) ? listener_of(&p) : NULL;
	if (l == NULL) {
		close(fd);
		return;
	}
	for (unsigned i = 0; i < l->service->listeners; i++)
		if (l->service->listener[i] == l) {
			service_hand(l->service, fd, i);
			return;
		}
	close(fd);
}

static void place_waiting(int listener)
{
	for (int i = 0; i < ACCEPTED_MAX; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		overlap_place(fd);
	}
}

static void leave(void *arg)
{
	int fd = (int)(intptr_t)arg;
	deadline_t end = deadline_ms(LEAVE_MS);
	while (task_wait_fd(fd, TASK_READ, end) == RC_OK && !master.stopping)
		place_waiting(fd);
	task_forget_fd(fd);
	close(fd);
}

void overlap_close(int fd)
{
	static const int one = 1;
	struct place p;
	if (!place_of(fd, &p) || master.stopping || listener_of(&p) == NULL) {
		close(fd); /* connections are refused from here on */
		return;
	}
	/* children hold the socket for a moment longer: the next reload may bind the address again all the same */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
	place_waiting(fd);
	task_spawn(leave, (void *)(intptr_t)fd);
}

/* ---- single addresses of which the wildcard is wanted now ---- */

static bool is_claimed(const struct running *r, const struct listener *l)
{
	LIST_EACH(it, &r->services)
	{
		const struct service *s = LIST_ENTRY(it, struct service, link);
		for (size_t i = 0; i < s->listeners; i++)
			if (s->listener[i] == l)
				return true;
	}
	return false;
}

static struct service *service_of_wildcard(const struct running *r, const struct place *p)
{
	LIST_EACH(it, &r->services)
	{
		struct service *s = LIST_ENTRY(it, struct service, link);
		struct place own;
		for (size_t i = 0; i < s->listeners; i++)
			if (s->listener[i]->path == NULL && place_of(s->listener[i]->fd, &own) &&
			    is_wildcard(&own) && overlap(&own, p))
				return s;
	}
	return NULL;
}

void overlap_keep(struct running *r)
{
	LIST_EACH(it, &master.listeners)
	{
		struct listener *l = LIST_ENTRY(it, struct listener, link);
		struct place p;
		struct service *s;
		if (l->path != NULL || l->inherited || !place_of(l->fd, &p) || is_claimed(r, l) ||
		    (s = service_of_wildcard(r, &p)) == NULL || s->listeners == ADDRESSES_MAX)
			continue;
		s->listener[s->listeners++] = l;
	}
}
