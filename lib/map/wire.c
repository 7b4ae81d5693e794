/* map/wire.c - connections to tables that are servers. */
#include "map/wire.h"
#include "base/list.h"
#include "conf/port.h"
#include "task/task.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MAX    16	   /* kept connections: as many as exchanges at once */
#define IDLE_MS_MAX 100000 /* older ones are not used again */
#define IN_BYTES    4096
#define ANSWER_MAX  (16u << 20) /* buffered of one answer; the protocols' own limits are tighter */

struct wire_conn {
	int fd; /* -1: wire_pretend() */
	bool kept;
	mono_t until; /* of this attempt */
	mono_t last;  /* used */
	struct buf in;
	size_t at;	  /* of `in`: taken */
	const char *name; /* the server's, for stories */
};

struct wire {
	struct list link;
	char *name;		  /* "inet:host:port", as given */
	char *host, *port, *path; /* path: a UNIX socket */
	struct wire_limits limits;
	unsigned users;
	pthread_mutex_t lock; /* of idle */
	struct wire_conn *idle[IDLE_MAX];
	size_t nidle;
};

static struct list all;

/* ---- names ---- */
static enum rc bad_endpoint(struct err *e, struct span endpoint, const char *what)
{
	return err_set(e, RC_SYNTAX,
		       "bad server name \"" SPAN_FMT "\": %s; need inet:host:port or unix:pathname",
		       SPAN_ARG(endpoint), what);
}

