/* local/main_spawn.c - spawn(8): a command of master.cf for every connection, with the connection as its
 * standard input, output and error: policy servers in the manner of inetd.
 *
 * This process never reads the connection: it hands the descriptor to a child that is the user, which starts the
 * command in a process group of its own and waits for its end, or for us to let go of it. */
#include "command.h"
#include "log/log.h"
#include "pipe.h"
#include "service/service.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* As of pipe(8): what a program of the user's may want. */
#define EXEC_RIGHTS "stdio recvfd rpath wpath chown flock thread watch inet udp unix fork kill exec"

/* Made in prepare(); the children inherit it. */
static struct pipe_service self;
static struct arena forever;
static char **command, **environment;
static int64_t time_limit_s;

/* ---- in the child, as the user ---- */

static int take_connection(int fd)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec io = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
	};
	struct cmsghdr *c;
	int conn = -1;

	while (recvmsg(fd, &m, MSG_CMSG_CLOEXEC) < 0)
		if (errno != EINTR)
			return -1;
	c = CMSG_FIRSTHDR(&m);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof conn))
		memcpy(&conn, CMSG_DATA(c), sizeof conn);
	return conn;
}

static NORETURN void become_command(int conn)
{
	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		if (s != SIGSYS)
			(void)signal(s, SIG_DFL);
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		dup2(conn, i);
	closefrom(3);
	umask(077);
	execvpe(command[0], command, environment);
	_exit(127); /* the connection is not the place for a message: our parent logs the status */
}

/* Until the command has ended, or the front has gone or let go of us: then its whole group is ended. */
static int wait_for_command(pid_t pid, int front)
{
	int status = 0;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		struct pollfd p = { front, POLLIN, 0 };

		if (poll(&p, 1, 50) <= 0 || p.revents == 0)
			continue;
		(void)kill(-pid, SIGKILL);
		(void)kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		return 0;
	}
	if (WIFSIGNALED(status))
		log_warning("command %s killed by signal %d", command[0], WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		log_warning("command %s exit status %d", command[0], WEXITSTATUS(status));
	return 0;
}

static int child_main(int fd, const struct asuser_id *id)
{
	int conn = take_connection(fd), status;
	pid_t pid;

	(void)id;
	if (conn < 0)
		return 1;
	(void)fcntl(conn, F_SETFL,
		    fcntl(conn, F_GETFL) & ~O_NONBLOCK); /* the command is an ordinary program */
	if ((pid = fork()) == 0)
		become_command(conn);
	close(conn);
	if (pid < 0) {
		log_warning("fork: %m");
		return 1;
	}
	status = wait_for_command(pid, fd);
	return status;
}

/* The command may go wherever its user may. */
static size_t child_paths(const struct asuser_id *id, struct sandbox_path *out, size_t max)
{
	(void)id;
	if (max == 0)
		return 0;
	out[0] = (struct sandbox_path){ "/", SB_READ | SB_WRITE | SB_EXEC };
	return 1;
}

/* ---- the daemon ---- */

static void refuse_foreign_attributes(void)
{
	char **argv;
	size_t n = service_args(&argv);

	for (size_t i = 0; i < n && strncmp(argv[i], "argv=", 5) != 0; i++)
		if (strncmp(argv[i], "user=", 5) != 0)
			die("unknown attribute: %s", argv[i]);
}

static void prepare(void)
{
	static struct asuser_conf c; /* the monitor keeps it */
	struct command_env env;
	struct err e;

	refuse_foreign_attributes();
	pipe_read_args(&self, &forever);
	command = arena_array(&forever, self.argc + 1, sizeof *command);
	for (size_t i = 0; i < self.argc; i++)
		command[i] = arena_cstr(&forever, self.argv[i]);
	command_env_start(&env, &forever, NULL);
	environment = arena_array(&forever, env.n + 1, sizeof *environment);
	for (size_t i = 0; i < env.n; i++)
		environment[i] = arena_cstr(&forever, env.v[i].text);
	time_limit_s =
	    conf_transport_int(service_conf(), service_name(), "_time_limit", "command_time_limit");
	c = (struct asuser_conf){ .name = "spawn",
				  .seqpacket = true,
				  .min_uid = 1,
				  .child_rights = "stdio recvfd",
				  .exec_rights = EXEC_RIGHTS,
				  .child_paths = child_paths,
				  .child_main = child_main };
	if (asuser_start(&c, &e) != RC_OK)
		die("%s", e.text);
}

static enum rc hand_over(int chan, int conn)
{
	char byte = 0, control[CMSG_SPACE(sizeof conn)] = { 0 };
	struct iovec io = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof conn);
	memcpy(CMSG_DATA(c), &conn, sizeof conn);
	return sendmsg(chan, &m, MSG_NOSIGNAL) == 1 ? RC_OK : RC_SYS;
}

static void serve(struct service_conn *c)
{
	int conn = stream_release_fd(c->io), chan = -1, ended = -1;
	struct err e;
	enum rc rc = asuser_run_wait(&self.id, &chan, &ended, &e);

	stream_close(&c->io);
	if (rc == RC_OK && (rc = hand_over(chan, conn)) != RC_OK)
		(void)err_sys(&e, "hand the connection to the command");
	close(conn);
	if (rc != RC_OK) {
		log_warning("cannot run the command: %s", e.text);
		if (rc == RC_GONE) /* only a new process gets a new monitor */
			service_retire();
	} else if (task_wait_fd(ended, TASK_READ, deadline_s(time_limit_s)) == RC_TIMEOUT) {
		log_warning("command %s: time limit of %lld seconds exceeded", command[0],
			    (long long)time_limit_s);
	}
	if (chan >= 0) /* ends what still runs */
		close(chan);
	if (ended >= 0) {
		task_forget_fd(ended);
		close(ended);
	}
}

static const struct service spawn_service = {
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
	return service_main(argc, argv, &spawn_service);
}
