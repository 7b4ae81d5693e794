/* net/conn.h - outgoing connections for tasks. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "net/addr.h"
#include "task/task.h"

/* TCP; `from` may be NULL. RC_TIMEOUT, RC_SYS (story "connect to 192.0.2.1[192.0.2.1]:25: Connection refused"
 * is the caller's). */
MUST_CHECK enum rc conn_tcp(const struct inet_addr *to, uint16_t port, const struct inet_addr *from,
			    deadline_t d, int *fd, struct err *e);
/* Waits until a descriptor that somebody else began to connect is connected; closes it and leaves -1 if that fails. */
MUST_CHECK enum rc conn_finish(int *fd, deadline_t d, struct err *e);
MUST_CHECK enum rc conn_unix(const char *path, int type, deadline_t d, int *fd, struct err *e);

#endif
