/* asuser/byticket.c - the monitor of a daemon that meets the network: takes a connection with a ticket, learns from
 * auth whose it is, and passes it to that user's child. */
#include "asuser/private.h"
#include "log/log.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connection on its way; what is in it is for the child. */
struct passing {
	char bytes[ASUSER_BYTES_MAX];
	size_t n;
	int fds[ASUSER_FDS];
};

/* Of the record nothing else counts. What auth says goes through the same checks as what another daemon says. */
static enum rc whose(const struct asuser_ticket *t, const struct asuser_conf *c, struct asuser_id *id,
		     struct err *e)
{
	struct asuser_request r = { .magic = ASUSER_MAGIC };
	enum rc rc = ticket_redeem(c->ticket_dir, c->ticket_service, t, &r.id, e);
	if (rc == RC_OK)
		rc = asuser_validate(&r, c, e);
	*id = r.id;
	return rc;
}

/* RC_EOF: the child is on its way out and takes nothing more. */
static enum rc pass_on(int channel, const struct passing *p, struct err *e)
{
	const struct iovec iov = { (void *)(uintptr_t)p->bytes, p->n };
	if (asuser_send(channel, &iov, 1, p->fds, p->fds[1] >= 0 ? 2 : 1) >= 0)
		return RC_OK;
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		return err_set(e, RC_EOF, "the user's process has ended");
	return err_set(e, RC_AGAIN, "the user's process takes no connection: %s", strerror(errno));
}

/* The connection waits in the channel before the child is there: one that gives up at once has it, too. */
static enum rc start(const struct asuser_id *id, const struct passing *p, const struct asuser_conf *c,
		     struct err *e)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, RC_AGAIN, "socketpair: %s", strerror(errno));
	struct child of = { .status_fd = -1, .channel = pair[0], .id = *id };
	enum rc rc = pass_on(pair[0], p, e);
	if (rc == RC_OK)
		rc = children_start(&of, pair[1], c, e);
	if (rc != RC_OK)
		close(pair[0]);
	close(pair[1]);
	return rc;
}

static enum rc serve(const struct asuser_ticket_request *r, const struct passing *p,
		     const struct asuser_conf *c, struct err *e)
{
	struct asuser_id id;
	enum rc rc = whose(&r->ticket, c, &id, e);
	if (rc != RC_OK)
		return rc;
	struct child *runs = children_find(&id);
	if (runs != NULL) {
		if ((rc = pass_on(runs->channel, p, e)) != RC_EOF)
			return rc;
		children_close(runs);
	}
	return start(&id, p, c, e);
}

static bool well_formed(const struct asuser_ticket_request *r, ssize_t n, const int fds[ASUSER_FDS])
{
	return n > (ssize_t)sizeof *r && r->magic == ASUSER_MAGIC_TICKET && fds[0] >= 0;
}

bool asuser_by_ticket(int control, const struct asuser_conf *c)
{
	static struct passing p;
	struct asuser_ticket_request r;
	const struct iovec iov[] = { { &r, sizeof r }, { p.bytes, sizeof p.bytes } };
	struct err e;
	ssize_t n = asuser_receive(control, iov, 2, p.fds);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EBADMSG))
		return false;
	if (n < 0 && errno == EAGAIN)
		return true;
	enum rc rc = RC_DENIED;
	if (well_formed(&r, n, p.fds)) {
		p.n = (size_t)n - sizeof r;
		rc = serve(&r, &p, c, &e);
	} else {
		err_set(&e, RC_DENIED, "malformed request");
	}
	if (rc != RC_OK) {
		log_warning("asuser: refused: %s", e.text);
		asuser_answer(p.fds[0], rc);
	}
	asuser_close_fds(p.fds, ASUSER_FDS);
	explicit_bzero(p.bytes,
		       sizeof p.bytes); /* the next child is another user's, and has a copy of this memory */
	return true;
}
