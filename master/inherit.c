/* master/inherit.c - listeners that systemd holds: LISTEN_FDS of sd_listen_fds(3). One whose name
 * (FileDescriptorName=) is that of a service in master.cf serves that service in place of the addresses
 * there; any other is used when its address is wanted. */
#include "master.h"
#include "inherit.h"
#include "log/log.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_FD 3
#define FDS_MAX	 256

static struct inherited held[FDS_MAX];
static size_t held_n;

static void clear_environment(void)
{
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

static void take_one(int fd, struct span name)
{
	struct inherited *h = &held[held_n];
	int listening = 0;
	socklen_t len = sizeof listening;
	h->len = sizeof h->addr;
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening ||
	    getsockname(fd, (struct sockaddr *)&h->addr, &h->len) < 0) {
		log_warning("LISTEN_FDS: descriptor %d is no listening socket", fd);
		return;
	}
	h->fd = fd;
	if (span_cstr(name, h->name, sizeof h->name) != RC_OK)
		h->name[0] = '\0';
	held_n++;
}

void inherit_take(void)
{
	uint64_t pid, n;
	const char *of = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"),
		   *names = getenv("LISTEN_FDNAMES");
	if (of == NULL || count == NULL || span_to_u64(span_str(of), INT32_MAX, &pid) != RC_OK ||
	    (pid_t)pid != getpid() || span_to_u64(span_str(count), FDS_MAX, &n) != RC_OK)
		return;
	struct span rest = span_str(names), name;
	for (int i = 0; i < (int)n; i++) {
		if (!span_next(&rest, ':', &name))
			name = SPAN_NONE;
		take_one(FIRST_FD + i, name);
	}
	clear_environment();
}

struct inherited *inherit_by_name(const char *service, size_t *pos)
{
	while (*pos < held_n) {
		struct inherited *h = &held[(*pos)++];
		if (h->fd >= 0 && !h->used && strcmp(h->name, service) == 0)
			return h;
	}
	return NULL;
}

struct inherited *inherit_by_address(const struct sockaddr *addr, socklen_t len)
{
	for (size_t i = 0; i < held_n; i++)
		if (!held[i].used && held[i].len == len && memcmp(&held[i].addr, addr, len) == 0)
			return &held[i];
	return NULL;
}
