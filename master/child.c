/* master/child.c - processes: their descriptors and arguments, their records, their end. */
#include "master.h"
#include "child.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS_A_TURN	  32
#define CONNECTS_A_SECOND 500 /* of one child; more have to wait for the next second */
#define SESSIONS_MAX	  1000000

static struct list all_services = { &all_services, &all_services };
static bool lane_used[MP_LANES];
static unsigned lane_last;

/* ---- lanes: a number for queue ids that no two living processes share ---- */

static int lane_take(void)
{
	for (unsigned i = 1; i <= MP_LANES; i++) {
		unsigned lane = (lane_last + i) % MP_LANES;
		if (!lane_used[lane]) {
			lane_used[lane] = true;
			lane_last = lane;
			return (int)lane;
		}
	}
	return -1;
}

/* ---- starting ---- */

static void reader(void *arg);

static struct child *child_new(struct service *s, pid_t pid, int chan, int lane)
{
	struct child *c = xcalloc(1, sizeof *c);
	c->service = s;
	c->pid = pid;
	c->chan = chan;
	c->lane = (unsigned)lane;
	c->born = loop_now();
	list_add_tail(&s->children, &c->link);
	master.children++;
	task_spawn(reader, c);
	return c;
}

enum rc child_start(struct service *s, struct err *e)
{
	enum rc rc = RC_OK;
	int pair[2], lock = -1, lane = lane_take();
	if (lane < 0)
		return err_set(e, RC_LIMIT, "too many processes");
	if (s->single && (lock = pidlock_single(s->name)) < 0) {
		lane_used[lane] = false;
		return err_set(e, RC_AGAIN, "another process still runs");
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		rc = err_sys(e, "socketpair");
	} else {
		pid_t pid = fork();
		if (pid == 0)
			exec_child(s, pair[1], lock, (unsigned)lane);
		if (pid < 0)
			rc = err_sys(e, "fork");
		close(pair[1]);
		if (pid > 0)
			child_new(s, pid, pair[0], lane);
		else
			close(pair[0]);
	}
	if (lock >= 0)
		close(lock); /* the child's copy holds it */
	if (rc != RC_OK)
		lane_used[lane] = false;
	return rc;
}

/* ---- records ---- */

