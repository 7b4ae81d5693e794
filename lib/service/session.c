/* service/session.c - accepting, and what runs for one connection: a task with a stream, or a channel. */
#include "service/frame.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_IN_A_ROW 64
#define ACCEPT_PAUSE_MS	 100 /* out of descriptors or memory: let sessions end */

struct session {
	struct list link;
	struct service_conn conn;
	struct ipc_chan *chan;
	int fd;
	uid_t stranger;
	bool passed; /* fd is not the client's yet: somebody hands that over */
};
static struct list all = { &all, &all };
static struct waitq room = { { &room.waiters, &room.waiters } };
static bool started;

static bool has_room(void)
{
	return frame.session_limit == 0 || frame.sessions < frame.session_limit;
}

void session_wake(void)
{
	waitq_wake_all(&room);
}

bool session_any_busy(void)
{
	LIST_EACH(it, &all)
	{
		const struct session *s = LIST_ENTRY(it, struct session, link);
		if (s->chan == NULL || ipc_chan_busy(s->chan) > 0)
			return true;
	}
	return false;
}

static struct session *session_new(int fd, uid_t stranger, unsigned listener)
{
	struct session *s = xcalloc(1, sizeof *s);
	s->fd = fd;
	s->stranger = stranger;
	s->conn.listener = listener;
	s->conn.uid = (uid_t)-1;
	list_add_tail(&all, &s->link);
	life_session_begins();
	return s;
}

static void session_free(struct session *s)
{
	list_del(&s->link);
	if (s->fd >= 0) {
		task_forget_fd(s->fd);
		close(s->fd);
	}
	stranger_leave(s->stranger);
	free(s);
	life_session_ends();
}

/* ---- SV_IPC ---- */

static void chan_ended(struct ipc_chan *c, void *arg)
{
	struct session *s = arg;
	if (frame.s->gone != NULL)
		frame.s->gone(c);
	s->fd = -1; /* the channel closes it */
	ipc_chan_close(&s->chan);
	session_free(s);
}

static void serve_ipc(void *arg)
{
	struct session *s = arg;
	struct ipc_peer peer;
	enum hello_kind kind;
	char trigger[64];
	struct err e;
	enum rc rc = hello_read(s->fd, SV_IPC, &peer, &kind, trigger, sizeof trigger, &e);
	if (rc == RC_OK && kind != HELLO_TRIGGER && frame.s->handlers != NULL) {
		int fd = s->fd;
		s->fd = -1;
		s->chan = ipc_chan_new(fd, frame.s->handlers, &peer, NULL);
		ipc_chan_on_close(s->chan, chan_ended, s);
		return;
	}
	if (rc == RC_OK && kind == HELLO_TRIGGER)
		life_wakeup(trigger);
	else if (rc != RC_EOF)
		log_debug("connection dropped: %s", rc == RC_OK ? "nothing is served here" : e.text);
	session_free(s);
}

/* ---- SV_STREAM ---- */

static enum rc identify(struct session *s, struct err *e)
{
	struct service_conn *c = &s->conn;
	enum hello_kind kind;
	if (s->passed)
		return pass_receive(&s->fd, c, e);
	c->peer_len = sizeof c->peer;
	c->local_len = sizeof c->local;
	if (getpeername(s->fd, (struct sockaddr *)&c->peer, &c->peer_len) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&c->local, &c->local_len) < 0)
		return err_sys(e, "socket name");
	if (c->local.ss_family != AF_UNIX)
		return RC_OK;
	c->peer_len = c->local_len = 0;
	enum rc rc = hello_read(s->fd, SV_STREAM, &c->from, &kind, NULL, 0, e);
	c->uid = c->from.uid;
	c->pid = c->from.pid;
	return rc;
}

static void serve_stream(void *arg)
{
	struct session *s = arg;
	struct err e;
	if (identify(s, &e) != RC_OK) {
		log_debug("connection dropped: %s", e.text);
		session_free(s);
		return;
	}
	s->conn.io = stream_new(s->fd);
	s->fd = -1; /* the stream closes it */
	frame.s->serve(&s->conn);
	stream_close(&s->conn.io);
	session_free(s);
}

/* ---- accepting ---- */

/* RC_EOF: draining. */
static enum rc wait_room(void)
{
	while (!frame.draining && !has_room()) {
		enum rc rc = waitq_wait(&room, DEADLINE_NEVER);
		if (rc != RC_OK)
			return rc;
	}
	return frame.draining ? RC_EOF : RC_OK;
}

static void accepted(int fd, uid_t uid, unsigned index)
{
	struct session *s = session_new(fd, uid, index);
	s->passed = strcmp(frame.type, "pass") == 0;
	task_spawn(frame.s->kind == SV_IPC ? serve_ipc : serve_stream, s);
}

/* Takes what is there; several processes may share the listener, so there may be nothing. */
static void accept_some(int listener, unsigned index)
{
	for (unsigned n = 1; !frame.draining && has_room(); n++) {
		if (n % ACCEPTS_IN_A_ROW == 0)
			task_yield(); /* somebody may connect faster than this loop turns */
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		uid_t uid;
		if (fd >= 0) {
			if (stranger_enter(fd, &uid))
				accepted(fd, uid, index);
			else
				close(fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_warning("accept: %s", strerror(errno));
			task_sleep_ms(ACCEPT_PAUSE_MS);
		}
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

static void acceptor(void *arg)
{
	unsigned index = (unsigned)(uintptr_t)arg;
	int fd = MP_FD_LISTEN + (int)index;
	while (wait_room() == RC_OK)
		if (task_wait_fd(fd, TASK_READ, DEADLINE_NEVER) == RC_OK)
			accept_some(fd, index);
}

/* The tasks that wait for them find that the process drains. */
void accept_stop(void)
{
	if (!started)
		return;
	for (unsigned i = 0; i < frame.listeners; i++) {
		if (frame.s->kind == SV_DGRAM)
			datagram_rest(i);
		task_forget_fd(MP_FD_LISTEN + (int)i);
		close(MP_FD_LISTEN + (int)i);
	}
}

struct handed {
	int fd;
	unsigned listener;
};

/* Also while the process drains for a reload: the client came before that, and nobody else would serve it. */
static void serve_handed(void *arg)
{
	struct handed *h = arg;
	while (!frame.draining && !has_room())
		if (waitq_wait(&room, DEADLINE_NEVER) != RC_OK)
			break;
	if (frame.ending || frame.s->kind != SV_STREAM)
		close(h->fd);
	else
		serve_stream(session_new(h->fd, STRANGER_NONE, h->listener));
	free(h);
	service_unhold();
}

void session_hand(int fd, unsigned index)
{
	struct handed *h = xcalloc(1, sizeof *h);
	*h = (struct handed){ fd, index };
	service_hold();
	task_spawn(serve_handed, h);
}

void accept_start(void)
{
	started = true;
	for (unsigned i = 0; i < frame.listeners; i++) {
		int fd = MP_FD_LISTEN + (int)i;
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		if (frame.s->kind == SV_DGRAM)
			datagram_start(i);
		else if (frame.s->kind != SV_NONE)
			task_spawn(acceptor, (void *)(uintptr_t)i);
	}
}
