/* asuser/ticket.c - the monitor asks auth whom a ticket stands for. */
#include "asuser/ticket.h"
#include "base/span.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

void ticket_text(const struct asuser_ticket *t, char out[TICKET_TEXT_MAX])
{
	int n = snprintf(out, TICKET_TEXT_MAX, "%lu.", (unsigned long)t->server);

	for (size_t i = 0; i < TICKET_SECRET; i++)
		n += snprintf(out + n, TICKET_TEXT_MAX - (size_t)n, "%02x", t->secret[i]);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum rc ticket_parse(struct span text, struct asuser_ticket *out)
{
	struct span server;
	uint64_t pid;

	if (!span_next(&text, '.', &server) || span_to_u64(server, INT32_MAX, &pid) != RC_OK || pid == 0 ||
	    text.n != (size_t)2 * TICKET_SECRET)
		return RC_SYNTAX;
	out->server = (uint32_t)pid;
	for (size_t i = 0; i < TICKET_SECRET; i++) {
		int high = hex_digit(text.p[2 * i]), low = hex_digit(text.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return RC_SYNTAX;
		out->secret[i] = (unsigned char)(high << 4 | low);
	}
	return RC_OK;
}

/* The socket was bound by root (auth, before it dropped its rights), or, in one-uid mode, by us. */
static enum rc check_owner(int fd, struct err *e)
{
	struct ucred c;
	socklen_t len = sizeof(c);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
		return err_sys(e, "SO_PEERCRED");
	return c.uid == 0 || c.uid == geteuid()
		   ? RC_OK
		   : err_set(e, RC_DENIED, "the socket for tickets is of uid %lu", (unsigned long)c.uid);
}

static enum rc dial(const char *dir, uint32_t server, int *out, struct err *e)
{
	const struct timeval limit = { .tv_sec = TICKET_ANSWER_S };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n =
	    snprintf(a.sun_path, sizeof(a.sun_path), "%s/" TICKET_PREFIX "%lu", dir, (unsigned long)server);
	enum rc rc;
	int fd;

	if (n < 0 || (size_t)n >= sizeof(a.sun_path))
		return err_set(e, RC_LIMIT, "path of the socket for tickets too long");
	if ((fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) < 0)
		return err_sys(e, "socket");
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		rc = err_sys(e, "socket for tickets");
	else if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		rc = err_set(e, RC_AGAIN, "connect to the authentication server: %s", strerror(errno));
	else
		rc = check_owner(fd, e);
	if (rc != RC_OK)
		close(fd);
	else
		*out = fd;
	return rc;
}

static enum rc ask(int fd, const struct ticket_question *q, struct ticket_answer *a, struct err *e)
{
	ssize_t n;

	while ((n = send(fd, q, sizeof(*q), MSG_NOSIGNAL)) < 0 && errno == EINTR)
		;
	if (n == (ssize_t)sizeof(*q))
		while ((n = recv(fd, a, sizeof(*a), MSG_TRUNC)) < 0 && errno == EINTR)
			;
	else
		n = -1;
	if (n <= 0)
		return err_set(e, RC_AGAIN, "the authentication server does not answer");
	if (n != (ssize_t)sizeof(*a) || a->magic != TICKET_MAGIC ||
	    memcmp(a->secret, q->secret, TICKET_SECRET) != 0)
		return err_set(e, RC_SYNTAX, "the authentication server sent nonsense");
	return a->rc == RC_OK ? RC_OK : err_set(e, RC_DENIED, "no such ticket");
}

enum rc ticket_redeem(const char *dir, const char *service, const struct asuser_ticket *t,
		      struct asuser_id *out, struct err *e)
{
	struct ticket_question q = { .magic = TICKET_MAGIC };
	struct ticket_answer a;
	enum rc rc;
	int fd = -1;

	memcpy(q.secret, t->secret, sizeof(q.secret));
	snprintf(q.service, sizeof(q.service), "%s", service);
	if ((rc = dial(dir, t->server, &fd, e)) != RC_OK)
		return rc;
	if ((rc = ask(fd, &q, &a, e)) == RC_OK)
		*out = a.id;
	close(fd);
	return rc;
}