static char *copy(struct span s)
{
	char *p = xmalloc(s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = 0;
	return p;
}

static bool port_fits(struct span port)
{
	uint64_t n;

	if (!port.n)
		return false;
	for (size_t i = 0; i < port.n; i++)
		if (!ascii_isalnum(port.p[i]) && port.p[i] != '-' && port.p[i] != '_')
			return false;
	return !ascii_isdigit(*port.p) || (span_to_u64(port, 65535, &n) == RC_OK && n > 0);
}

static bool host_fits(struct span host)
{
	for (size_t i = 0; i < host.n; i++)
		if (!ascii_isalnum(host.p[i]) && !strchr(".-_:%", host.p[i]))
			return false;
	return host.n <= NI_MAXHOST;
}

/* "host:port", "[host]:port", "port", and "host" where there is a default port. */
static enum rc parse_inet(struct wire *w, struct span endpoint, struct span rest, struct err *e)
{
	struct span host, port = span_str(w->limits.def_port);
	ptrdiff_t end;

	if (rest.n && *rest.p == '[') {
		if ((end = span_chr(rest, ']')) < 0)
			return bad_endpoint(e, endpoint, "no closing ']'");
		host = span_make(rest.p + 1, (size_t)end - 1);
		rest = span_skip(rest, (size_t)end + 1);
		if (rest.n && *rest.p != ':')
			return bad_endpoint(e, endpoint, "text after ']'");
		if (rest.n)
			port = span_skip(rest, 1);
	} else if ((end = span_rchr(rest, ':')) >= 0) {
		host = span_head(rest, (size_t)end);
		port = span_skip(rest, (size_t)end + 1);
	} else {
		host = w->limits.def_port ? rest : SPAN_NONE;
		port = w->limits.def_port ? port : rest;
	}
	if (!port_fits(port))
		return bad_endpoint(e, endpoint, "no usable port");
	if (!host_fits(host))
		return bad_endpoint(e, endpoint, "no usable host name");
	w->host = host.n ? copy(host) : xstrdup("localhost");
	w->port = copy(port);
	return RC_OK;
}

static enum rc parse_endpoint(struct wire *w, struct span endpoint, struct err *e)
{
	struct sockaddr_un un;

	if (memchr(endpoint.p, 0, endpoint.n))
		return bad_endpoint(e, span_head(endpoint, strlen(endpoint.p)), "null byte");
	if (span_starts(endpoint, SPAN("inet:")))
		return parse_inet(w, endpoint, span_skip(endpoint, 5), e);
	if (!span_starts(endpoint, SPAN("unix:")))
		return bad_endpoint(e, endpoint, "unknown transport");
	endpoint = span_skip(endpoint, 5);
	if (!endpoint.n || endpoint.n >= sizeof un.sun_path)
		return bad_endpoint(e, endpoint, endpoint.n ? "pathname too long" : "no pathname");
	w->path = copy(endpoint);
	return RC_OK;
}

static void wire_free(struct wire *w)
{
	free(w->name);
	free(w->host);
	free(w->port);
	free(w->path);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static bool same_limits(const struct wire_limits *a, const struct wire_limits *b)
{
	return a->timeout_ms == b->timeout_ms && a->pause_ms == b->pause_ms && a->attempts == b->attempts &&
	       a->retry_connect == b->retry_connect;
}

enum rc wire_open(struct span endpoint, const struct wire_limits *limits, struct wire **out, struct err *e)
{
	struct wire *w;
	enum rc rc;

	if (!all.next)
		list_init(&all);
	*out = NULL;
	for (struct list *it = all.next; it != &all; it = it->next) {
		w = LIST_ENTRY(it, struct wire, link);
		if (span_is(endpoint, w->name) && same_limits(limits, &w->limits)) {
			w->users++;
			*out = w;
			return RC_OK;
		}
	}
	w = xcalloc(1, sizeof *w);
	w->name = copy(endpoint);
	w->limits = *limits;
	w->users = 1;
	pthread_mutex_init(&w->lock, NULL);
	if ((rc = parse_endpoint(w, endpoint, e)) != RC_OK) {
		wire_free(w);
		return rc;
	}
	list_add_tail(&all, &w->link);
	*out = w;
	return RC_OK;
}

static void hang_up(struct wire_conn *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	buf_release(&c->in);
	free(c);
}

void wire_close(struct wire **wp)
{
	struct wire *w = *wp;

	*wp = NULL;
	if (!w || --w->users)
		return;
	while (w->nidle)
		hang_up(w->idle[--w->nidle]);
	list_del(&w->link);
	wire_free(w);
}

/* ---- bytes ---- */
static enum rc timed_out(const struct wire_conn *c, const char *what, struct err *e)
{
	return err_set(e, RC_TIMEOUT, "%s %s: %s", what, c->name, strerror(ETIMEDOUT));
}

static enum rc wait_for(const struct wire_conn *c, short events, const char *what, struct err *e)
{
	struct pollfd p = { .fd = c->fd, .events = events };

	for (;;) {
		int64_t left = mono_diff_ms(c->until, mono_now());
		int r = left > 0 ? poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left) : 0;
		if (r > 0)
			return RC_OK;
		if (r == 0 && mono_diff_ms(c->until, mono_now()) <= 0)
			return timed_out(c, what, e);
		if (r < 0 && errno != EINTR)
			return err_sys(e, "%s %s", what, c->name);
	}
}

enum rc wire_send(struct wire_conn *c, struct span data, struct err *e)
{
	enum rc rc;

	while (data.n && c->fd >= 0) {
		ssize_t n = send(c->fd, data.p, data.n, MSG_NOSIGNAL);
		if (n > 0)
			data = span_skip(data, (size_t)n);
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_sys(e, "write to %s", c->name);
		else if ((rc = wait_for(c, POLLOUT, "write to", e)) != RC_OK)
			return rc;
	}
	return RC_OK;
}

/* More bytes behind those that are there. */
static enum rc fill(struct wire_conn *c, struct err *e)
{
	enum rc rc;

	if (c->at && c->at == c->in.n) {
		buf_reset(&c->in);
		c->at = 0;
	}
	char *p = c->fd < 0 ? NULL : buf_reserve(&c->in, IN_BYTES);
	if (c->fd >= 0 && !p)
		return err_set(e, RC_LIMIT, "read from %s: answer too long", c->name);
	while (c->fd >= 0) {
		ssize_t n = recv(c->fd, p, IN_BYTES, 0);
		if (n > 0) {
			c->in.n += (size_t)n;
			return RC_OK;
		}
		if (n == 0)
			break;
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, "read from %s", c->name);
		if ((rc = wait_for(c, POLLIN, "read from", e)) != RC_OK)
			return rc;
	}
	return err_set(e, RC_EOF, "read from %s: lost connection", c->name);
}

