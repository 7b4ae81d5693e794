/* auth/tickets.c - makes tickets, and answers the monitors that hand them in. */
#include "tickets.h"
#include "base/codec.h"
#include "base/list.h"
#include "log/log.h"
#include "service/service.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TICKET_LIFE_S 30   /* from the log-in's success to the monitor: milliseconds, as a rule */
#define TICKETS_MAX   4096 /* beyond, the oldest goes */
#define ASKERS_MAX    256
#define QUESTION_S    10

struct kept {
	struct list link; /* oldest first */
	struct asuser_ticket ticket;
	struct asuser_id id;
	mono_t made;
};
static struct list kept = { &kept, &kept };
static unsigned kept_n, askers;
static int listener = -1;
static uid_t owner; /* who bound the socket: root, or the one uid */

/* ---- the tickets ---- */
static void forget(struct kept *k)
{
	list_del(&k->link);
	kept_n--;
	explicit_bzero(k, sizeof(*k));
	free(k);
}

static bool stale(const struct kept *k)
{
	return mono_diff_ms(loop_now(), k->made) > TICKET_LIFE_S * 1000;
}

static struct kept *oldest(void)
{
	return list_empty(&kept) ? NULL : LIST_ENTRY(list_first(&kept), struct kept, link);
}

static void make_room(void)
{
	for (struct kept *k; (k = oldest()) != NULL && (kept_n >= TICKETS_MAX || stale(k));)
		forget(k);
}

void ticket_issue(const struct asuser_id *id, char text[TICKET_TEXT_MAX])
{
	struct kept *k = xcalloc(1, sizeof(*k));

	make_room();
	k->id = *id;
	k->made = loop_now();
	k->ticket.server = (uint32_t)getpid();
	random_bytes(k->ticket.secret, sizeof(k->ticket.secret));
	list_add_tail(&kept, &k->link);
	kept_n++;
	ticket_text(&k->ticket, text);
}

static bool is_it(const struct kept *k, const struct ticket_question *q)
{
	return span_eq_secret(span_make((const char *)k->ticket.secret, TICKET_SECRET),
			      span_make((const char *)q->secret, TICKET_SECRET)) &&
	       strcmp(k->id.tag, q->service) == 0;
}

/* Good for once: right or wrong, what is answered is forgotten. */
static void spend(const struct ticket_question *q, struct ticket_answer *a)
{
	*a = (struct ticket_answer){ .magic = TICKET_MAGIC, .rc = RC_NOTFOUND };
	memcpy(a->secret, q->secret, TICKET_SECRET);
	make_room();
	/* The analyser does not follow list_del(): what was freed is in no list. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	LIST_EACH_SAFE(it, &kept)
	{
		struct kept *k = LIST_ENTRY(it, struct kept, link);

		if (!is_it(k, q))
			continue;
		a->id = k->id;
		a->rc = RC_OK;
		forget(k);
		return;
	}
}

/* ---- the monitors ---- */
static bool entitled(int fd)
{
	struct ucred c;
	socklen_t len = sizeof(c);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0 && (c.uid == 0 || c.uid == owner);
}

static bool question_ok(const struct ticket_question *q, ssize_t n)
{
	return n == (ssize_t)sizeof(*q) && q->magic == TICKET_MAGIC &&
	       memchr(q->service, '\0', sizeof(q->service));
}

/* One question per connection. */
static void answer_task(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct ticket_question q;
	struct ticket_answer a;

	if (!entitled(fd))
		log_warning("tickets: a stranger asks: disconnected");
	else if (task_wait_fd(fd, TASK_READ, deadline_s(QUESTION_S)) == RC_OK) {
		ssize_t n = recv(fd, &q, sizeof(q), MSG_DONTWAIT | MSG_TRUNC);

		if (question_ok(&q, n)) {
			spend(&q, &a);
			if (a.rc != RC_OK)
				log_warning("tickets: %s: no such ticket, or spent", q.service);
			(void)!send(fd, &a, sizeof(a), MSG_DONTWAIT | MSG_NOSIGNAL);
			explicit_bzero(&a, sizeof(a));
		} else {
			log_warning("tickets: malformed question: disconnected");
		}
	}
	task_forget_fd(fd);
	close(fd);
	askers--;
}

static void accept_task(void *unused)
{
	(void)unused;
	while (task_wait_fd(listener, TASK_READ, DEADLINE_NEVER) == RC_OK) {
		int fd =
		    askers < ASKERS_MAX ? accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;

		if (fd >= 0) {
			askers++;
			task_spawn(answer_task, (void *)(intptr_t)fd);
		} else if (askers >= ASKERS_MAX ||
			   (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)) {
			task_sleep_ms(20); /* out of descriptors: others give theirs back */
		}
	}
}

void tickets_start(void)
{
	task_spawn(accept_task, NULL);
}

/* ---- the socket ---- */

/* Names of processes that ended, and, should the pid have come round again, our own. */
static void clean(const char *dir)
{
	DIR *d = opendir(dir);

	if (!d)
		die("%s: %m", dir);
	for (const struct dirent *en; (en = readdir(d)) != NULL;) {
		struct span pid = span_str(en->d_name);
		uint64_t v;

		if (!span_starts(pid, SPAN(TICKET_PREFIX)) ||
		    span_to_u64(span_skip(pid, sizeof(TICKET_PREFIX) - 1), INT32_MAX, &v) != RC_OK || v == 0)
			continue;
		if ((pid_t)v == getpid() || (kill((pid_t)v, 0) < 0 && errno == ESRCH))
			(void)unlinkat(dirfd(d), en->d_name, 0);
	}
	closedir(d);
}

void tickets_prepare(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *queue = conf_str(service_conf(), "queue_directory");
	char dir[sizeof(a.sun_path)];
	int n = snprintf(dir, sizeof(dir), "%s/" TICKET_DIR, queue);
	mode_t former;

	owner = geteuid();
	if (n < 0 || (size_t)n >= sizeof(dir))
		die("queue_directory: path too long");
	clean(dir);
	n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/" TICKET_PREFIX "%ld", dir, (long)getpid());
	if (n < 0 || (size_t)n >= sizeof(a.sun_path))
		die("queue_directory: path too long");
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	former = umask(0177);
	if (listener < 0 || bind(listener, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(listener, 128) < 0)
		die("%s: %m", a.sun_path);
	umask(former);
}
