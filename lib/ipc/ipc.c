/* ipc/ipc.c - channels: a reader task per connection, calls in flight in both directions.
 *
 * Life of a channel: references are held by its owner (until ipc_chan_close), the reader task, each caller
 * that waits and each request in progress. `ended` is set once, by chan_end(); then nothing is sent or taken
 * any more, waiting callers have RC_EOF, and the reader leaves. The descriptor is closed when neither the
 * reader nor a sender uses it.
 *
 * Records go out with one sendmsg() (atomic on SOCK_SEQPACKET, so tasks need no lock) and come in with one
 * recvmsg() into a buffer of the greatest size. A small record is copied to where its message lives, a large
 * one keeps the buffer. */
#include "ipc/frame.h"
#include "log/log.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERIAL_BUCKETS 32 /* power of two */
/* A few records of IPC_FRAME_MAX; the kernel cuts it to net.core.wmem_max. */
#define SOCKET_BYTES (1024 * 1024)
/* A longer record keeps the receive buffer while it is handled: no copy, but up to IPC_FRAME_MAX of memory.
 */
#define KEEP_BUFFER_BYTES (48 * 1024)
#define SPARE_BUFFERS	  4
#define SPARE_FRAMES	  4
#define SPARE_FRAME_BYTES (64 * 1024)
#define RECORDS_IN_A_ROW  32 /* before other tasks have a turn */

/* A caller that waits; lives on its stack. */
struct pending {
	struct list link; /* struct ipc_chan.pending */
	uint32_t serial;
	const struct ipc_type *type;
	void *reply;
	struct arena *a;
	struct err *e;
	struct waitq wake;
	bool done;
	enum rc rc;
};

struct ipc_chan {
	int fd;
	unsigned refs, fd_users;
	bool owned, ended;
	bool deaf;    /* the peer takes no more; what it sent before is still read */
	bool writing; /* a task waits for socket space: the others queue in `writers` */
	struct waitq writers;
	uint32_t serial;
	uint32_t given_up; /* callers that timed out: their replies may still come */
	unsigned waiting;  /* elements in `pending` */
	struct list pending[SERIAL_BUCKETS];
	unsigned calls, calls_max; /* requests in progress */
	struct waitq room;	   /* the reader waits for calls < calls_max */
	const struct ipc_handler *handlers;
	struct ipc_peer peer;
	void *context;
	void (*on_close)(struct ipc_chan *, void *);
	void *on_close_arg;
};

struct rx_buffer {
	struct rx_buffer *next;
	char bytes[IPC_FRAME_MAX];
};

struct ipc_call {
	struct ipc_chan *chan;
	const struct ipc_type *type;
	const struct ipc_handler *handler;
	uint32_t serial;
	struct arena arena;
	struct rx_buffer *rx; /* NULL: the record is in this allocation, after the request */
	void *request;
};

static struct rx_buffer *spare_buffers;
static unsigned spare_buffers_n;
static struct ipc_frame *spare_frames[SPARE_FRAMES];
static unsigned spare_frames_n;

/* ---- buffers kept for reuse ---- */

static struct rx_buffer *rx_get(void)
{
	struct rx_buffer *rx = spare_buffers;

	if (!rx)
		return xmalloc(sizeof(*rx));
	spare_buffers = rx->next;
	spare_buffers_n--;
	return rx;
}

static void rx_put(struct rx_buffer *rx)
{
	if (!rx)
		return;
	if (spare_buffers_n == SPARE_BUFFERS) {
		free(rx);
		return;
	}
	rx->next = spare_buffers;
	spare_buffers = rx;
	spare_buffers_n++;
}

static struct ipc_frame *frame_get(void)
{
	struct ipc_frame *f;

	if (spare_frames_n > 0)
		return spare_frames[--spare_frames_n];
	f = xmalloc(sizeof(*f));
	ipc_frame_init(f);
	return f;
}

static void frame_put(struct ipc_frame *f)
{
	ipc_frame_reset(f);
	if (spare_frames_n < SPARE_FRAMES && f->bytes.cap <= SPARE_FRAME_BYTES) {
		spare_frames[spare_frames_n++] = f;
		return;
	}
	ipc_frame_release(f);
	free(f);
}

/* ---- life of a channel ---- */

static struct list *bucket(struct ipc_chan *c, uint32_t serial)
{
	return &c->pending[serial & (SERIAL_BUCKETS - 1)];
}

