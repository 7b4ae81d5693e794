/* auth/keeper.c - asking the keeper. Its loop is in keeper_loop.c. */
#include "keeper.h"
#include "keeper_loop.h"
#include "base/list.h"
#include "log/log.h"
#include "task/task.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_S 60

struct waiting {
	struct list link;
	uint32_t serial;
	struct keeper_answer *out;
	bool done, broken;
	struct waitq q;
};
static struct list waiting = { &waiting, &waiting };
static int keeper_fd = -1;
static bool reading;
static uint32_t next_serial;

void keeper_start(const struct keeper_conf *c)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair: %m");
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (pid == 0) {
		close(pair[0]);
		_exit(keeper_loop(pair[1], c));
	}
	close(pair[1]);
	keeper_fd = pair[0];
}

static void give_up_all(void)
{
	LIST_EACH(it, &waiting)
	{
		struct waiting *w = LIST_ENTRY(it, struct waiting, link);

		w->broken = true;
		waitq_wake_all(&w->q);
	}
}

static void take_answer(const struct keeper_answer *a)
{
	LIST_EACH(it, &waiting)
	{
		struct waiting *w = LIST_ENTRY(it, struct waiting, link);

		if (w->serial != a->serial || w->done)
			continue;
		*w->out = *a;
		w->out->stored[KEEPER_SECRET_MAX - 1] = w->out->home[KEEPER_PATH_MAX - 1] =
		    w->out->mail[KEEPER_PATH_MAX - 1] = '\0';
		w->done = true;
		waitq_wake_all(&w->q);
		return;
	}
}

static void reader(void *unused)
{
	struct keeper_answer a;

	(void)unused;
	for (;;) {
		ssize_t n = recv(keeper_fd, &a, sizeof(a), MSG_DONTWAIT);

		if (n == (ssize_t)sizeof(a)) {
			take_answer(&a);
			explicit_bzero(&a, sizeof(a));
		} else if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
			break;
		} else if (task_wait_fd(keeper_fd, TASK_READ, DEADLINE_NEVER) != RC_OK) {
			break;
		}
	}
	log_error("the credential keeper has ended");
	task_forget_fd(keeper_fd);
	close(keeper_fd);
	keeper_fd = -1;
	give_up_all();
	loop_stop(1); /* master starts a fresh auth with a fresh keeper */
}

enum rc keeper_ask(struct keeper_question *q, struct keeper_answer *out, struct err *e)
{
	struct waiting w = { .out = out };
	enum rc rc = RC_OK;
	ssize_t n;

	if (keeper_fd < 0)
		return err_set(e, RC_AGAIN, "the credential keeper is gone");
	if (!reading)
		task_spawn(reader, NULL);
	reading = true;
	w.serial = q->serial = ++next_serial;
	waitq_init(&w.q);
	list_add_tail(&waiting, &w.link);
	while ((n = send(keeper_fd, q, sizeof(*q), MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 && errno == EAGAIN &&
	       !w.broken)
		task_sleep_ms(5);
	if (n != (ssize_t)sizeof(*q))
		rc = err_sys(e, "credential keeper");
	while (rc == RC_OK && !w.done && !w.broken)
		if (waitq_wait(&w.q, deadline_s(ANSWER_TIMEOUT_S)) == RC_TIMEOUT)
			rc = err_set(e, RC_AGAIN, "the credential keeper does not answer");
	list_del(&w.link);
	if (rc == RC_OK && (w.broken || out->source == KEEPER_TROUBLE))
		rc = err_set(e, RC_AGAIN, "a credential store cannot be read");
	return rc;
}
