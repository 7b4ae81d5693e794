/* cmd/posttls-finger/dest.c - from "[inet:]domain[:port]" and "unix:path" to a connection, by MX as mail goes (RFC 5321 section 5.1). */
#include "finger.h"
#include "log/log.h"
#include "net/dns.h"
#include "conf/port.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <resolv.h>
#include <sys/un.h>
#include <unistd.h>

#define ADDRESSES_MAX 100

struct target {
	struct span host;
	struct inet_addr addr;
};
struct targets {
	struct target v[ADDRESSES_MAX];
	size_t n;
	char why[512]; /* nothing was found */
};

static uint16_t port_of(const char *text)
{
	uint16_t port;

	if (port_parse(span_str(text), &port) != RC_OK)
		die("unknown service: %s/tcp", text);
	return port;
}

void dest_parse(struct finger *f, const char *text)
{
	struct span s = span_str(text);
	ptrdiff_t end, colon;

	f->dest = text;
	f->port = f->lmtp ? 24 : 25;
	f->no_mx = f->lmtp;
	if (span_starts(s, SPAN("unix:")) && f->lmtp) {
		f->path = text + 5;
		f->nexthop = span_str(conf_str(f->conf, "myhostname"));
		return;
	}
	if (span_starts(s, SPAN("inet:")))
		s = span_skip(s, 5);
	end = s.n > 0 && s.p[0] == '[' ? span_chr(s, ']') : -1;
	f->nexthop = end > 0 ? span_make(s.p + 1, (size_t)end - 1) : s;
	f->no_mx |= end > 0;
	colon = span_rchr(s, ':');
	if (colon > end) {
		f->port = port_of(s.p + colon + 1);
		if (end < 0)
			f->nexthop = span_head(s, (size_t)colon);
	}
	if (f->nexthop.n == 0 || f->nexthop.n > 255)
		die("bad destination: %s", text);
}

/* RC_NOTFOUND, RC_AGAIN, RC_SYNTAX: the story is in `why`. */
static enum rc ask(struct finger *f, struct span name, enum dns_type type, const char *type_name,
		   struct dns_answer *out, char *why, size_t size)
{
	static unsigned char answer[65535];
	struct err e = { .text = "Host not found" };
	char text[256];
	int n;
	enum rc rc = span_cstr(name, text, sizeof(text));

	if (rc == RC_OK) {
		n = res_query(text, C_IN, (int)type, answer, sizeof(answer));
		if (n >= 0)
			rc = dns_parse(span_make((char *)answer, (size_t)n), type, &f->a, out, &e);
		else
			rc = h_errno == HOST_NOT_FOUND || h_errno == NO_DATA
				 ? err_set(&e, RC_NOTFOUND, "%s",
					   h_errno == NO_DATA
					       ? "Host found but no data record of requested type"
					       : "Host not found")
				 : err_set(&e, RC_AGAIN, "Host not found, try again");
	}
	if (rc != RC_OK)
		snprintf(why, size,
			 "Host or domain name not found. Name service error for name=" SPAN_FMT
			 " type=%s: %s",
			 SPAN_ARG(name), type_name, e.text);
	return rc;
}

static void add(struct targets *t, struct span host, const struct inet_addr *addr)
{
	if (t->n < ADDRESSES_MAX)
		t->v[t->n++] = (struct target){ host, *addr };
}

static void add_dns(struct finger *f, struct targets *t, struct span host, int family)
{
	bool v6 = family == AF_INET6;
	struct dns_answer ans;

	if (ask(f, host, v6 ? DNS_AAAA : DNS_A, v6 ? "AAAA" : "A", &ans, t->why, sizeof(t->why)) == RC_OK)
		for (size_t i = 0; i < ans.n; i++)
			add(t, host, &ans.rr[i].addr);
}

static void add_native(struct finger *f, struct targets *t, struct span host)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rc = getaddrinfo(arena_cstr(&f->a, host), NULL, &hints, &found);

	if (rc != 0)
		snprintf(t->why, sizeof(t->why), "unable to look up host " SPAN_FMT ": %s", SPAN_ARG(host),
			 gai_strerror(rc));
	for (const struct addrinfo *p = found; rc == 0 && p != NULL; p = p->ai_next) {
		struct sockaddr_storage ss = { 0 };
		struct inet_addr addr;
		uint16_t port;

		memcpy(&ss, p->ai_addr, p->ai_addrlen);
		inet_addr_from_sockaddr(&ss, &addr, &port);
		add(t, host, &addr);
	}
	if (found != NULL)
		freeaddrinfo(found);
}

