/* login/child.c - the process of a user: takes connections from the monitor and serves each in a task.
 *
 *	taking <--> lingering --LINGER_S--> closed --last session over--> gone
 *	   `-- mailbox unusable ------------^
 *	   `-- the monitor has ended: sessions, too, come to their end --> gone
 *
 * Closed means that the monitor sees the end of the channel, and starts another process for the next log-in; what it sent before is
 * taken still. */
#include "login/private.h"
#include "log/log.h"
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_S 5 /* a client that comes back soon finds the mailbox open */

static struct {
	int channel;
	const struct asuser_id *id;
	struct store *store;
	int64_t sessions;
	struct timer linger;
	struct list open;	      /* their tasks */
	bool closed, drained, ending; /* drained: and nothing is left in it */
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

/* Takes nothing new from now on. */
static void close_channel(void)
{
	if (child.closed)
		return;
	child.closed = true;
	timer_cancel(&child.linger);
	shutdown(child.channel, SHUT_RDWR);
}

static void linger_over(void *unused)
{
	(void)unused;
	close_channel();
}

static void session_over(void)
{
	if (--child.sessions > 0)
		return;
	if (!child.closed)
		timer_set(&child.linger, deadline_s(LINGER_S));
	else if (child.drained)
		loop_stop(0);
}

static void session_task(void *arg)
{
	struct task_start *t = arg;
	struct login_session *s = &t->session;
	bool direct = t->fds[1] >= 0;

	s->store = child.store;
	memcpy(s->user, child.id->user, sizeof(s->user));
	memcpy(s->id, t->r.id, sizeof(s->id));
	memcpy(s->rip, t->r.rip, sizeof(s->rip));
	memcpy(s->lip, t->r.lip, sizeof(s->lip));
	memcpy(s->tag, t->r.tag, sizeof(s->tag));
	snprintf(s->who, sizeof(s->who), "%s(%s)<%ld><%s>", child.id->tag, s->user, (long)getpid(), s->id);
	s->io = t->io;
	list_add_tail(&child.open, &t->link);
	login_set.conf->serve(s);
	list_del(&t->link);
	if (s->unusable) /* the others of this process go on to their end */
		close_channel();
	if (child.ending)
		login_say_bye(s->io);
	stream_close(&s->io);
	if (direct)
		close(t->fds[0]); /* tells the front that the session is over */
	free(t);
	session_over();
}

static bool parcel_ok(const struct login_parcel *p, size_t bytes)
{
	const struct login_record *r = &p->r;

	return bytes >= sizeof(*r) && r->magic == LOGIN_MAGIC && r->ahead <= LOGIN_AHEAD_MAX &&
	       bytes == sizeof(*r) + r->ahead && memchr(r->id, '\0', sizeof(r->id)) &&
	       memchr(r->rip, '\0', sizeof(r->rip)) && memchr(r->lip, '\0', sizeof(r->lip)) &&
	       memchr(r->tag, '\0', sizeof(r->tag));
}

static enum rc may_begin(void)
{
	if (!child.store)
		return RC_AGAIN;
	return login_set.user_limit > 0 && child.sessions >= login_set.user_limit ? RC_LIMIT : RC_OK;
}

static void begin(const struct login_parcel *p, const int fds[2])
{
	struct task_start *t = xcalloc(1, sizeof(*t));

	t->r = p->r;
	memcpy(t->fds, fds, sizeof(t->fds));
	t->io = login_stream(fds[1] >= 0 ? fds[1] : fds[0], span_make(p->ahead, p->r.ahead));
	child.sessions++;
	timer_cancel(&child.linger);
	task_spawn(session_task, t);
}

/* One connection, for better or worse. RC_AGAIN: there is none; RC_EOF: there will be none. */
static enum rc take(void)
{
	static struct login_parcel p;
	size_t n = 0;
	int fds[2];
	enum rc rc = asuser_take(child.channel, &p, sizeof(p), &n, fds), verdict = RC_SYNTAX;

	if (rc == RC_AGAIN || rc == RC_EOF)
		return rc;
	if (rc == RC_OK && parcel_ok(&p, n))
		verdict = may_begin();
	if (rc == RC_OK)
		asuser_answer(fds[0], verdict);
	if (verdict == RC_OK) {
		begin(&p, fds);
		return RC_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return RC_OK;
}

/* The monitor is gone, and so is the front, or told to end: nobody may stay behind out of master's reach. Each session reads the end
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
	do
		rc = take();
	while (rc == RC_OK ||
	       (rc == RC_AGAIN && task_wait_fd(child.channel, TASK_READ, DEADLINE_NEVER) == RC_OK));
	task_forget_fd(child.channel);
	close(child.channel);
	if (!child.closed)
		end_sessions();
	child.closed = child.drained = true;
	timer_cancel(&child.linger);
	if (child.sessions == 0)
		loop_stop(0);
}

int login_child(int fd, const struct asuser_id *id)
{
	int status;

	child.channel = fd;
	child.id = id;
	list_init(&child.open);
	loop_init();
	timer_init(&child.linger, linger_over, NULL);
	if (!child.store) /* whoever waits in the channel is told */
		close_channel();
	task_spawn(channel_task, NULL);
	status = loop_run();
	if (!child.store)
		return 75;
	store_close(&child.store);
	return status;
}
