/* t/unit/sandbox.c - each word of `rights` grants what it says and nothing else (sandbox/sandbox.h): a forked
 * child enters the sandbox and tries; what is denied fails with EPERM and leaves the process alive. */
#include "log/log.h"
#include "sandbox/sandbox.h"
#include "task/task.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/postern-sandbox-XXXXXX";
static char inside[64], outside[64];

/* Runs attempt() in a child in a sandbox of `rights`, paths: `dir` for reading and writing. Its value: 0
 * done, else errno. */
static int attempt(const char *rights, int (*act)(void))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e;
		struct sandbox_path paths[] = { { dir, SB_READ | SB_WRITE },
						{ "/nonexistent/anywhere", SB_READ } };
		int null = open("/dev/null", O_WRONLY);
		dup2(null, STDERR_FILENO); /* the handler tells on stderr */
		if (sandbox_enter(rights, paths, 2, NULL, &e) != RC_OK)
			_exit(200);
		errno = 0;
		int r = act();
		_exit(r < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("killed by signal %d with \"%s\"", WTERMSIG(status), rights);
	assert_int_not_equal(WEXITSTATUS(status), 200);
	return WEXITSTATUS(status);
}

static int do_exec(void)
{
	return execl("/bin/true", "true", (char *)NULL);
}
static int do_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}
static int do_socket_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}
static int do_udp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(9),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd < 0 ? fd : connect(fd, (struct sockaddr *)&a, sizeof a);
}
static int do_bind_tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd < 0 ? fd : bind(fd, (struct sockaddr *)&a, sizeof a);
}
static int do_open_outside(void)
{
	return open("/etc/passwd", O_RDONLY);
}
static int do_read_inside(void)
{
	return open(inside, O_RDONLY);
}
static int do_write_inside(void)
{
	return open(inside, O_WRONLY);
}
static int do_create_inside(void)
{
	char name[96];
	snprintf(name, sizeof name, "%s.new", inside);
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || fsync(fd) < 0)
		return -1;
	return rename(name, inside);
}
static int do_write_outside(void)
{
	return open(outside, O_WRONLY | O_CREAT, 0600);
}
static int do_unlink_outside(void)
{
	return unlink(outside);
}
static int do_ptrace(void)
{
	return (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}
static int do_kill_parent(void)
{
	return kill(getppid(), 0);
}
static int do_fork(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0) < 0 ? -1 : 0;
}
static int do_setuid(void)
{
	return setuid(12345);
}
static int do_chown(void)
{
	return fchmodat(AT_FDCWD, inside, 0640, 0);
}
static int do_flock(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	FILE *f = tmpfile(); /* never there: no wpath below /tmp */
	(void)f;
	int fd = memfd_create("lock", MFD_CLOEXEC);
	return fd < 0 ? fd : fcntl(fd, F_SETLK, &l);
}
static int do_watch(void)
{
	return inotify_init1(IN_CLOEXEC);
}
static int do_pair(void)
{
	int p[2];
	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p);
}
static void *thread(void *arg)
{
	return arg;
}
static int do_thread(void)
{
	pthread_t t;
	int r = pthread_create(&t, NULL, thread, NULL);
	if (r == 0)
		return pthread_join(t, NULL);
	errno = r == EAGAIN ? EPERM : r;
	return -1;
}
#ifndef POSTERN_SAN
static int do_exec_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		       MAP_FAILED
		   ? -1
		   : 0;
}
#endif
static int do_regain(void)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) {
		errno = EINVAL;
		return -1;
	}
	return 0;
}
/* What every daemon does all day. */
static int do_stdio(void)
{
	char b[32];
	int p[2];
	struct stat st;
	void *m = malloc(1 << 20);
	free(m);
	if (pipe(p) < 0 || write(p[1], "x", 1) != 1 || read(p[0], b, 1) != 1 || fstat(p[0], &st) < 0)
		return -1;
	if (fcntl(p[0], F_SETFL, O_NONBLOCK) < 0 || fcntl(p[0], F_DUPFD_CLOEXEC, 10) < 0 || getpid() < 1)
		return -1;
	loop_init();
	task_sleep_ms(1);
	return raise(SIGURG);
}
static int do_log(void)
{
	log_info("a line");
	return 0;
}

static void check(const char *rights, int (*act)(void), const char *what, int expected)
{
	int got = attempt(rights, act);
	if (got != expected)
		fail_msg("%s with \"%s\": %s, expected %s", what, rights, strerror(got), strerror(expected));
}
#define DENIED(rights, act)  check(rights, act, #act, EPERM)
#define GRANTED(rights, act) check(rights, act, #act, 0)

