/* login/child.c - the process of a user: takes connections from the front and serves each in a task. It ends
 * when the front has closed the channel and the last session is over. */
#include "login/private.h"
#include "log/log.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	int channel;
	const struct asuser_id *id;
	struct store *store;
	unsigned sessions;
	struct list open; /* their tasks */
	bool closed, ending;
} child;

struct task_start {
	struct list link;
	struct login_record r;
	int fds[2];
	struct stream *io;
	struct login_session session; /* not on the stack, of which an idle session shall need one page */
};

/* ---- before the sandbox, as the user: what he may see. Opening the store makes what is missing, which
 * landlock could not name yet. ---- */
static struct err store_trouble;

static size_t add_path(struct sandbox_path *out, size_t n, size_t max, const char *path)
{
	if (*path && n < max)
		out[n++] = (struct sandbox_path){ path, SB_READ | SB_WRITE };
	return n;
}

/* An mbox is written under a dotlock beside it, so its directory is what counts. */
static const char *directory_of(const char *file, char out[STORE_PATH_MAX])
{
	char *slash;

	snprintf(out, STORE_PATH_MAX, "%s", file);
	slash = strrchr(out, '/');
	if (slash && slash > out)
		*slash = '\0';
	return out;
}

size_t login_child_paths(const struct asuser_id *id, struct sandbox_path *out, size_t max)
{
	static struct store_loc l;
	static char inbox_dir[STORE_PATH_MAX];
	size_t n = 0;

	if (store_loc_parse(span_str(id->mail), id->home, id->user, &l, &store_trouble) != RC_OK ||
	    store_open(&l, &child.store, &store_trouble) != RC_OK) {
		log_error("%s(%s): %s", id->tag, id->user, store_trouble.text);
		child.store = NULL;
		return 0;
	}
	n = add_path(out, n, max, l.root);
	n = add_path(out, n, max, l.kind == STORE_MBOX ? directory_of(l.inbox, inbox_dir) : l.inbox);
	n = add_path(out, n, max, l.index);
	return add_path(out, n, max, l.control);
}

/* ---- serving ---- */
void login_say_bye(struct stream *io)
{
	struct err e;

	stream_puts(io, login_set.conf->bye);
	if (stream_flush(io, deadline_s(1), &e) != RC_OK)
		log_debug("%s", e.text);
}

static void session_task(void *arg)
{
	struct task_start *t = arg;
	struct login_session *s = &t->session;
	bool direct = t->fds[1] >= 0;

	s->store = child.store;
	memcpy(s->user, t->r.user, sizeof(s->user));
	memcpy(s->id, t->r.id, sizeof(s->id));
	memcpy(s->rip, t->r.rip, sizeof(s->rip));
	memcpy(s->lip, t->r.lip, sizeof(s->lip));
	memcpy(s->tag, t->r.tag, sizeof(s->tag));
	snprintf(s->who, sizeof(s->who), "%s(%s)<%ld><%s>", child.id->tag, s->user, (long)getpid(), s->id);
	s->io = t->io;
	list_add_tail(&child.open, &t->link);
	login_set.conf->serve(s);
	list_del(&t->link);
	if (s->unusable && !child.closed) {
		child.closed = true; /* the others of this process go on to their end */
		shutdown(child.channel, SHUT_RDWR);
	}
	if (child.ending)
		login_say_bye(s->io);
	stream_close(&s->io);
	if (direct)
		close(t->fds[0]); /* tells the front that the session is over */
	free(t);
	if (--child.sessions == 0 && child.closed)
		loop_stop(0);
}

static bool record_ok(const struct login_record *r, size_t bytes)
{
	return r->magic == LOGIN_MAGIC && r->ahead <= LOGIN_AHEAD_MAX && bytes == sizeof(*r) + r->ahead &&
	       memchr(r->user, '\0', sizeof(r->user)) && memchr(r->id, '\0', sizeof(r->id)) &&
	       memchr(r->rip, '\0', sizeof(r->rip)) && memchr(r->lip, '\0', sizeof(r->lip)) &&
	       memchr(r->tag, '\0', sizeof(r->tag));
}

/* RC_EOF: the channel is over, or what came makes no sense. */
static enum rc receive(struct task_start *t)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	static char ahead[LOGIN_AHEAD_MAX];
	struct iovec iov[] = { { &t->r, sizeof(t->r) }, { ahead, sizeof(ahead) } };
	struct msghdr m = { .msg_iov = iov,
			    .msg_iovlen = ARRAY_LEN(iov),
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	const struct cmsghdr *c;
	ssize_t n = recvmsg(child.channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	t->fds[0] = t->fds[1] = -1;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return RC_AGAIN;
	if (n <= 0)
		return RC_EOF;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(t->fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	if (n < (ssize_t)sizeof(t->r) || !record_ok(&t->r, (size_t)n) || t->fds[0] < 0)
		return RC_EOF;
	t->io = login_stream(t->fds[1] >= 0 ? t->fds[1] : t->fds[0], span_make(ahead, t->r.ahead));
	return RC_OK;
}

/* The front is gone, or told to end: nobody may stay behind out of master's reach. Each session reads the end
 * of its input, comes to its own end, and says good-bye. */
static void end_sessions(void)
{
	child.ending = true;
	LIST_EACH(it, &child.open)
	shutdown(stream_fd(LIST_ENTRY(it, struct task_start, link)->io), SHUT_RD);
}

static void channel_task(void *unused)
{
	enum rc rc;

	(void)unused;
	for (;;) {
		struct task_start *t = xcalloc(1, sizeof(*t));

		rc = receive(t);
		if (rc == RC_OK) {
			child.sessions++;
			task_spawn(session_task, t);
			continue;
		}
		free(t);
		if (rc != RC_AGAIN || task_wait_fd(child.channel, TASK_READ, DEADLINE_NEVER) != RC_OK)
			break;
	}
	task_forget_fd(child.channel);
	close(child.channel);
	if (!child.closed)
		end_sessions();
	child.closed = true;
	if (child.sessions == 0)
		loop_stop(0);
}

int login_child(int fd, const struct asuser_id *id)
{
	struct login_hello h = { LOGIN_MAGIC, (int32_t)getpid(),
				 child.store ? (uint32_t)RC_OK : (uint32_t)RC_AGAIN };
	int status;

	child.channel = fd;
	child.id = id;
	list_init(&child.open);
	if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) != (ssize_t)sizeof(h) || !child.store)
		return 75;
	loop_init();
	task_spawn(channel_task, NULL);
	status = loop_run();
	store_close(&child.store);
	return status;
}