#define PEER_TEXT 256
static const char *peer_text(const struct ipc_chan *c, char out[PEER_TEXT])
{
	const struct ipc_peer *p = &c->peer;

	if (p->program[0])
		snprintf(out, PEER_TEXT, "%s (%s) pid %ld", p->program, p->service, (long)p->pid);
	else
		snprintf(out, PEER_TEXT, "uid %lu pid %ld", (unsigned long)p->uid, (long)p->pid);
	return out;
}

static enum rc err_ended(const struct ipc_chan *c, struct err *e)
{
	char who[PEER_TEXT];

	return err_set(e, RC_EOF, "the connection to %s ended", peer_text(c, who));
}

static void chan_ref(struct ipc_chan *c)
{
	c->refs++;
}

static void chan_unref(struct ipc_chan *c)
{
	INVARIANT(c->refs > 0);
	if (--c->refs > 0)
		return;
	INVARIANT(c->fd < 0 && c->calls == 0);
	free(c);
}

static void chan_fd_unuse(struct ipc_chan *c)
{
	INVARIANT(c->fd_users > 0);
	if (--c->fd_users > 0)
		return;
	task_forget_fd(c->fd);
	close(c->fd);
	c->fd = -1;
}

static void pending_done(struct ipc_chan *c, struct pending *p, enum rc rc)
{
	list_del(&p->link);
	c->waiting--;
	p->done = true;
	p->rc = rc;
	waitq_wake_all(&p->wake);
}

/* Nothing more goes in or out. Wakes all who wait; the reader closes the descriptor. */
static void chan_end(struct ipc_chan *c)
{
	if (c->ended)
		return;
	c->ended = true;
	shutdown(c->fd, SHUT_RDWR);
	for (size_t i = 0; i < SERIAL_BUCKETS; i++)
		LIST_EACH_SAFE(it, &c->pending[i])
		{
			struct pending *p = LIST_ENTRY(it, struct pending, link);

			pending_done(c, p, err_ended(c, p->e));
		}
	waitq_wake_all(&c->writers);
	waitq_wake_all(&c->room);
}

static void chan_reader(void *arg);