static void add_host(struct finger *f, struct targets *t, struct span host)
{
	struct inet_addr literal;
	size_t before = t->n;

	if (inet_addr_parse(host, &literal) == RC_OK) {
		add(t, span_dup(&f->a, host), &literal);
		return;
	}
	if (f->dns)
		add_dns(f, t, host, AF_INET);
	if (f->dns)
		add_dns(f, t, host, AF_INET6);
	if (f->native && t->n == before)
		add_native(f, t, host);
}

static int by_preference(const void *a, const void *b)
{
	return (int)((const struct dns_rr *)a)->pref - (int)((const struct dns_rr *)b)->pref;
}

/* A host without MX is its own (RFC 5321 section 5.1); "." wants no mail (RFC 7505). */
static void look_up(struct finger *f, struct targets *t)
{
	struct dns_answer mx;
	enum rc rc =
	    f->no_mx || !f->dns ? RC_NOTFOUND : ask(f, f->nexthop, DNS_MX, "MX", &mx, t->why, sizeof(t->why));

	if (rc == RC_NOTFOUND)
		add_host(f, t, f->nexthop);
	if (rc != RC_OK)
		return;
	if (mx.n == 1 && mx.rr[0].target.n == 0) {
		snprintf(t->why, sizeof(t->why), "Domain " SPAN_FMT " does not accept mail (nullMX)",
			 SPAN_ARG(f->nexthop));
		return;
	}
	qsort(mx.rr, mx.n, sizeof(*mx.rr), by_preference);
	for (size_t i = 0; i < mx.n; i++)
		if (mx.rr[i].target.n > 0)
			add_host(f, t, mx.rr[i].target);
}

static int wait_connected(int fd, int64_t seconds)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t n = sizeof(error);
	int ready = poll(&p, 1, (int)(seconds * 1000));

	if (ready == 0)
		return ETIMEDOUT;
	return ready < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 ? errno : error;
}

/* errno's value, 0 when f->fd is connected; its reads and writes end after the timeout of commands. */
static int connect_one(struct finger *f, const struct sockaddr *to, socklen_t len)
{
	struct timeval limit = { .tv_sec = f->command_s };
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error = fd < 0 || connect(fd, to, len) != 0 ? errno : 0;

	if (fd >= 0 && error == EINPROGRESS)
		error = wait_connected(fd, f->connect_s);
	if (error == 0 && (fcntl(fd, F_SETFL, 0) != 0 ||
			   setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
			   setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0))
		error = errno;
	if (error != 0 && fd >= 0)
		close(fd);
	else
		f->fd = fd;
	return error;
}

static bool connect_unix(struct finger *f)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int error;

	if (strlen(f->path) >= sizeof(un.sun_path))
		die("unix-domain name too long: %s", f->path);
	memcpy(un.sun_path, f->path, strlen(f->path));
	f->host = f->nexthop;
	f->peer = span_printf(&f->a, SPAN_FMT "[%s]", SPAN_ARG(f->host), f->path);
	error = connect_one(f, (struct sockaddr *)&un, sizeof(un));
	if (error != 0)
		log_info("Failed to establish session to %s: connect to " SPAN_FMT ": %s", f->dest,
			 SPAN_ARG(f->peer), strerror(error));
	else if (!f->quiet)
		log_info("Connected to " SPAN_FMT, SPAN_ARG(f->peer));
	return error == 0;
}

static bool connect_target(struct finger *f, const struct target *t)
{
	struct sockaddr_storage ss;
	char text[INET_TEXT_MAX];
	socklen_t n = inet_addr_to_sockaddr(&t->addr, f->port, &ss);
	int error;

	inet_addr_text(&t->addr, text);
	f->host = t->host;
	f->peer = span_printf(&f->a, SPAN_FMT "[%s]:%u", SPAN_ARG(t->host), text, f->port);
	error = connect_one(f, (struct sockaddr *)&ss, n);
	if (error != 0)
		log_info("Failed to establish session to %s via " SPAN_FMT ": connect to " SPAN_FMT ": %s",
			 f->dest, SPAN_ARG(t->host), SPAN_ARG(f->peer), strerror(error));
	else if (!f->quiet)
		log_info("Connected to " SPAN_FMT, SPAN_ARG(f->peer));
	return error == 0;
}

static bool preferred(const struct finger *f, const struct target *t)
{
	return f->family == AF_UNSPEC || f->family == t->addr.family;
}

bool dest_connect(struct finger *f)
{
	struct targets *t;

	if (f->path != NULL)
		return connect_unix(f);
	t = arena_alloc(&f->a, sizeof(*t));
	snprintf(t->why, sizeof(t->why), "no address");
	look_up(f, t);
	if (t->n == 0)
		log_info("Destination address lookup failed: %s", t->why);
	for (int others = 0; others < 2;
	     others++) /* -a: all of the family that is preferred, then the rest */
		for (size_t i = 0; i < t->n; i++)
			if (preferred(f, &t->v[i]) != others && connect_target(f, &t->v[i]))
				return true;
	return false;
}
