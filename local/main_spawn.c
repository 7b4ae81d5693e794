/* local/main_spawn.c - spawn(8): a command per connection, with the connection as its standard input, output and error.
 * The command is the user of its line in master.cf, in a child of its own (lib/asuser) that gets the connection and
 * watches the time limit; nothing of what is said passes through here. */
#include "command.h"
#include "log/log.h"
#include "service/service.h"
#include "setup.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MS	     1000 /* a child's end interrupts the wait; this is for one that came just before it */
#define FRONT_WAIT_S 60	  /* beyond the time limit, for the child to end */

static struct attributes self;
static struct asuser_id who = { .tag = "spawn" };
static struct arena forever;
static int64_t time_limit_s;
static char **argv_of_command,
    **env_of_command; /* made before the monitor is forked: children inherit them */

/* ---- the child ---- */
static int receive_connection(int from)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = "" };
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	struct pollfd p = { from, POLLIN, 0 };
	const struct cmsghdr *c;
	int fd = -1;

	if (poll(&p, 1, 1000 * FRONT_WAIT_S) != 1 || recvmsg(from, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1)
		return -1;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

static NORETURN void become_command(int connection)
{
	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		if (s != SIGSYS)
			(void)signal(s, SIG_DFL);
	(void)fcntl(connection, F_SETFL, fcntl(connection, F_GETFL) & ~O_NONBLOCK);
	dup2(connection, STDIN_FILENO);
	dup2(connection, STDOUT_FILENO);
	dup2(connection, STDERR_FILENO);
	closefrom(3);
	umask(077);
	if (chdir(self.directory[0] != '\0' ? self.directory : conf_str(service_conf(), "queue_directory")) <
		0 &&
	    self.directory[0] != '\0')
		_exit(75);
	execvpe(argv_of_command[0], argv_of_command, env_of_command);
	_exit(127);
}

static void child_ended(int sig)
{
	(void)sig; /* it is enough that the wait is interrupted */
}

/* The command's end, or its time limit. */
static int watch(pid_t pid)
{
	mono_t until = mono_after(mono_now(), time_limit_s * 1000);
	bool killed = false;
	int status = 0;

	while (waitpid(pid, &status, killed ? 0 : WNOHANG) != pid) {
		if (!killed && mono_diff_ms(until, mono_now()) <= 0) {
			log_warning("command time limit exceeded: %s", argv_of_command[0]);
			kill(-pid, SIGKILL);
			kill(pid, SIGKILL);
			killed = true;
		} else if (!killed) {
			(void)poll(NULL, 0, TICK_MS);
		}
	}
	return killed ? 0 : status;
}

static int child_main(int fd, const struct asuser_id *id)
{
	struct sigaction ended = { .sa_handler = child_ended };
	int connection = receive_connection(fd), status;
	pid_t pid;

	(void)id;
	if (connection < 0)
		return 1;
	sigaction(SIGCHLD, &ended, NULL);
	pid = fork();
	if (pid == 0)
		become_command(connection);
	close(connection); /* so that the client sees the end when the command ends */
	if (pid < 0) {
		log_warning("fork: %s", strerror(errno));
		return 1;
	}
	status = watch(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		log_warning("command %s exit status %d", argv_of_command[0], WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		log_warning("command %s killed by signal %d", argv_of_command[0], WTERMSIG(status));
	return 0;
}

/* ---- the front ---- */
static bool send_connection(int to, int connection)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = "" };
	char byte = 'c';
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &connection, sizeof(int));
	return sendmsg(to, &m, MSG_NOSIGNAL) == 1;
}

static void serve(struct service_conn *c)
{
	int child = -1;
	struct err e = { .text = "" };
	enum rc rc = asuser_run(&who, &child, &e);

	if (rc == RC_GONE)
		service_retire();
	if (rc == RC_OK && !send_connection(child, stream_fd(c->io)))
		rc = err_sys(&e, "pass the connection");
	stream_close(&c->io); /* the command's alone */
	if (rc == RC_OK)      /* a session lasts as long as its command: maxproc counts them */
		(void)!task_wait_fd(child, TASK_READ, deadline_s(time_limit_s + FRONT_WAIT_S));
	else
		log_warning("%s: %s", argv_of_command[0], e.text);
	if (child >= 0)
		close(child);
}

/* ---- the process ---- */
static size_t anywhere(const struct asuser_id *id, struct sandbox_path *out, size_t max)
{
	(void)id;
	if (max > 0)
		out[0] = (struct sandbox_path){ "/", SB_READ | SB_WRITE | SB_EXEC };
	return max > 0;
}

static char **strings(const struct span *s, size_t n)
{
	char **v = arena_array(&forever, n + 1, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = arena_cstr(&forever, s[i]);
	return v;
}

static void read_environment(void)
{
	struct command_env env;
	struct span *s;

	command_env_start(&env, &forever, NULL);
	s = arena_array(&forever, env.n + 1, sizeof(*s));
	for (size_t i = 0; i < env.n; i++)
		s[i] = env.v[i].text;
	env_of_command = strings(s, env.n);
}

static void prepare(void)
{
	static struct asuser_conf c; /* the monitor keeps it */
	struct err e;

	setup_command(true, &forever, &self, &who);
	argv_of_command = strings(self.argv, self.argc);
	read_environment();
	time_limit_s =
	    conf_transport_int(service_conf(), service_name(), "_time_limit", "command_time_limit");
	c = (struct asuser_conf){ .name = "spawn",
				  .min_uid = 1,
				  .child_rights = "stdio recvfd",
				  .exec_rights = WORKER_EXEC_RIGHTS,
				  .child_paths = anywhere,
				  .child_main = child_main };
	if (asuser_start(&c, &e) != RC_OK)
		die("%s", e.text);
}

static const struct service spawn = {
	.name = "spawn",
	.kind = SV_STREAM,
	.user = "mail_owner",
	.rights = "stdio accept recvfd",
	.chroot_empty = true,
	.prepare = prepare,
	.serve = serve,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &spawn);
}