static void stdio_only(void **state)
{
	(void)state;
	GRANTED("stdio", do_stdio);
	GRANTED("stdio", do_log);
	GRANTED("stdio", do_regain);
	DENIED("stdio", do_exec);
	DENIED("stdio", do_socket);
	DENIED("stdio", do_socket_unix);
	DENIED("stdio", do_ptrace);
	DENIED("stdio", do_kill_parent);
	DENIED("stdio", do_setuid);
#ifndef POSTERN_SAN /* the second form of filter.c leaves these to landlock */
	DENIED("stdio", do_pair);
	DENIED("stdio", do_open_outside);
	DENIED("stdio", do_read_inside);
	DENIED("stdio", do_write_inside);
	DENIED("stdio", do_fork);
	DENIED("stdio", do_flock);
	DENIED("stdio", do_watch);
	DENIED("stdio", do_thread);
	DENIED("stdio", do_exec_memory);
#endif
}

static void network_words(void **state)
{
	(void)state;
	GRANTED("stdio inet", do_socket);
	GRANTED("stdio inet", do_udp);
	GRANTED("stdio inet", do_bind_tcp);
	GRANTED("stdio udp", do_udp);
	if (sandbox_landlock_abi() >= 4)
		assert_int_equal(attempt("stdio udp", do_bind_tcp), EACCES);
	GRANTED("stdio unix", do_socket_unix);
	GRANTED("stdio recvfd", do_pair);
#ifndef POSTERN_SAN
	DENIED("stdio inet", do_socket_unix);
	DENIED("stdio unix", do_socket);
	DENIED("stdio accept", do_socket);
#endif
}

static void file_words(void **state)
{
	(void)state;
	GRANTED("stdio rpath", do_read_inside);
	GRANTED("stdio rpath wpath", do_write_inside);
	GRANTED("stdio rpath wpath", do_create_inside);
	GRANTED("stdio wpath chown", do_chown);
	GRANTED("stdio flock rpath wpath", do_flock);
	GRANTED("stdio watch", do_watch);
#ifndef POSTERN_SAN
	DENIED("stdio rpath", do_write_inside);
	DENIED("stdio rpath", do_chown);
#endif
	if (sandbox_landlock_abi() == 0)
		return;
	assert_int_equal(attempt("stdio rpath wpath", do_open_outside), EACCES);
	assert_int_equal(attempt("stdio rpath wpath", do_write_outside), EACCES);
	assert_int_equal(attempt("stdio rpath wpath", do_unlink_outside), EACCES);
}

static void process_words(void **state)
{
	(void)state;
	GRANTED("stdio fork", do_fork);
	GRANTED("stdio kill", do_kill_parent);
	GRANTED("stdio thread", do_thread);
	DENIED("stdio fork", do_exec);
	DENIED("stdio fork", do_ptrace);
	DENIED("stdio exec rpath fork", do_ptrace);
#ifndef POSTERN_SAN
	DENIED("stdio thread", do_fork);
#endif
	/* capabilities are gone, so even the granted call fails unless the uid is one's own */
	if (geteuid() == 0)
		assert_int_equal(attempt("stdio id", do_setuid), EPERM);
}

static int enter_again(void)
{
	struct err e;
	return sandbox_enter("stdio", NULL, 0, NULL, &e) == RC_OK ? do_fork() : 0;
}

static void second_round_only_tightens(void **state)
{
	(void)state;
#ifndef POSTERN_SAN
	DENIED("stdio fork confine", enter_again);
#else
	(void)enter_again;
#endif
}

static void become_leaves_no_way_back(void **state)
{
	(void)state;
	int status;
	if (geteuid() != 0)
		skip();
	pid_t pid = fork();
	if (pid == 0) {
		struct err e;
		if (sandbox_become(12345, 12346, NULL, 0, &e) != RC_OK)
			_exit(1);
		gid_t g[8];
		_exit(getuid() == 12345 && getgid() == 12346 && setuid(0) < 0 && getgroups(8, g) == 1 &&
			      g[0] == 12346
			  ? 0
			  : 2);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

static void unknown_user_is_told(void **state)
{
	(void)state;
	struct err e;
	uid_t u;
	gid_t g;
	assert_int_equal(sandbox_user("no-such-user-here", &u, &g, &e), RC_NOTFOUND);
	assert_int_equal(sandbox_user("root", &u, &g, &e), RC_OK);
	assert_int_equal(u, 0);
}

static int make_files(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(inside, sizeof inside, "%s/file", dir);
	snprintf(outside, sizeof outside, "%s-outside", dir);
	return close(open(inside, O_CREAT | O_WRONLY, 0600)) | close(open(outside, O_CREAT | O_WRONLY, 0600));
}

static int remove_files(void **state)
{
	(void)state;
	unlink(inside);
	unlink(outside);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stdio_only),
		cmocka_unit_test(network_words),
		cmocka_unit_test(file_words),
		cmocka_unit_test(process_words),
		cmocka_unit_test(second_round_only_tightens),
		cmocka_unit_test(become_leaves_no_way_back),
		cmocka_unit_test(unknown_user_is_told),
	};
	return cmocka_run_group_tests(tests, make_files, remove_files);
}
