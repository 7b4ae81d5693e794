/* exchange.c - one question to the servers of resolv.conf: UDP with a socket (so a port) and an id of its own
 * for every attempt, TCP when the answer was truncated (RFC 7766 section 5). What does not fit the question
 * is thrown away, and the wait goes on. */
#include "resolver.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <unistd.h>

#define FORGERIES_MAX 200 /* wrong answers to one question, after which the server is given up */

static int open_socket(const struct server *s, int type)
{
	struct sockaddr_storage ss;
	socklen_t n = inet_addr_to_sockaddr(&s->addr, s->port, &ss);
	int fd = socket(s->addr.family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&ss, n) < 0 && errno != EINPROGRESS) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static void close_socket(int fd)
{
	task_forget_fd(fd);
	close(fd);
}

static enum rc receive_udp(int fd, const struct question *q, unsigned char *buf, size_t *n, deadline_t d)
{
	for (int wrong = 0; wrong < FORGERIES_MAX;) {
		ssize_t got = recv(fd, buf, ANSWER_MAX, 0);
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return RC_SYS; /* port unreachable */
		if (got < 0) {
			enum rc rc = task_wait_fd(fd, TASK_READ, d);
			if (rc != RC_OK)
				return rc;
			continue;
		}
		*n = (size_t)got;
		if (answer_fits(q, span_make((char *)buf, *n)))
			return RC_OK;
		wrong++;
	}
	return RC_SYNTAX;
}

static enum rc ask_udp(const struct server *s, struct question *q, unsigned char *buf, size_t *n,
		       deadline_t d)
{
	question_new_id(q);
	int fd = open_socket(s, SOCK_DGRAM);
	if (fd < 0)
		return RC_SYS;
	enum rc rc =
	    send(fd, q->p, q->n, MSG_NOSIGNAL) == (ssize_t)q->n ? receive_udp(fd, q, buf, n, d) : RC_SYS;
	close_socket(fd);
	return rc;
}

static enum rc move_tcp(int fd, unsigned char *p, size_t n, bool sending, deadline_t d)
{
	for (size_t at = 0; at < n;) {
		ssize_t r = sending ? send(fd, p + at, n - at, MSG_NOSIGNAL) : recv(fd, p + at, n - at, 0);
		if (r > 0)
			at += (size_t)r;
		else if (r == 0 || (errno != EAGAIN && errno != EINTR && errno != ENOTCONN))
			return RC_SYS;
		else {
			enum rc rc = task_wait_fd(fd, sending ? TASK_WRITE : TASK_READ, d);
			if (rc != RC_OK)
				return rc;
		}
	}
	return RC_OK;
}

static enum rc ask_tcp(const struct server *s, struct question *q, unsigned char *buf, size_t *n,
		       deadline_t d)
{
	unsigned char out[2 + QUESTION_MAX], length[2];
	question_new_id(q);
	int fd = open_socket(s, SOCK_STREAM);
	if (fd < 0)
		return RC_SYS;
	out[0] = (unsigned char)(q->n >> 8);
	out[1] = (unsigned char)q->n;
	memcpy(out + 2, q->p, q->n);
	enum rc rc = task_wait_fd(fd, TASK_WRITE, d);
	if (rc == RC_OK)
		rc = move_tcp(fd, out, q->n + 2, true, d);
	if (rc == RC_OK)
		rc = move_tcp(fd, length, 2, false, d);
	if (rc == RC_OK) {
		*n = (size_t)length[0] << 8 | length[1];
		rc = move_tcp(fd, buf, *n, false, d);
	}
	close_socket(fd);
	return rc == RC_OK && !answer_fits(q, span_make((char *)buf, *n)) ? RC_SYNTAX : rc;
}

static enum rc ask_server(const struct server *s, struct question *q, unsigned char *buf, size_t *n)
{
	deadline_t d = deadline_s(setup.timeout_s);
	enum rc rc = ask_udp(s, q, buf, n, d);
	if (rc != RC_OK)
		return rc;
	unsigned rcode = answer_rcode(span_make((char *)buf, *n));
	if ((rcode == ns_r_formerr || rcode == ns_r_notimpl) &&
	    q->p[11] != 0) { /* a server from before EDNS */
		question_drop_edns(q);
		rc = ask_udp(s, q, buf, n, d);
	}
	if (rc == RC_OK && answer_truncated(span_make((char *)buf, *n)))
		rc = ask_tcp(s, q, buf, n, d);
	return rc;
}

static bool settled(struct span answer)
{
	unsigned rcode = answer_rcode(answer);
	return rcode == ns_r_noerror || rcode == ns_r_nxdomain;
}

enum rc exchange(struct question *q, struct arena *a, struct span *answer, struct err *e)
{
	unsigned char *buf = xmalloc(ANSWER_MAX);
	enum rc rc = RC_AGAIN;
	size_t n = 0;
	unsigned rcode = 0;
	for (unsigned i = 0; rc != RC_OK && i < setup.attempts * setup.servers; i++) {
		rc = ask_server(&setup.server[i % setup.servers], q, buf, &n);
		if (rc != RC_OK || settled(span_make((char *)buf, n)))
			continue;
		rcode = answer_rcode(span_make((char *)buf, n));
		rc = RC_AGAIN; /* the next server may know more */
	}
	if (rc == RC_OK)
		*answer = span_dup(a, span_make((char *)buf, n));
	free(buf);
	if (rc == RC_OK)
		return RC_OK;
	return err_set(e, RC_AGAIN,
		       rcode != 0 ? "Host not found, try again (server failure)"
				  : "Host not found, try again");
}
