/* master/systemd.c - the notification protocol of sd_notify(3), without its library: a datagram with lines of
 * NAME=value. */
#include "master.h"
#include "log/log.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int notify_fd = -1;
static struct timer watchdog_timer;
static int64_t watchdog_ms;

static int notify_socket(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (notify_fd >= 0 || path == NULL || (path[0] != '/' && path[0] != '@') ||
	    strlen(path) >= sizeof a.sun_path)
		return notify_fd;
	memcpy(a.sun_path, path, strlen(path));
	if (path[0] == '@')
		a.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (connect(fd, (struct sockaddr *)&a, len) < 0) {
		log_warning("NOTIFY_SOCKET %s: %m", path);
		close(fd);
		unsetenv("NOTIFY_SOCKET");
		return -1;
	}
	return notify_fd = fd;
}

static void send_with(const char *text, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	char copy[1024];
	size_t n = strnlen(text, sizeof copy);
	memcpy(copy, text, n);
	struct iovec iov = { copy, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int to = notify_socket();
	if (to < 0)
		return;
	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control.bytes;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	if (sendmsg(to, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		log_debug("sd_notify: %m");
}

void systemd_notify(const char *text)
{
	send_with(text, -1);
}

/* Type=notify-reload wants the time of the request (CLOCK_MONOTONIC, microseconds). */
void systemd_notify_reloading(void)
{
	struct timespec t;
	char text[64];
	clock_gettime(CLOCK_MONOTONIC, &t);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
	systemd_notify(text);
}

static void bark(void *arg)
{
	(void)arg;
	systemd_notify("WATCHDOG=1");
	timer_set(&watchdog_timer, deadline_ms(watchdog_ms));
}

void systemd_watchdog(void)
{
	uint64_t us, pid;
	const char *text = getenv("WATCHDOG_USEC"), *of = getenv("WATCHDOG_PID");
	if (text == NULL || span_to_u64(span_str(text), (uint64_t)3600 * 1000000, &us) != RC_OK || us < 2000)
		return;
	if (of != NULL && (span_to_u64(span_str(of), INT32_MAX, &pid) != RC_OK || (pid_t)pid != getpid()))
		return;
	watchdog_ms = (int64_t)us / 2000;
	timer_init(&watchdog_timer, bark, NULL);
	bark(NULL);
}

void systemd_ready(void)
{
	char text[64];
	snprintf(text, sizeof text, "READY=1\nMAINPID=%ld\nSTATUS=running", (long)getpid());
	systemd_notify(text);
	systemd_watchdog();
}

/* The bound ports stay with systemd, so that a new master gets them back (inherit.c) and no connection is
 * refused meanwhile. */
void systemd_keep(const struct listener *l)
{
	if (l->path == NULL && !l->inherited)
		send_with("FDSTORE=1\nFDNAME=postern", l->fd);
}