struct ipc_chan *ipc_chan_new(int fd, const struct ipc_handler *handlers, const struct ipc_peer *peer,
			      void *context)
{
	struct ipc_chan *c = xcalloc(1, sizeof(*c));
	int bytes = SOCKET_BYTES;

	c->fd = fd;
	c->refs = 2; /* owner, reader */
	c->fd_users = 1;
	c->owned = true;
	c->handlers = handlers;
	c->context = context;
	if (peer)
		c->peer = *peer;
	c->calls_max = c->peer.program[0] ? IPC_CALLS_MAX : IPC_CALLS_PUBLIC;
	for (size_t i = 0; i < SERIAL_BUCKETS; i++)
		list_init(&c->pending[i]);
	waitq_init(&c->writers);
	waitq_init(&c->room);
	/* On UNIX sockets the sender's limit governs, and the longest record must fit it. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	task_spawn(chan_reader, c);
	return c;
}

void ipc_chan_close(struct ipc_chan **c)
{
	struct ipc_chan *chan = *c;

	*c = NULL;
	if (!chan)
		return;
	INVARIANT(chan->owned);
	chan->owned = false;
	chan_end(chan);
	chan_unref(chan);
}

bool ipc_chan_alive(const struct ipc_chan *c)
{
	return !c->ended && !c->deaf;
}

unsigned ipc_chan_busy(const struct ipc_chan *c)
{
	return c->calls;
}

const struct ipc_peer *ipc_chan_peer(const struct ipc_chan *c)
{
	return &c->peer;
}

void *ipc_chan_context(const struct ipc_chan *c)
{
	return c->context;
}

void ipc_chan_on_close(struct ipc_chan *c, void (*fn)(struct ipc_chan *, void *), void *arg)
{
	c->on_close = fn;
	c->on_close_arg = arg;
}

/* ---- sending ---- */

static size_t put_rights(struct msghdr *m, const struct ipc_frame *f)
{
	struct cmsghdr *cm;

	if (f->nfds == 0)
		return m->msg_controllen = 0;
	m->msg_controllen = CMSG_SPACE(f->nfds * sizeof(int));
	memset(m->msg_control, 0, m->msg_controllen);
	cm = CMSG_FIRSTHDR(m);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(f->nfds * sizeof(int));
	memcpy(CMSG_DATA(cm), f->fds, f->nfds * sizeof(int));
	return m->msg_controllen;
}

/* Waits until the socket takes more. Outside of a task there is no waiting. */
static enum rc wait_writable(struct ipc_chan *c, deadline_t d)
{
	enum rc rc;

	if (!task_self())
		return RC_TIMEOUT;
	c->writing = true;
	rc = task_wait_fd(c->fd, TASK_WRITE | TASK_DRAINED, d);
	c->writing = false;
	return rc;
}

static enum rc frame_send(struct ipc_chan *c, const struct ipc_frame *f, deadline_t d, struct err *e)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(IPC_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov[FRAME_IOV_MAX];
	struct msghdr m = { .msg_iov = iov, .msg_control = &control };
	enum rc rc = RC_OK;

	m.msg_iovlen = ipc_frame_iov(f, iov);
	put_rights(&m, f);
	while (rc == RC_OK) {
		if (c->ended || c->deaf)
			return err_ended(c, e);
		if (c->writing) {
			rc = task_self() ? waitq_wait(&c->writers, d) : RC_TIMEOUT;
			continue;
		}
		if (sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return RC_OK;
		switch (errno) {
		case EINTR:
			break;
		case EAGAIN:
			rc = wait_writable(c, d);
			break;
		case EPIPE:
		case ECONNRESET:
		case ENOTCONN:
			c->deaf = true; /* the reader takes what is still there, then ends the channel */
			break;
		default:
			return err_sys(e, "send to %s", c->peer.program[0] ? c->peer.program : "peer");
		}
	}
	if (rc == RC_TIMEOUT)
		return err_set(e, rc, "%s takes no more records",
			       c->peer.program[0] ? c->peer.program : "peer");
	return rc;
}

/* May wait; the caller holds a reference to the channel of his own. */
static enum rc record_send(struct ipc_chan *c, const struct ipc_type *t, uint8_t flags, uint32_t serial,
			   const void *msg, deadline_t d, struct err *e)
{
	struct ipc_frame *f;
	enum rc rc;

	if (!ipc_chan_alive(c))
		return err_ended(c, e);
	f = frame_get();
	if ((rc = ipc_frame_encode(f, t, flags, serial, msg)) != RC_OK) {
		err_set(e, rc, "%s%s: a field or the record is too long", t->name,
			flags & IPC_REPLY ? " reply" : "");
	} else {
		c->fd_users++;
		rc = frame_send(c, f, d, e);
		if (!c->writing)
			waitq_wake_one(&c->writers);
		chan_fd_unuse(c);
	}
	frame_put(f);
	return rc;
}

/* ---- calling ---- */

static uint32_t new_serial(struct ipc_chan *c)
{
	for (;;) {
		bool used = ++c->serial == 0; /* 0 stands for "no reply" */

		LIST_EACH(it, bucket(c, c->serial))
		used |= LIST_ENTRY(it, struct pending, link)->serial == c->serial;
		if (!used)
			return c->serial;
	}
}

enum rc ipc_request(struct ipc_chan *c, uint16_t type, const void *request, void *reply, struct arena *a,
		    deadline_t d, struct err *e)
{
	const struct ipc_type *t = ipc_type_find(type);
	struct pending p = { .type = t, .reply = reply, .a = a, .e = e };
	enum rc rc;

	INVARIANT(t && t->reply && task_self());
	if (!ipc_chan_alive(c))
		return err_ended(c, e);
	chan_ref(c);
	p.serial = new_serial(c);
	waitq_init(&p.wake);
	list_add_tail(bucket(c, p.serial), &p.link);
	c->waiting++;
	rc = record_send(c, t, 0, p.serial, request, d, e);
	while (rc == RC_OK && !p.done)
		if ((rc = waitq_wait(&p.wake, d)) == RC_TIMEOUT && !p.done) {
			c->given_up++;
			err_set(e, rc, "%s: no reply in time", t->name);
		}
	if (p.done) {
		rc = p.rc;
	} else {
		list_del(&p.link);
		c->waiting--;
	}
	chan_unref(c);
	return rc;
}

enum rc ipc_notify(struct ipc_chan *c, uint16_t type, const void *message, deadline_t d, struct err *e)
{
	const struct ipc_type *t = ipc_type_find(type);
	enum rc rc;

	INVARIANT(t && !t->reply);
	chan_ref(c);
	rc = record_send(c, t, 0, 0, message, d, e);
	chan_unref(c);
	return rc;
}

/* ---- receiving ---- */

struct record {
	struct rx_buffer *rx; /* set NULL by who keeps it */
	struct ipc_header head;
	struct span body;
	int fds[IPC_FDS_MAX];
	size_t nfds;
};

static void record_close_fds(struct record *r)
{
	while (r->nfds > 0)
		close(r->fds[--r->nfds]);
}

static void take_rights(struct msghdr *m, struct record *r)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm; cm = CMSG_NXTHDR(m, cm)) {
		size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
			if (r->nfds < IPC_FDS_MAX)
				r->fds[r->nfds++] = fd;
			else
				close(fd);
		}
	}
}

