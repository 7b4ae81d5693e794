/* local/child_run.c - in the child: one command, which gets the message on its standard input.
 *
 * The command has a process group of its own, so that its time limit reaches what it started. It may read the
 * message or not; what it writes is kept up to a bound and read on to the end, so that it never blocks on us.
 */
#include "log/log.h"
#include "workers.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "feed.h"

#define OUTPUT_MAX 4000
#define GRACE_MS   2000 /* for those left in the group after the command itself has ended */

struct run {
	const struct user_run *q;
	char **argv, **env;
	char cwd[1024];
	pid_t pid;
	int in, out; /* our ends; -1 closed */
	struct feed feed;
	char output[OUTPUT_MAX];
	size_t output_n;
	mono_t until;
};

static char **strings(struct arena *a, const struct ipc_list *list)
{
	const struct text_item *t = list->v;
	char **v = arena_array(a, list->n + 1, sizeof *v);

	for (size_t i = 0; i < list->n; i++)
		v[i] = arena_cstr(a, t[i].text);
	return v;
}

/* mailbox_size_limit holds for what commands write, too: they get an error, no signal. */
static void limit_files(uint64_t bytes)
{
	struct rlimit limit = { bytes, bytes };

	if (bytes == 0)
		return;
	(void)signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0) {
		dprintf(STDERR_FILENO, "cannot limit the size of files: %s\n", strerror(errno));
		_exit(75);
	}
}

static NORETURN void become_command(const struct run *r, const int in[2], const int out[2])
{
	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		if (s != SIGSYS)
			(void)signal(s, SIG_DFL);
	dup2(in[0], STDIN_FILENO);
	dup2(out[1], STDOUT_FILENO);
	dup2(out[1], STDERR_FILENO);
	closefrom(3);
	umask(077);
	limit_files(r->q->file_limit);
	if (r->cwd[0] != '\0' && chdir(r->cwd) < 0 && !(r->q->flags & USER_RUN_TRY_CWD)) {
		dprintf(STDERR_FILENO, "cannot change directory to %s: %s\n", r->cwd, strerror(errno));
		_exit(75);
	}
	execvpe(r->argv[0], r->argv, r->env);
	dprintf(STDERR_FILENO, "cannot execute %s: %s\n", r->argv[0], strerror(errno));
	_exit(
	    75); /* a program that is being installed, a file system that is not mounted: the mail can wait */
}

static enum rc start(struct run *r, struct err *e)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	if (pipe2(out, O_CLOEXEC) < 0) {
		close(in[0]);
		close(in[1]);
		return err_sys(e, "pipe");
	}
	r->pid = fork();
	if (r->pid == 0)
		become_command(r, in, out);
	close(in[0]);
	close(out[1]);
	r->in = in[1];
	r->out = out[0];
	if (r->pid < 0) {
		close(r->in);
		close(r->out);
		return err_sys(e, "fork");
	}
	(void)fcntl(r->in, F_SETFL, O_NONBLOCK);
	(void)fcntl(r->out, F_SETFL, O_NONBLOCK);
	return RC_OK;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A command that does not want its input (EPIPE) is right if it says so by its status. */
static enum rc feed_some(struct run *r, struct err *e)
{
	struct span chunk;
	enum rc rc = feed_next(&r->feed, &chunk, e);

	if (rc != RC_OK) {
		shut(&r->in);
		return rc == RC_EOF ? RC_OK : rc;
	}
	ssize_t n = write(r->in, chunk.p, chunk.n);
	if (n > 0)
		feed_taken(&r->feed, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		shut(&r->in);
	return RC_OK;
}

static void read_some(struct run *r)
{
	char waste[4096];
	size_t room = sizeof r->output - r->output_n;
	ssize_t n =
	    room > 0 ? read(r->out, r->output + r->output_n, room) : read(r->out, waste, sizeof waste);

	if (n > 0 && room > 0)
		r->output_n += (size_t)n;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		shut(&r->out);
}

static bool reap(struct run *r, int *status)
{
	return waitpid(r->pid, status, WNOHANG) == r->pid;
}

/* Until the command has ended and its output is read. RC_TIMEOUT: it was killed; anything else not RC_OK: the
 * message could not be read. */
static enum rc converse(struct run *r, int *status, struct err *e)
{
	bool ended = false;
	enum rc rc = RC_OK;

	while (rc == RC_OK && (!ended || r->out >= 0)) {
		struct pollfd p[2] = { { r->in, POLLOUT, 0 }, { r->out, POLLIN, 0 } };
		int64_t left = mono_diff_ms(r->until, mono_now());

		if (left <= 0)
			return ended ? RC_OK : RC_TIMEOUT;
		if (poll(p, 2, left < 200 ? (int)left : r->out < 0 || ended ? 20 : 200) < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (p[0].revents != 0)
			rc = feed_some(r, e);
		if (p[1].revents != 0)
			read_some(r);
		if (!ended && (ended = reap(r, status))) {
			mono_t grace = mono_after(mono_now(), GRACE_MS);
			shut(&r->in);
			if (mono_diff_ms(grace, r->until) < 0)
				r->until = grace;
		}
	}
	return rc;
}

static void finish(struct run *r, enum rc rc, int *status)
{
	if (rc != RC_OK) {
		kill(-r->pid, SIGKILL);
		(void)kill(r->pid, SIGKILL);
		while (waitpid(r->pid, status, 0) < 0 && errno == EINTR)
			;
	}
	shut(&r->in);
	shut(&r->out);
}

static void run_command(struct run *r, struct arena *a, struct user_run_reply *out)
{
	struct err e = { .text = "" };
	int status = 0;
	enum rc rc = r->q->argv.n > 0 ? start(r, &e) : err_set(&e, RC_SYNTAX, "no command");

	if (rc == RC_OK) {
		feed_start(&r->feed, r->q);
		rc = converse(r, &status, &e);
		finish(r, rc, &status);
		feed_end(&r->feed);
	}
	out->timed_out = rc == RC_TIMEOUT;
	out->rc = (uint16_t)(rc == RC_TIMEOUT ? RC_OK : rc);
	out->sys = (uint32_t)e.sys;
	out->text = rc == RC_OK || rc == RC_TIMEOUT ? SPAN_NONE : span_dup(a, span_str(e.text));
	out->exit_status = WIFEXITED(status) ? (uint16_t)WEXITSTATUS(status) : 0;
	out->signal = WIFSIGNALED(status) ? (uint16_t)WTERMSIG(status) : 0;
	out->output = span_make(r->output, r->output_n);
}

void child_run(struct ipc_call *call, const void *request)
{
	struct arena *a = ipc_call_arena(call);
	struct run *r = arena_alloc(a, sizeof *r);
	struct user_run_reply out = { .rc = RC_OK };

	child_begin();
	r->q = request;
	r->in = r->out = -1;
	r->argv = strings(a, &r->q->argv);
	r->env = strings(a, &r->q->env);
	r->until = mono_after(mono_now(), r->q->time_limit_s * 1000);
	if (span_cstr(r->q->cwd, r->cwd, sizeof r->cwd) == RC_OK)
		run_command(r, a, &out); /* nothing else happens in this process */
	else
		out.rc = RC_SYNTAX;
	if (r->q->fd >= 0)
		close(r->q->fd);
	ipc_reply(call, &out);
	child_end();
}
