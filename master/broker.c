/* master/broker.c - MP_CONNECT: children cannot reach sockets by themselves; master connects for them, by the
 * table of peers. */
#include "master.h"
#include "conf/ports.h"
#include "log/log.h"
#include "net/addr.h"
#include <errno.h>
#include <sys/un.h>
#include <unistd.h>

/* Those who speak to milters, policy servers, LMTP servers and authentication servers of others. */
static const char *const speak_to_others[] = { "smtpd", "lmtpd",   "smtp",  "lmtp",
					       "relay", "cleanup", "pop3d", "imapd" };

static int connect_unix(const char *path, int type, int *error)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof a.sun_path) {
		*error = ENAMETOOLONG;
		return -1;
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
		return fd;
	*error = errno;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int introduce(int fd, const struct child *c)
{
	struct mp_hello h = { .magic = MP_HELLO_MAGIC, .pid = (uint32_t)c->pid };
	snprintf(h.program, sizeof h.program, "%s", c->service->program);
	snprintf(h.service, sizeof h.service, "%s", c->service->name);
	return send(fd, &h, sizeof h, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof h ? 0 : errno;
}

/* ---- sockets of others: only what the configuration names ---- */

static bool is_border(char ch)
{
	return ascii_isspace(ch) || ch == ',' || ch == ':' || ch == '=' || ch == '{' || ch == '}' ||
	       ch == ';';
}

static bool names_path(struct span text, struct span path)
{
	for (ptrdiff_t at; (at = span_find(text, path)) >= 0; text = span_skip(text, (size_t)at + 1)) {
		size_t end = (size_t)at + path.n;
		if ((at == 0 || is_border(text.p[at - 1])) && (end == text.n || is_border(text.p[end])))
			return true;
	}
	return false;
}

/* As it is written, or with what its macros stand for. */
static bool text_names(const struct running *r, struct span text, struct span path)
{
	struct arena a;
	struct span full;
	struct err e;
	bool yes = names_path(text, path);
	arena_init(&a);
	if (!yes && span_chr(text, '$') >= 0)
		yes = conf_expand(r->conf, text, &a, &full, &e) == RC_OK && names_path(full, path);
	arena_release(&a);
	return yes;
}

static bool configured(const struct running *r, struct span path)
{
	const char *name, *raw;
	unsigned line;
	for (size_t pos = 0; conf_next(r->conf, &pos, &name, &raw, &line);)
		if (text_names(r, span_str(raw), path))
			return true;
	for (size_t i = 0; i < r->cf->n; i++)
		for (size_t k = 1; k < r->cf->entry[i].argc; k++)
			if (text_names(r, r->cf->entry[i].argv[k], path))
				return true;
	return false;
}

static bool speaks_to_others(const char *program)
{
	for (size_t i = 0; i < ARRAY_LEN(speak_to_others); i++)
		if (strcmp(program, speak_to_others[i]) == 0)
			return true;
	return false;
}

/* A built-in service has a path of its own: at the one that its name suggests another server may listen, as Dovecot does at private/auth. */
static const struct service *listening_at(const struct service *s, const char *path)
{
	if (s == NULL || s->listeners != 1 || s->listener[0]->path == NULL)
		return NULL;
	return strcmp(s->listener[0]->path, path) == 0 ? s : NULL;
}

static int connect_path(const struct child *c, const char *path, int *error)
{
	*error = EACCES;
	if (!speaks_to_others(c->service->program) || !configured(c->service->config, span_str(path)))
		return -1;
	const char *slash = strchr(path, '/');
	const struct service *own = NULL;
	if (strncmp(path, "private/", 8) == 0 || strncmp(path, "public/", 7) == 0)
		own = listening_at(service_find(slash + 1), path);
	if (own != NULL && mp_takes_hello(own->program) && own->socket_type != SOCK_STREAM)
		return -1; /* one of ours: by its name, not by its path */
	int fd = connect_unix(path, SOCK_STREAM, error);
	if (fd >= 0 && own != NULL && mp_takes_hello(own->program) && (*error = introduce(fd, c)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- TCP ports that the configuration names ---- */

struct target {
	struct span text; /* "host:port", "[::1]:port", "port" */
	struct inet_addr addr;
	uint64_t port;
};

static bool parse_target(struct span request, struct target *out)
{
	struct span rest = request, addr, port;
	return span_next_word(&rest, " ", &out->text) && span_next_word(&rest, " ", &addr) &&
	       span_next_word(&rest, " ", &port) && inet_addr_parse(addr, &out->addr) == RC_OK &&
	       span_to_u64(port, 65535, &out->port) == RC_OK && out->port > 0;
}

static bool is_loopback(const struct inet_addr *a)
{
	static const unsigned char one[16] = { [15] = 1 };
	return a->family == AF_INET ? a->b[0] == 127 : memcmp(a->b, one, sizeof one) == 0;
}

/* 0: not a port. */
static uint16_t port_of(struct span text)
{
	uint16_t n;
	return port_parse(text, &n) ? n : 0;
}

/* A bare number may be anything in a configuration: a port is one behind "inet:". */
static bool port_configured(const struct running *r, const struct target *t)
{
	char text[80];
	if (span_chr(t->text, ':') >= 0)
		return configured(r, t->text);
	snprintf(text, sizeof text, "inet:" SPAN_FMT, SPAN_ARG(span_head(t->text, 60)));
	return configured(r, span_str(text));
}

/* The child looked the host up; where the text says enough to contradict it, it has to fit. */
static bool fits(const struct target *t)
{
	ptrdiff_t colon = span_rchr(t->text, ':');
	struct span host = colon >= 0 ? span_head(t->text, (size_t)colon) : SPAN("");
	struct span port = colon >= 0 ? span_skip(t->text, (size_t)colon + 1) : t->text;
	struct inet_addr literal;
	if (port_of(port) != t->port)
		return false;
	if (host.n > 2 && host.p[0] == '[')
		host = span_make(host.p + 1, host.n - 2);
	if (host.n == 0 || span_is_ci(host, "localhost"))
		return is_loopback(&t->addr);
	if (inet_addr_parse(host, &literal) != RC_OK)
		return true;
	return literal.family == t->addr.family &&
	       memcmp(literal.b, t->addr.b, literal.family == AF_INET ? 4 : 16) == 0;
}

/* Never waits: the child gets a descriptor that connects. */
static int connect_inet(const struct child *c, struct span request, int *error)
{
	struct sockaddr_storage ss;
	struct target t;
	*error = EACCES;
	if (!speaks_to_others(c->service->program) || !parse_target(request, &t) || !fits(&t) ||
	    !port_configured(c->service->config, &t))
		return -1;
	socklen_t len = inet_addr_to_sockaddr(&t.addr, (uint16_t)t.port, &ss);
	int fd = socket(t.addr.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && (connect(fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS))
		return fd;
	*error = errno;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* ---- services ---- */

static int connect_service(const struct child *c, const char *name, int *error)
{
	const struct service *s = service_find(name);
	*error = ENOENT;
	if (master.stopping) /* the listeners are closed, and freed by now */
		return -1;
	if (s == NULL || s->listeners != 1)
		return -1;
	*error = EACCES;
	if (!mp_may_connect(c->service->program, s->program))
		return -1;
	int fd = connect_unix(s->listener[0]->path, s->socket_type, error);
	if (fd >= 0 && mp_takes_hello(s->program) && (*error = introduce(fd, c)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void broker_connect(struct child *c, uint32_t serial, const char *name)
{
	int error = 0;
	int fd = strncmp(name, "inet:", 5) == 0 ? connect_inet(c, span_str(name + 5), &error)
		 : strchr(name, '/') != NULL	? connect_path(c, name, &error)
						: connect_service(c, name, &error);
	if (fd < 0 && error == EACCES)
		log_warning("process %s pid %ld asks for %s, which is not among its peers", c->service->path,
			    (long)c->pid, name);
	child_send(c, MP_CONNECTED, serial, fd >= 0 ? 0 : error, fd);
	if (fd >= 0)
		close(fd);
}

void broker_wake(const struct child *c, const char *name)
{
	struct service *s = master.stopping ? NULL : service_find(name);

	if (s != NULL && mp_may_connect(c->service->program, s->program))
		service_wake(s);
}