/* RC_OK: a record, its header judged. RC_AGAIN: none is there. Otherwise the channel is at its end, and no
 * descriptor stays behind. */
static enum rc record_receive(struct ipc_chan *c, struct record *r, struct err *e)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(IPC_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { r->rx->bytes, sizeof(r->rx->bytes) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control };
	ssize_t n;
	enum rc rc;

	m.msg_controllen = sizeof(control);
	n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && errno == ECONNRESET) {
		/* Told once, when the peer closed with records of ours unread; its own last ones follow. */
		c->deaf = true;
		n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	}
	if (n < 0)
		return errno == EAGAIN ? RC_AGAIN : err_sys(e, "receive");
	take_rights(&m, r);
	if (n == 0)
		rc = RC_EOF;
	else if (m.msg_flags & MSG_TRUNC)
		rc = err_set(e, RC_SYNTAX, "a record longer than %d bytes", IPC_FRAME_MAX);
	else if (m.msg_flags & MSG_CTRUNC)
		rc = err_set(e, RC_SYNTAX, "more descriptors than %d, or than this process may have",
			     IPC_FDS_MAX);
	else
		rc = ipc_header_decode(span_make(r->rx->bytes, (size_t)n), &r->head, e);
	if (rc != RC_OK) {
		record_close_fds(r);
		return rc;
	}
	r->body = span_make(r->rx->bytes + IPC_HEADER_BYTES, (size_t)n - IPC_HEADER_BYTES);
	return RC_OK;
}

static enum rc reply_take(struct ipc_chan *c, struct record *r, struct err *e)
{
	struct pending *p = NULL;
	enum rc rc;

	LIST_EACH(it, bucket(c, r->head.serial))
	if (LIST_ENTRY(it, struct pending, link)->serial == r->head.serial)
		p = LIST_ENTRY(it, struct pending, link);
	if (!p || p->type->type != r->head.type) {
		record_close_fds(r);
		if (p || c->given_up == 0)
			return err_set(e, RC_SYNTAX, "a reply (type %u) that nobody asked for", r->head.type);
		c->given_up--;
		return RC_OK;
	}
	memset(p->reply, 0, p->type->reply_size);
	rc = ipc_decode(p->type->reply, span_dup(p->a, r->body), r->fds, r->nfds, p->a, p->reply, e);
	if (rc != RC_OK) {
		err_prefix(e, "%s reply", p->type->name);
		err_set(p->e, rc, "%s", e->text);
	}
	pending_done(c, p, rc);
	return rc;
}

static void call_free(struct ipc_call *call)
{
	struct ipc_chan *c = call->chan;

	c->calls--;
	waitq_wake_one(&c->room);
	arena_release(&call->arena);
	rx_put(call->rx);
	free(call);
	chan_unref(c);
}

static void call_run(void *arg)
{
	struct ipc_call *call = arg;

	call->handler->run(call, call->request);
}

static bool may_send(const struct ipc_handler *h, const struct ipc_peer *peer)
{
	struct span rest = span_str(h->from), word;

	while (span_next_word(&rest, " ", &word))
		if (span_is(word, "*") || (peer->program[0] && span_is(word, peer->program)))
			return true;
	return false;
}

/* One allocation holds the call, the request and, when it is short, the record. */
static struct ipc_call *call_new(struct ipc_chan *c, const struct ipc_handler *h, const struct ipc_type *t,
				 struct record *r)
{
	const size_t align = _Alignof(max_align_t);
	size_t at = (sizeof(struct ipc_call) + align - 1) / align * align;
	bool keep = r->body.n > KEEP_BUFFER_BYTES;
	struct ipc_call *call = xmalloc(at + t->request_size + (keep ? 0 : r->body.n));

