/* service/pass.c - listeners of type "pass". A connection to one carries, as postscreen(8) sends it: one byte, and with it the
 * descriptor of a client's connection; then attributes, each a name and a value that end with a NUL byte, and an empty name at their
 * end. They say who the client is when it came through a proxy. The end of the connection is as good as no attributes. */
#include "service/frame.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#define BYTES_MAX 1024
#define PASS_S	  30

struct carrier {
	char bytes[BYTES_MAX]; /* the first belongs to the descriptor */
	size_t n;
	int fd;
	bool ended;
};

/* At the end of the attributes, or where more bytes are needed to tell. */
static const char *last_name(const struct carrier *in)
{
	const char *at = in->bytes + 1, *end = in->bytes + in->n;
	while (at < end && *at != '\0') {
		const char *value = memchr(at, '\0', (size_t)(end - at));
		const char *last = value != NULL ? memchr(value + 1, '\0', (size_t)(end - value - 1)) : NULL;
		if (last == NULL)
			return end;
		at = last + 1;
	}
	return at;
}

static bool is_complete(const struct carrier *in)
{
	if (in->fd < 0)
		return false;
	return in->n > 1 ? last_name(in) < in->bytes + in->n : in->ended;
}

static void take_descriptor(struct msghdr *m, struct carrier *in)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int fd;
	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return;
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	if (in->fd < 0)
		in->fd = fd;
	else
		close(fd);
}

static enum rc receive_some(int from, struct carrier *in, struct err *e)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { in->bytes + in->n, sizeof in->bytes - in->n };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control };
	if (in->ended || iov.iov_len == 0)
		return err_set(e, RC_SYNTAX, "no descriptor, or unfinished attributes");
	ssize_t n = recvmsg(from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		enum rc rc = task_wait_fd(from, TASK_READ, deadline_s(PASS_S));
		return rc == RC_OK ? RC_OK : err_set(e, rc, "nothing is passed");
	}
	if (n < 0)
		return err_sys(e, "recvmsg");
	in->ended = n == 0;
	take_descriptor(&m, in);
	in->n += (size_t)n;
	return RC_OK;
}

/* Root, whose postscreen may be, or who runs us: not everybody who may open the socket may name any address as the client's. */
static enum rc check_sender(int from, struct service_conn *c, struct err *e)
{
	struct ucred cred;
	socklen_t len = sizeof cred;
	if (getsockopt(from, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return err_sys(e, "SO_PEERCRED");
	if (cred.uid != 0 && cred.uid != geteuid())
		return err_set(e, RC_DENIED, "uid %lu may not pass connections", (unsigned long)cred.uid);
	c->uid = (uid_t)-1;
	return RC_OK;
}

static enum rc set_address(const char *text, struct sockaddr_storage *ss, socklen_t *len, struct err *e)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	if (inet_pton(AF_INET, text, &in4.sin_addr) == 1) {
		memcpy(ss, &in4, *len = sizeof in4);
	} else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
		memcpy(ss, &in6, *len = sizeof in6);
	} else {
		return err_set(e, RC_SYNTAX, "bad address");
	}
	return RC_OK;
}

static enum rc set_port(const char *text, struct sockaddr_storage *ss, struct err *e)
{
	uint64_t port;
	if (span_to_u64(span_str(text), UINT16_MAX, &port) != RC_OK)
		return err_set(e, RC_SYNTAX, "bad port");
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
	else if (ss->ss_family == AF_INET6)
		((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
	return RC_OK;
}

static enum rc attribute(const char *name, const char *value, struct service_conn *c, struct err *e)
{
	if (strcmp(name, "client_address") == 0)
		return set_address(value, &c->peer, &c->peer_len, e);
	if (strcmp(name, "server_address") == 0)
		return set_address(value, &c->local, &c->local_len, e);
	if (strcmp(name, "client_port") == 0)
		return set_port(value, &c->peer, e);
	if (strcmp(name, "server_port") == 0)
		return set_port(value, &c->local, e);
	return RC_OK; /* of another version */
}

/* is_complete(): each name has its value. */
static enum rc read_attributes(const struct carrier *in, struct service_conn *c, struct err *e)
{
	const char *at = in->bytes + 1, *end = in->n > 1 ? last_name(in) : at;
	while (at < end) {
		const char *value = at + strlen(at) + 1;
		enum rc rc = attribute(at, value, c, e);
		if (rc != RC_OK)
			return rc;
		at = value + strlen(value) + 1;
	}
	return RC_OK;
}

static enum rc identify(const struct carrier *in, struct service_conn *c, struct err *e)
{
	(void)fcntl(in->fd, F_SETFL, fcntl(in->fd, F_GETFL) | O_NONBLOCK);
	c->peer_len = sizeof c->peer;
	c->local_len = sizeof c->local;
	if (getpeername(in->fd, (struct sockaddr *)&c->peer, &c->peer_len) < 0 ||
	    getsockname(in->fd, (struct sockaddr *)&c->local, &c->local_len) < 0)
		return err_sys(e, "passed descriptor");
	if (c->local.ss_family == AF_UNIX)
		c->peer_len = c->local_len = 0;
	return read_attributes(in, c, e);
}

enum rc pass_receive(int *fd, struct service_conn *c, struct err *e)
{
	struct carrier in = { .n = 0, .fd = -1 };
	enum rc rc = check_sender(*fd, c, e);
	while (rc == RC_OK && !is_complete(&in))
		rc = receive_some(*fd, &in, e);
	if (rc == RC_OK)
		rc = identify(&in, c, e);
	task_forget_fd(*fd);
	close(*fd); /* the sender sees that its client is in other hands */
	*fd = in.fd;
	return rc;
}
