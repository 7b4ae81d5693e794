/* login/handover.c - the front's side of the users' processes: finds or starts one, gives it the connection,
 * and waits until the session is over.
 *
 *	none --asuser_redeem--> starting --hello--> ready (users > 0) <--> lingering --LINGER_S--> closed */
#include "login/private.h"
#include "log/event.h"
#include "log/log.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_S 5  /* a client that comes back soon finds the mailbox open */
#define START_S	 60 /* a large mailbox that is opened for the first time takes its time */

struct process {
	struct list link;
	struct asuser_id id;
	int fd; /* SOCK_SEQPACKET; -1 while starting */
	int32_t pid;
	unsigned users;	     /* tasks that hold a pointer: each has a session here, or is about to */
	bool starting, dead; /* dead: takes nothing new */
	struct waitq started;
	struct timer linger;
};
static struct list processes = { &processes, &processes };

static void process_retire(struct process *p)
{
	p->dead = true;
	timer_cancel(&p->linger);
	if (p->fd >= 0) {
		task_forget_fd(p->fd);
		close(p->fd);
		p->fd = -1;
	}
}

void login_end_processes(void)
{
	LIST_EACH(it, &processes)
	process_retire(LIST_ENTRY(it, struct process, link));
}

static void process_put(struct process *p)
{
	if (--p->users > 0)
		return;
	if (p->dead) {
		list_del(&p->link);
		free(p);
	} else {
		timer_set(&p->linger, deadline_s(service_draining() ? 0 : LINGER_S));
	}
}

static void linger_over(void *arg)
{
	struct process *p = arg;

	p->users++;
	process_retire(p);
	process_put(p);
}

static bool same(const struct asuser_id *a, const struct asuser_id *b)
{
	return a->uid == b->uid && a->gid == b->gid && strcmp(a->user, b->user) == 0 &&
	       strcmp(a->home, b->home) == 0 && strcmp(a->mail, b->mail) == 0;
}

static struct process *find(const struct asuser_id *id)
{
	LIST_EACH(it, &processes)
	{
		struct process *p = LIST_ENTRY(it, struct process, link);

		if (!p->dead && same(&p->id, id))
			return p;
	}
	return NULL;
}

static enum rc read_hello(struct process *p, struct err *e)
{
	struct login_hello h;
	enum rc rc = task_wait_fd(p->fd, TASK_READ, deadline_s(START_S));
	ssize_t n = rc == RC_OK ? recv(p->fd, &h, sizeof(h), MSG_DONTWAIT) : -1;

	if (n != (ssize_t)sizeof(h) || h.magic != LOGIN_MAGIC)
		return err_set(e, RC_AGAIN, "the user's process did not start");
	p->pid = h.pid;
	return h.rc == RC_OK ? RC_OK : err_set(e, RC_AGAIN, "the mailbox cannot be opened");
}

static enum rc process_start(struct process *p, const struct asuser_ticket *t, struct err *e)
{
	enum rc rc;

	p->starting = true;
	rc = asuser_redeem(t, &p->fd, e);
	if (rc == RC_GONE)
		service_retire(); /* a new process gets a new monitor */
	if (rc == RC_OK)
		rc = read_hello(p, e);
	p->starting = false;
	if (rc != RC_OK)
		process_retire(p);
	waitq_wake_all(&p->started);
	return rc;
}

/* Counts the caller as a user of *out. */
static enum rc process_get(const struct asuser_id *id, const struct asuser_ticket *t, struct process **out,
			   struct err *e)
{
	struct process *p = find(id);
	enum rc rc = RC_OK;

	if (!p) {
		p = xcalloc(1, sizeof(*p));
		p->id = *id;
		p->fd = -1;
		p->users = 1;
		waitq_init(&p->started);
		timer_init(&p->linger, linger_over, p);
		list_add_tail(&processes, &p->link);
		rc = process_start(p, t, e);
	} else {
		p->users++;
		timer_cancel(&p->linger);
		while (p->starting && rc == RC_OK)
			rc = waitq_wait(&p->started, deadline_s(START_S));
		if (rc == RC_OK && p->dead)
			rc = err_set(e, RC_AGAIN, "the user's process did not start");
	}
	if (rc != RC_OK) {
		process_put(p);
		p = NULL;
	}
	*out = p;
	return rc;
}

/* A record with what follows it. */
struct parcel {
	struct login_record r;
	char ahead[LOGIN_AHEAD_MAX];
};

/* The parcel with its descriptors, which stay ours. */
static enum rc send_parcel(struct process *p, const struct parcel *what, const int *fds, size_t n,
			   struct err *e)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)what, sizeof(what->r) + what->r.ahead };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	for (;;) {
		if (p->fd < 0)
			return err_set(e, RC_EOF, "the user's process has ended");
		if (sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return RC_OK;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || task_wait_fd(p->fd, TASK_WRITE, deadline_s(10)) != RC_OK)
			return err_set(e, RC_EOF, "the user's process has ended");
	}
}

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