bool child_send(struct child *c, enum mp_type type, uint32_t serial, int64_t value, int fd)
{
	struct mp_record r = { .type = type, .serial = serial, .value = value };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { &r, sizeof r };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (c->gone)
		return false;
	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control.bytes;
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(int));
	}
	if (sendmsg(c->chan, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	if (errno == EAGAIN && type != MP_SESSION) /* of these there are many, and they can wait */
		log_warning("process %s pid %ld does not read what master tells it", c->service->path,
			    (long)c->pid);
	return false;
}

static bool printable(const char name[MP_NAME_MAX])
{
	size_t n = strnlen(name, MP_NAME_MAX);
	for (size_t i = 0; i < n; i++)
		if (!ascii_isprint(name[i]))
			return false;
	return n < MP_NAME_MAX;
}

/* Bounds what one process can make master do; its records wait, nobody else's. */
static void pace(struct child *c)
{
	int64_t s = loop_now().ms / 1000;
	if (s != c->connects_s) {
		c->connects_s = s;
		c->connects = 0;
	}
	if (++c->connects > CONNECTS_A_SECOND)
		task_sleep_ms(1000 - loop_now().ms % 1000);
}

static void record(struct child *c, const struct mp_record *r)
{
	switch (r->type) {
	case MP_READY:
		service_child_ready(c);
		break;
	case MP_BUSY:
	case MP_FREE:
		c->busy = r->type == MP_BUSY;
		c->sessions = r->value >= 0 && r->value < SESSIONS_MAX ? r->value : c->sessions;
		service_changed(c->service);
		break;
	case MP_RETIRE:
		c->retiring = true;
		service_changed(c->service);
		break;
	case MP_SESSIONS:
		c->sessions = r->value >= 0 && r->value < SESSIONS_MAX ? r->value : c->sessions;
		if (c->retiring)
			service_changed(c->service);
		break;
	case MP_CONNECT:
		pace(c);
		if (printable(r->name))
			broker_connect(c, r->serial, r->name);
		break;
	case MP_WAKE:
		pace(c);
		if (printable(r->name))
			broker_wake(c, r->name);
		break;
	case MP_LOST_SYSLOG:
		pace(c);
		log_reconnect_syslog(); /* one socket for all */
		break;
	default:
		log_warning("process %s pid %ld: nonsense record %u", c->service->path, (long)c->pid,
			    (unsigned)r->type);
	}
}

/* False at the end of the channel. */
static bool receive(struct child *c)
{
	struct mp_record r;
	for (int i = 0; i < RECORDS_A_TURN; i++) {
		ssize_t n = recv(c->chan, &r, sizeof r, MSG_DONTWAIT | MSG_TRUNC);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		if (n != (ssize_t)sizeof r) {
			log_warning("process %s pid %ld: record of wrong size", c->service->path,
				    (long)c->pid);
			return false;
		}
		record(c, &r);
		if (c->exited)
			return false;
	}
	task_yield();
	return true;
}

static void free_if_over(struct child *c)
{
	struct service *s = c->service;
	if (!c->exited || !c->gone)
		return;
	timer_cancel(&c->kill_timer);
	list_del(&c->link);
	lane_used[c->lane] = false;
	master.children--;
	free(c);
	service_changed(s);
	stop_check();
}

static void reader(void *arg)
{
	struct child *c = arg;
	while (!c->exited && task_wait_fd(c->chan, TASK_READ, DEADLINE_NEVER) == RC_OK)
		if (!receive(c))
			break;
	c->gone = true;
	task_forget_fd(c->chan);
	close(c->chan);
	if (!c->exited) { /* a process that cannot be told anything is of no use */
		listen_wanted(c->service);
		child_drain(c, KILL_AFTER_S);
	}
	free_if_over(c);
}

/* ---- ending ---- */

void child_kill(struct child *c)
{
	if (c->exited)
		return;
	c->killed = true;
	if (kill(c->pid, SIGKILL) < 0)
		log_warning("kill process %s pid %ld: %m", c->service->path, (long)c->pid);
}

static void kill_due(void *arg)
{
	struct child *c = arg;
	log_warning("process %s pid %ld does not end: killed", c->service->path, (long)c->pid);
	child_kill(c);
}

void child_drain(struct child *c, int64_t kill_after_s)
{
	if (!c->drained || kill_after_s > 0)
		child_send(c, MP_DRAIN, 0, kill_after_s, -1);
	c->drained = true;
	if (kill_after_s <= 0 || c->exited)
		return;
	timer_cancel(&c->kill_timer);
	timer_init(&c->kill_timer, kill_due, c);
	timer_set(&c->kill_timer, deadline_s(kill_after_s));
}

static void tell_end(const struct child *c, int status)
{
	if (c->killed || status == 0)
		return;
	if (WIFSIGNALED(status))
		log_warning("process %s pid %ld killed by signal %d", c->service->path, (long)c->pid,
			    WTERMSIG(status));
	else
		log_warning("process %s pid %ld exit status %d", c->service->path, (long)c->pid,
			    WEXITSTATUS(status));
}

struct search {
	pid_t pid;
	struct child *found;
};

static void match_pid(struct child *c, void *arg)
{
	struct search *s = arg;
	if (c->pid == s->pid && !c->exited)
		s->found = c;
}

void child_reap(void *unused)
{
	int status;
	(void)unused;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		struct search s = { pid, NULL };
		child_each(match_pid, &s);
		if (s.found == NULL)
			continue; /* as PID 1: somebody's orphan */
		tell_end(s.found, status);
		s.found->exited = true;
		service_child_ended(s.found, status);
		if (s.found->gone)
			free_if_over(s.found);
		else
			task_forget_fd(s.found->chan); /* its reader sees to the rest */
	}
}

/* ---- all of them ---- */

void child_follow(struct service *s)
{
	list_add_tail(&all_services, &s->all);
}

void child_each(void (*fn)(struct child *c, void *arg), void *arg)
{
	LIST_EACH_SAFE(si, &all_services)
	{
		struct service *s = LIST_ENTRY(si, struct service, all);
		LIST_EACH_SAFE(it, &s->children)
		fn(LIST_ENTRY(it, struct child, link), arg);
	}
}