	*call = (struct ipc_call){ .chan = c, .type = t, .handler = h, .serial = r->head.serial };
	call->request = (char *)call + at;
	memset(call->request, 0, t->request_size);
	if (keep) {
		call->rx = r->rx;
		r->rx = NULL;
	} else {
		char *copy = (char *)call->request + t->request_size;

		if (r->body.n > 0)
			memcpy(copy, r->body.p, r->body.n);
		r->body.p = copy;
	}
	arena_init(&call->arena);
	chan_ref(c);
	c->calls++;
	return call;
}

static enum rc request_take(struct ipc_chan *c, struct record *r, struct err *e)
{
	const struct ipc_handler *h = c->handlers;
	const struct ipc_type *t = ipc_type_find(r->head.type);
	struct ipc_call *call;
	enum rc rc = RC_OK;

	while (h && h->run && h->type != r->head.type)
		h++;
	if (!t || !h || !h->run)
		rc = err_set(e, RC_SYNTAX, "a request of type %u, which is not served here", r->head.type);
	else if (!may_send(h, &c->peer))
		rc = err_set(e, RC_DENIED, "%s is not for this peer to ask", t->name);
	else if ((r->head.serial != 0) != (t->reply != NULL))
		rc = err_set(e, RC_SYNTAX, "%s with serial %lu", t->name, (unsigned long)r->head.serial);
	if (rc != RC_OK) {
		record_close_fds(r);
		return rc;
	}
	call = call_new(c, h, t, r);
	if ((rc = ipc_decode(t->request, r->body, r->fds, r->nfds, &call->arena, call->request, e)) !=
	    RC_OK) {
		err_prefix(e, "%s", t->name);
		call_free(call);
		return rc;
	}
	task_spawn(call_run, call);
	return RC_OK;
}

static enum rc chan_take_record(struct ipc_chan *c, struct err *e)
{
	struct record r = { .rx = rx_get() };
	enum rc rc = record_receive(c, &r, e);

	if (rc == RC_OK)
		rc = r.head.flags & IPC_REPLY ? reply_take(c, &r, e) : request_take(c, &r, e);
	rx_put(r.rx);
	return rc;
}

static enum rc chan_read(struct ipc_chan *c, struct err *e)
{
	unsigned in_a_row = 0;
	enum rc rc = RC_OK;

	while (rc == RC_OK && !c->ended) {
		if (c->calls >= c->calls_max) {
			rc = waitq_wait(&c->room, DEADLINE_NEVER);
		} else if ((rc = chan_take_record(c, e)) == RC_AGAIN) { /* drained */
			rc = task_wait_fd(c->fd, TASK_READ | TASK_DRAINED, DEADLINE_NEVER);
			in_a_row = 0;
		} else if (++in_a_row == RECORDS_IN_A_ROW) {
			task_yield();
			in_a_row = 0;
		}
	}
	return rc;
}

static void chan_reader(void *arg)
{
	struct ipc_chan *c = arg;
	struct err e = { 0 };
	enum rc rc = chan_read(c, &e);

	if (rc != RC_OK && rc != RC_EOF && !c->ended) {
		char who[PEER_TEXT];

		log_warning("ipc: from %s: %s; closing the connection", peer_text(c, who), e.text);
	}
	chan_end(c);
	if (c->owned && c->on_close)
		c->on_close(c, c->on_close_arg);
	chan_fd_unuse(c);
	chan_unref(c);
}

/* ---- inside a handler ---- */

struct arena *ipc_call_arena(struct ipc_call *call)
{
	return &call->arena;
}

struct ipc_chan *ipc_call_chan(struct ipc_call *call)
{
	return call->chan;
}

void ipc_reply(struct ipc_call *call, const void *reply)
{
	struct ipc_chan *c = call->chan;
	struct err e = { 0 };
	enum rc rc;

	INVARIANT(call->type->reply);
	rc = record_send(c, call->type, IPC_REPLY, call->serial, reply, deadline_s(IPC_REPLY_TIMEOUT_S), &e);
	if (rc != RC_OK && rc != RC_EOF && !c->ended) { /* the caller would wait for nothing */
		char who[PEER_TEXT];

		log_warning("ipc: to %s: %s; closing the connection", peer_text(c, who), e.text);
		chan_end(c);
	}
	ipc_close_fds(call->type->reply, reply);
	call_free(call);
}

void ipc_done(struct ipc_call *call)
{
	INVARIANT(!call->type->reply);
	call_free(call);
}