static struct span unread(const struct wire_conn *c)
{
	return span_skip(buf_span(&c->in), c->at);
}

enum rc wire_line(struct wire_conn *c, size_t max, struct span *line, struct err *e)
{
	ptrdiff_t end;
	enum rc rc;

	while ((end = span_chr(unread(c), '\n')) < 0 && unread(c).n <= max)
		if ((rc = fill(c, e)) != RC_OK)
			return rc;
	if (end < 0 || (size_t)end > max)
		return err_set(e, RC_LIMIT, "read from %s: line longer than %zu bytes", c->name, max);
	*line = span_head(unread(c), (size_t)end);
	c->at += (size_t)end + 1;
	if (span_ends(*line, SPAN("\r")))
		line->n--;
	return RC_OK;
}

enum rc wire_bytes(struct wire_conn *c, size_t n, struct span *data, struct err *e)
{
	enum rc rc;

	while (unread(c).n < n)
		if ((rc = fill(c, e)) != RC_OK)
			return rc;
	*data = span_head(unread(c), n);
	c->at += n;
	return RC_OK;
}

enum rc wire_byte(struct wire_conn *c, char *byte, struct err *e)
{
	struct span one;
	enum rc rc = wire_bytes(c, 1, &one, e);

	if (rc == RC_OK)
		*byte = *one.p;
	return rc;
}

/* ---- connecting ---- */
static int finish_connect(struct wire_conn *c)
{
	struct err unused;
	socklen_t n = sizeof(int);
	int error = 0;

	if (wait_for(c, POLLOUT, "", &unused) != RC_OK)
		return ETIMEDOUT;
	return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) ? errno : error;
}

