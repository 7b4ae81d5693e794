/* cmd/smtp-source/target.c - the server: its addresses, and connections to it. */
#include "source.h"
#include "log/log.h"
#include "net/conn.h"
#include "net/hostport.h"
#include <errno.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S 300
#define RETRY_PAUSE_MS	  100 /* a listen queue that is full needs a moment */

static struct addrinfo *addresses; /* for the life of the process */
static struct addrinfo unix_address;
static struct sockaddr_un unix_name = { .sun_family = AF_UNIX };

void target_set(const char *text)
{
	struct hostport_want want = { .host = "localhost",
				      .port = conf.qmqp ? "628" : "smtp",
				      .family = conf.family };
	struct err e;

	if (strncmp(text, "unix:", 5) == 0) {
		if (span_cstr(span_str(text + 5), unix_name.sun_path, sizeof unix_name.sun_path) != RC_OK)
			die("%s: name too long", text + 5);
		unix_address = (struct addrinfo){ .ai_family = AF_UNIX,
						  .ai_addr = (struct sockaddr *)&unix_name,
						  .ai_addrlen = sizeof unix_name };
		addresses = &unix_address;
		return;
	}
	if (strncmp(text, "inet:", 5) == 0)
		text += 5;
	if (hostport_lookup(text, &want, &addresses, &e) != RC_OK)
		die("%s", e.text);
}

/* Before connect(2): the window is offered with the first packet. */
static void set_window(int fd)
{
	int window = (int)conf.window;

	if (window > 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window) != 0 ||
			   setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &window, sizeof window) != 0))
		log_warning("setsockopt SO_SNDBUF: %m");
}

static int connect_one(const struct addrinfo *a)
{
	deadline_t d = deadline_s(CONNECT_TIMEOUT_S);
	struct err e = { .sys = ETIMEDOUT };
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return -1;
	set_window(fd);
	/* A UNIX socket whose listen queue is full says EAGAIN at once. */
	while ((rc = connect(fd, a->ai_addr, a->ai_addrlen)) != 0 && errno == EAGAIN && !deadline_passed(d))
		task_sleep_ms(20);
	if (rc == 0)
		return fd;
	if (errno == EINPROGRESS) {
		if (conn_finish(&fd, d, &e) == RC_OK)
			return fd;
		errno = e.sys != 0 ? e.sys : ETIMEDOUT;
		return -1;
	}
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

int target_connect(void)
{
	int fd = -1;

	for (int64_t left = conf.connect_tries; fd < 0; left--) {
		for (const struct addrinfo *a = addresses; a != NULL && fd < 0; a = a->ai_next)
			fd = connect_one(a);
		if (fd >= 0)
			break;
		if (left <= 1 || errno != ECONNREFUSED)
			die("connect: %m");
		log_warning("connect: %m");
		task_sleep_ms(RETRY_PAUSE_MS);
	}
	return fd;
}
