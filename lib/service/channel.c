/* service/channel.c - records to and from master. Fixed size; anything else is ignored. */
#include "service/frame.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* One MP_CONNECT on its way. */
struct want {
	struct list link;
	uint32_t serial;
	struct waitq done;
	bool answered;
	int fd, error;
};
static struct list wants = { &wants, &wants };
static bool master_gone; /* nobody connects us to anybody any more */

void channel_send(enum mp_type type, uint32_t serial, int64_t value, const char *name)
{
	struct mp_record r = { .type = type, .serial = serial, .value = value };
	if (name != NULL)
		snprintf(r.name, sizeof r.name, "%s", name);
	for (int tries = 0; send(MP_FD_MASTER, &r, sizeof r, MSG_DONTWAIT | MSG_NOSIGNAL) < 0; tries++) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || tries > 3 || task_self() == NULL)
			return;
		if (task_wait_fd(MP_FD_MASTER, TASK_WRITE, deadline_s(5)) != RC_OK)
			return;
	}
}

/* RC_EOF when master is gone. *fd: a descriptor that came along, or -1. */
static enum rc receive(struct mp_record *r, int *fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { r, sizeof *r };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control };
	*fd = -1;
	ssize_t n = recvmsg(MP_FD_MASTER, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? RC_AGAIN : RC_EOF;
	if (n == 0)
		return RC_EOF;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	return n == (ssize_t)sizeof *r ? RC_OK : RC_SYNTAX;
}

static void connected(const struct mp_record *r, int fd)
{
	LIST_EACH(it, &wants)
	{
		struct want *w = LIST_ENTRY(it, struct want, link);
		if (w->serial != r->serial || w->answered)
			continue;
		w->answered = true;
		w->fd = fd;
		w->error = fd >= 0 ? 0 : r->value != 0 ? (int)r->value : EPROTO;
		waitq_wake_all(&w->done);
		return;
	}
	if (fd >= 0) /* its asker gave up */
		close(fd);
}

/* Put in the place of the former one, so that processes that were forked off later have it, too. */
static void new_events_file(int fd)
{
	if (dup3(fd, MP_FD_EVENTS, O_CLOEXEC) < 0)
		log_warning("event_log: %m");
	close(fd);
}

static void record(const struct mp_record *r, int fd)
{
	switch (r->type) {
	case MP_CONNECTED:
		connected(r, fd);
		return;
	case MP_LOGFILE:
		if (fd >= 0 && r->value == 0)
			log_set_file(fd);
		else if (fd >= 0)
			new_events_file(fd);
		return;
	case MP_DRAIN:
		life_end(r->value > 0);
		break;
	case MP_SESSION:
		if (fd >= 0)
			session_hand(fd, (unsigned)r->value);
		return;
	case MP_WAKEUP:
		life_wakeup("");
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void reader(void *arg)
{
	(void)arg;
	for (;;) {
		struct mp_record r;
		int fd;
		if (task_wait_fd(MP_FD_MASTER, TASK_READ, DEADLINE_NEVER) != RC_OK)
			break;
		enum rc rc = receive(&r, &fd);
		if (rc == RC_EOF)
			break;
		if (rc == RC_OK)
			record(&r, fd);
		else if (fd >= 0)
			close(fd);
	}
	master_gone = true;
	LIST_EACH(it, &wants)
	{
		struct want *w = LIST_ENTRY(it, struct want, link);
		w->answered = true;
		w->error = ECONNRESET;
		waitq_wake_all(&w->done);
	}
	life_end(true); /* finish what runs; what would need another daemon can no longer be done here */
}

static void lost_syslog(void)
{
	struct mp_record r = { .type = MP_LOST_SYSLOG };

	(void)send(MP_FD_MASTER, &r, sizeof r, MSG_DONTWAIT | MSG_NOSIGNAL); /* or the next line asks */
}

void channel_start(void)
{
	log_on_lost_syslog(lost_syslog);
	task_spawn(reader, NULL);
}

static enum rc story(const struct want *w, const char *service, struct err *e)
{
	switch (w->error) {
	case 0:
		return RC_OK;
	case EACCES:
	case EPERM:
		return err_set(e, RC_DENIED, "master does not connect %s to %s", frame.s->name, service);
	case ENOENT:
		return err_set(e, RC_AGAIN, "service %s is not in master.cf or not running", service);
	default:
		return err_set(e, RC_AGAIN, "connect to %s: %s", service, strerror(w->error));
	}
}

static enum rc verdict(const struct want *w, const char *service, struct err *e)
{
	enum rc rc = story(w, service, e);
	if (rc != RC_OK && e != NULL)
		e->sys = w->error;
	return rc;
}

enum rc channel_connect(const char *service, int *fd, deadline_t d, struct err *e)
{
	static uint32_t serial;
	enum rc rc;
	struct want w = { .fd = -1 };
	*fd = -1;
	if (master_gone)
		return err_set(e, RC_AGAIN, "connect to %s: master is gone", service);
	if (strlen(service) >= MP_NAME_MAX)
		return err_set(e, RC_LIMIT, "name of a service or socket too long: %s", service);
	list_add_tail(&wants, &w.link);
	do { /* a full backlog passes */
		w.serial = ++serial;
		w.answered = false;
		w.error = 0;
		waitq_init(&w.done);
		channel_send(MP_CONNECT, w.serial, 0, service);
		rc = RC_OK;
		while (rc == RC_OK && !w.answered)
			rc = waitq_wait(&w.done, d);
		if (rc == RC_OK && w.error == EAGAIN)
			task_sleep_ms(20);
	} while (rc == RC_OK && w.error == EAGAIN && !deadline_passed(d));
	list_del(&w.link);
	*fd = w.fd;
	if (rc == RC_TIMEOUT)
		return err_set(e, RC_TIMEOUT, "connect to %s: timeout", service);
	return rc == RC_OK ? verdict(&w, service, e) : rc;
}
