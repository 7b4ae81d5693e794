/* cmd/smtp-sink/listen.c - the sockets: bound before the loop (and before -R and -u), accepted from in a task each. */
#include "sink.h"
#include "log/log.h"
#include "net/hostport.h"
#include <errno.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTENERS_MAX 16
static int listeners[LISTENERS_MAX];
static size_t n_listeners;

static void set_window(int fd)
{
	int window = (int)conf.window;

	if (window > 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window) != 0 ||
			   setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &window, sizeof window) != 0))
		log_warning("setsockopt SO_RCVBUF: %m");
}

/* False: this host does not have the family. */
static bool bind_one(int family, const struct sockaddr *sa, socklen_t n, int backlog, const char *name)
{
	int on = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		return false;
	if (fd < 0)
		die("socket: %m");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	set_window(fd);
	if (bind(fd, sa, n) != 0 && (errno == EADDRNOTAVAIL && n_listeners > 0)) {
		close(fd); /* the first address of a name is there: enough */
		return false;
	}
	if (listen(fd, backlog) != 0)
		die("bind %s: %m", name);
	listeners[n_listeners++] = fd;
	return true;
}

static void bind_unix(const char *path, int backlog)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;

	if (span_cstr(span_str(path), a.sun_path, sizeof a.sun_path) != RC_OK)
		die("%s: name too long", path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path); /* of a sink that has ended */
	bind_one(AF_UNIX, (struct sockaddr *)&a, sizeof a, backlog, path);
	if (chmod(path, 0666) != 0) /* who may reach the directory may send */
		die("chmod %s: %m", path);
}

void listen_open(const char *address, int backlog)
{
	struct hostport_want want = { .family = conf.family, .listen = true };
	struct addrinfo *list = NULL;
	struct err e;

	if (strncmp(address, "unix:", 5) == 0) {
		bind_unix(address + 5, backlog);
		return;
	}
	if (strncmp(address, "inet:", 5) == 0)
		address += 5;
	if (hostport_lookup(address, &want, &list, &e) != RC_OK)
		die("%s", e.text);
	for (struct addrinfo *a = list; a != NULL && n_listeners < LISTENERS_MAX; a = a->ai_next)
		bind_one(a->ai_family, a->ai_addr, a->ai_addrlen, backlog, address);
	freeaddrinfo(list);
	if (n_listeners == 0)
		die("%s: no usable address", address);
}

/* Returns when there may be another client. */
static void accept_failed(int fd)
{
	if (errno == EAGAIN && task_wait_fd(fd, TASK_READ, DEADLINE_NEVER) == RC_OK)
		return;
	if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
		log_warning("accept: %m");
		task_sleep_ms(100); /* of descriptors or memory there is more when sessions end */
	}
}

static void accept_all(void *arg)
{
	int fd = *(int *)arg;

	for (;;) {
		count_wait_for_room();
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client < 0) {
			accept_failed(fd);
			continue;
		}
		count_session_begins();
		task_spawn(conf.qmqp ? qmqp_run : session_run, (void *)(intptr_t)client);
	}
}

void listen_start(void)
{
	for (size_t i = 0; i < n_listeners; i++)
		task_spawn(accept_all, &listeners[i]);
}
