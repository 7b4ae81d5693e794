/* master/inherit.h - one listener that systemd gave us. */
#ifndef MASTER_INHERIT_H
#define MASTER_INHERIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct inherited {
	int fd;
	bool used;
	char name[64];
	struct sockaddr_storage addr;
	socklen_t len;
};
/* Not yet used ones of that name, from *pos on (starts at 0); NULL at the end. The caller sets `used`. */
struct inherited *inherit_by_name(const char *service, size_t *pos);
struct inherited *inherit_by_address(const struct sockaddr *addr, socklen_t len);

#endif
