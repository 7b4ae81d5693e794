/* login/handover.c - the front's last act: gives connection and ticket away, and waits until the session is over. */
#include "login/private.h"
#include "log/event.h"
#include "log/log.h"
#include <sys/socket.h>
#include <unistd.h>

#define START_S 60 /* a large mailbox that is opened for the first time takes its time */

/* A connection that is handed over, until its session ends. */
struct handed {
	int32_t pid;
	struct stream *ours; /* our end to the user's process */
	bool direct;	     /* it has the client's socket itself */
};

/* What is still on its way to the client when he has closed his sending side ("QUIT", then half-close). */
static void drain(struct stream *from, struct stream *to)
{
	struct span got;
	struct err e;

	shutdown(stream_fd(from), SHUT_WR);
	while (stream_peek(from, &got, deadline_s(60), &e) == RC_OK) {
		stream_write(to, got);
		stream_consume(from, got.n);
	}
	if (stream_flush(to, deadline_s(60), &e) != RC_OK)
		log_debug("%s", e.text);
}

/* The session's own time limits are the user's process's; this one is for a process that hangs. */
#define RELAY_IDLE_S (24 * 3600)

static void wait_until_over(struct login *l, struct stream *ours, bool direct)
{
	struct span got;
	struct err e;

	if (direct) {
		task_forget_fd(stream_fd(l->io)); /* its input is none of ours any more */
		if (stream_peek(ours, &got, DEADLINE_NEVER, &e) == RC_OK)
			log_warning("a user's process speaks where it should not");
		return;
	}
	if (stream_relay(l->io, ours, RELAY_IDLE_S, &e) == RC_OK)
		drain(ours, l->io);
}

static void log_login(const struct login *l, int32_t pid)
{
	log_info("%s-login: Login: user=<%s>, method=%s, rip=%s, lip=%s, mpid=%ld%s, session=<%s>",
		 login_set.conf->protocol, l->user, l->method, l->rip, l->lip, (long)pid,
		 l->tls	      ? ", TLS"
		 : l->secured ? ", secured"
			      : "",
		 l->id);
	EVENT("login", EV_CSTR("protocol", login_set.conf->protocol), EV_CSTR("user", l->user),
	      EV_CSTR("method", l->method), EV_CSTR("client_address", l->rip),
	      EV_CSTR("server_address", l->lip), EV_FLAG("tls", l->tls), EV_CSTR("session", l->id));
}

static enum rc fill_record(const struct login *l, struct span tag, struct login_record *r, struct err *e)
{
	*r = (struct login_record){ .magic = LOGIN_MAGIC };
	if (span_cstr(tag, r->tag, sizeof(r->tag)) != RC_OK)
		return err_set(e, RC_LIMIT, "tag too long");
	snprintf(r->id, sizeof(r->id), "%s", l->id);
	snprintf(r->rip, sizeof(r->rip), "%s", l->rip);
	snprintf(r->lip, sizeof(r->lip), "%s", l->lip);
	return RC_OK;
}

/* A copy: what was read ahead stays in the stream until the process of the user has taken it. */
static enum rc fill_ahead(struct login *l, struct login_parcel *what, struct err *e)
{
	struct span got;
	enum rc rc;

	if (stream_buffered(l->io) == 0)
		return RC_OK;
	if ((rc = stream_peek(l->io, &got, deadline_s(1), e)) != RC_OK)
		return rc;
	INVARIANT(got.n <= sizeof(what->ahead));
	memcpy(what->ahead, got.p, got.n);
	what->r.ahead = (uint32_t)got.n;
	return RC_OK;
}

static enum rc fill(struct login *l, struct span tag, bool direct, struct login_parcel *what, struct err *e)
{
	enum rc rc = fill_record(l, tag, &what->r, e);

	if (rc == RC_OK)
		rc = stream_flush(l->io, l->until, e);
	return rc == RC_OK && direct ? fill_ahead(l, what, e) : rc;
}

/* The parcel is large and soon done with: not on the stack of a task that waits for the session's end. */
static enum rc give(struct login *l, const struct asuser_ticket *t, struct span tag, struct handed *h,
		    struct err *e)
{
	struct login_parcel *what = xcalloc(1, sizeof(*what));
	int fd = -1;
	enum rc rc;

	h->direct = !l->tls && stream_buffered(l->io) <= LOGIN_AHEAD_MAX;
	if ((rc = fill(l, tag, h->direct, what, e)) == RC_OK)
		rc =
		    asuser_hand_over(t, span_make((const char *)what, sizeof(what->r) + what->r.ahead),
				     h->direct ? stream_fd(l->io) : -1, &fd, &h->pid, deadline_s(START_S), e);
	if (rc == RC_OK && h->direct)
		stream_drop_input(l->io);
	if (rc == RC_OK)
		h->ours = stream_new(fd);
	free(what);
	return rc;
}

static enum rc get_ticket(struct login *l, struct asuser_ticket *t, struct err *e)
{
	struct auth_user u;
	enum rc rc = authclient_redeem(&l->x, &l->a, &u, l->until, e);

	l->x = NULL;
	if (rc != RC_OK)
		return rc;
	if (span_cstr(u.user, l->user, sizeof(l->user)) != RC_OK)
		return err_set(e, RC_SYNTAX, "name of a user too long");
	if (!u.ticket.n)
		return err_set(e, RC_NOTFOUND, "no ticket from auth: " SPAN_FMT, SPAN_ARG(u.noticket));
	return ticket_parse(u.ticket, t) == RC_OK ? RC_OK : err_set(e, RC_SYNTAX, "nonsense from auth");
}

/* Not inlined: what it needs of the stack is not to be held while the session lasts. */
__attribute__((noinline)) static enum rc hand(struct login *l, struct handed *h, struct span tag,
					      struct err *e)
{
	struct asuser_ticket ticket = { .server = 0 };
	enum rc rc = get_ticket(l, &ticket, e);

	if (rc == RC_OK)
		rc = give(l, &ticket, tag, h, e);
	if (rc == RC_GONE)
		service_retire(); /* a new process gets a new monitor */
	if (rc != RC_OK && rc != RC_LIMIT)
		log_error("%s-login: user=<%s>, session=<%s>: %s", login_set.conf->protocol, l->user, l->id,
			  e->text);
	return rc;
}

enum rc login_hand_over(struct login *l, struct span tag, struct err *e)
{
	struct handed h = { .pid = 0 };
	enum rc rc = hand(l, &h, tag, e);

	if (rc != RC_OK)
		return rc;
	l->handed_over = true;
	log_login(l, h.pid);
	wait_until_over(l, h.ours, h.direct);
	stream_close(&h.ours);
	return RC_OK;
}