static void log_login(const struct login *l, const struct process *p)
{
	log_info("%s-login: Login: user=<%s>, method=%s, rip=%s, lip=%s, mpid=%ld%s, session=<%s>",
		 login_set.conf->protocol, l->user, l->method, l->rip, l->lip, (long)p->pid,
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
	snprintf(r->user, sizeof(r->user), "%s", l->user);
	snprintf(r->id, sizeof(r->id), "%s", l->id);
	snprintf(r->rip, sizeof(r->rip), "%s", l->rip);
	snprintf(r->lip, sizeof(r->lip), "%s", l->lip);
	return RC_OK;
}

/* A copy: what was read ahead stays in the stream until the process of the user has it. */
static enum rc fill_ahead(struct login *l, struct parcel *what, struct err *e)
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

/* The parcel is large and soon done with: not on the stack of a task that waits for the session's end. */
static enum rc give(struct login *l, struct process *p, struct span tag, int relay_end, bool direct,
		    struct err *e)
{
	struct parcel *what = xcalloc(1, sizeof(*what));
	const int fds[] = { relay_end, stream_fd(l->io) };
	enum rc rc = fill_record(l, tag, &what->r, e);

	if (rc == RC_OK)
		rc = stream_flush(l->io, l->until, e);
	if (rc == RC_OK && direct)
		rc = fill_ahead(l, what, e);
	if (rc == RC_OK)
		rc = send_parcel(p, what, fds, direct ? 2 : 1, e);
	if (rc == RC_OK && direct)
		stream_drop_input(l->io);
	free(what);
	return rc;
}

/* A connection that is handed over, until its session ends. */
struct handed {
	struct process *p;
	struct stream *ours; /* our end to the user's process */
	bool direct;	     /* it has the client's socket itself */
};

static enum rc hand_to(struct login *l, struct handed *h, struct span tag, struct err *e)
{
	int pair[2];
	enum rc rc;

	h->direct = !l->tls && stream_buffered(l->io) <= LOGIN_AHEAD_MAX;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return err_sys(e, "socketpair");
	rc = give(l, h->p, tag, pair[1], h->direct, e);
	close(pair[1]);
	h->ours = stream_new(pair[0]);
	if (rc != RC_OK)
		stream_close(&h->ours);
	return rc;
}

static unsigned sessions_of(const struct asuser_id *id)
{
	unsigned n = 0;

	LIST_EACH(it, &processes)
	{
		const struct process *p = LIST_ENTRY(it, struct process, link);

		if (p->id.uid == id->uid && strcmp(p->id.user, id->user) == 0)
			n += p->users;
	}
	return n;
}

/* *id only tells processes apart: the monitor gets the ticket, and asks auth itself whom to serve. */
static enum rc whose(struct login *l, struct asuser_id *id, struct asuser_ticket *t, struct err *e)
{
	struct auth_user u;
	enum rc rc = authclient_redeem(&l->x, &l->a, &u, l->until, e);

	l->x = NULL;
	if (rc != RC_OK)
		return rc;
	*id = (struct asuser_id){ .uid = u.uid, .gid = u.gid };
	if (span_cstr(u.user, l->user, sizeof(l->user)) != RC_OK ||
	    span_cstr(u.user, id->user, sizeof(id->user)) != RC_OK ||
	    span_cstr(u.home, id->home, sizeof(id->home)) != RC_OK ||
	    span_cstr(u.mail, id->mail, sizeof(id->mail)) != RC_OK)
		return err_set(e, RC_SYNTAX, "name or path of a user too long");
	if (!u.ticket.n)
		return err_set(e, RC_NOTFOUND, "no ticket from auth: " SPAN_FMT, SPAN_ARG(u.noticket));
	return ticket_parse(u.ticket, t) == RC_OK ? RC_OK : err_set(e, RC_SYNTAX, "nonsense from auth");
}

/* Not inlined: what it needs of the stack is not to be held while the session lasts. */
__attribute__((noinline)) static enum rc find_process(struct login *l, struct handed *h, struct span tag,
						      struct err *e)
{
	struct asuser_id id;
	struct asuser_ticket ticket = { .server = 0 };
	enum rc rc = whose(l, &id, &ticket, e);

	if (rc == RC_OK && login_set.user_limit > 0 && sessions_of(&id) >= (uint64_t)login_set.user_limit)
		return err_set(e, RC_LIMIT, "too many sessions of this user");
	/* A kept process may have ended since: then once more with a new one. */
	for (int attempt = 0; rc == RC_OK; attempt++) {
		if ((rc = process_get(&id, &ticket, &h->p, e)) != RC_OK)
			break;
		if ((rc = hand_to(l, h, tag, e)) == RC_OK)
			return RC_OK;
		if (rc == RC_EOF)
			process_retire(h->p);
		process_put(h->p);
		if (rc == RC_EOF && attempt == 0)
			rc = RC_OK;
	}
	log_error("%s-login: user=<%s>, session=<%s>: %s", login_set.conf->protocol, l->user, l->id, e->text);
	return rc;
}

enum rc login_hand_over(struct login *l, struct span tag, struct err *e)
{
	struct handed h = { .p = NULL };
	enum rc rc = find_process(l, &h, tag, e);

	if (rc != RC_OK)
		return rc;
	l->handed_over = true;
	log_login(l, h.p);
	wait_until_over(l, h.ours, h.direct);
	stream_close(&h.ours);
	process_put(h.p);
	return RC_OK;
}