/* 0, or errno; c->fd is open after 0. */
static int connect_to(struct wire_conn *c, const struct sockaddr *to, socklen_t bytes)
{
	int on = 1, error = 0;

	if ((c->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
		return errno;
	if (connect(c->fd, to, bytes) != 0)
		error = errno == EINPROGRESS || errno == EINTR ? finish_connect(c) : errno;
	if (error) {
		close(c->fd);
		c->fd = -1;
	} else if (to->sa_family != AF_UNIX) {
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
	return error;
}

static enum rc connect_failed(const struct wire *w, int error, struct err *e)
{
	if (e)
		e->sys = error;
	return err_set(e, error == ETIMEDOUT ? RC_TIMEOUT : RC_SYS, "connect to %s: %s", w->name,
		       strerror(error));
}

static enum rc connect_unix(const struct wire *w, struct wire_conn *c, struct err *e)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int error;

	memcpy(un.sun_path, w->path, strlen(w->path));
	error = connect_to(c, (const struct sockaddr *)&un, sizeof un);
	return error ? connect_failed(w, error, e) : RC_OK;
}

static enum rc connect_inet(const struct wire *w, struct wire_conn *c, struct err *e)
{
	struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *list, *a;
	char number[8];
	const char *port = w->port;
	uint16_t known;

	if (port_parse(span_str(w->port), &known) == RC_OK) {
		snprintf(number, sizeof number, "%u", known);
		port = number;
	}
	int r = getaddrinfo(w->host, port, &want, &list), error = EADDRNOTAVAIL;

	if (r)
		return err_set(e, RC_SYS, "connect to %s: host or service not found: %s", w->name,
			       gai_strerror(r));
	for (a = list; a; a = a->ai_next)
		if ((error = connect_to(c, a->ai_addr, a->ai_addrlen)) == 0)
			break;
	freeaddrinfo(list);
	return error ? connect_failed(w, error, e) : RC_OK;
}

static enum rc dial(const struct wire *w, struct wire_conn **out, struct err *e)
{
	struct wire_conn *c = xcalloc(1, sizeof *c);
	enum rc rc;

	c->fd = -1;
	c->name = w->name;
	c->until = mono_after(mono_now(), w->limits.timeout_ms);
	buf_init(&c->in, ANSWER_MAX);
	rc = w->path ? connect_unix(w, c, e) : connect_inet(w, c, e);
	if (rc == RC_OK)
		*out = c;
	else
		hang_up(c);
	return rc;
}

/* ---- kept connections ---- */
/* Nothing may wait there: an answer nobody asked for, or the end. */
static bool is_quiet(const struct wire_conn *c)
{
	char byte;

	return !unread(c).n && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static struct wire_conn *take_kept(struct wire *w)
{
	struct wire_conn *c = NULL;

	pthread_mutex_lock(&w->lock);
	while (!c && w->nidle) {
		c = w->idle[--w->nidle];
		if (mono_diff_ms(mono_now(), c->last) > IDLE_MS_MAX || !is_quiet(c)) {
			hang_up(c);
			c = NULL;
		}
	}
	pthread_mutex_unlock(&w->lock);
	if (c) {
		c->kept = true;
		c->until = mono_after(mono_now(), w->limits.timeout_ms);
	}
	return c;
}

static void keep(struct wire *w, struct wire_conn *c)
{
	c->last = mono_now();
	pthread_mutex_lock(&w->lock);
	if (w->nidle < IDLE_MAX) {
		w->idle[w->nidle++] = c;
		c = NULL;
	}
	pthread_mutex_unlock(&w->lock);
	hang_up(c);
}

/* ---- an exchange ---- */
struct exchange {
	struct wire *w;
	wire_talk *talk;
	void *arg;
	struct err *e;
	enum rc rc;
};

static bool was_answered(enum rc rc)
{
	return rc == RC_OK || rc == RC_NOTFOUND || rc == RC_AGAIN || rc == RC_DENIED;
}

/* *connected: the failure is not that of a connection that could not be made. */
static enum rc attempt(struct exchange *x, bool *stale, bool *connected)
{
	struct wire_conn *c = take_kept(x->w);
	enum rc rc = c ? RC_OK : dial(x->w, &c, x->e);

	*stale = false;
	*connected = rc == RC_OK;
	if (rc != RC_OK)
		return rc;
	rc = x->talk(c, x->arg, x->e);
	*stale = c->kept && (rc == RC_EOF || rc == RC_SYS);
	if (was_answered(rc))
		keep(x->w, c);
	else
		hang_up(c);
	return rc;
}

static void pause_ms(int64_t ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static void run(void *arg)
{
	struct exchange *x = arg;
	const struct wire_limits *l = &x->w->limits;
	unsigned failures = 0;
	bool stale, connected;

	for (;;) {
		x->rc = attempt(x, &stale, &connected);
		if (x->rc != RC_EOF && x->rc != RC_SYS)
			return;
		if (stale) /* the server was started anew since: says nothing of how it is now */
			continue;
		if (++failures >= l->attempts || (!connected && !l->retry_connect))
			return;
		pause_ms(l->pause_ms);
	}
}

enum rc wire_ask(struct wire *w, wire_talk *talk, void *arg, struct err *e)
{
	struct exchange x = { w, talk, arg, e, RC_OK };

	w->users++; /* a table may be closed meanwhile */
	task_offload(run, &x);
	wire_close(&w);
	return x.rc;
}

enum rc wire_pretend(struct span text, wire_talk *talk, void *arg, struct err *e)
{
	struct wire_conn c = { .fd = -1, .name = "server" };
	enum rc rc;

	buf_init(&c.in, text.n + 1);
	buf_append(&c.in, text);
	rc = talk(&c, arg, e);
	buf_release(&c.in);
	return rc;
}
