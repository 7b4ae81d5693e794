/* canary.c - linked into the daemons of the test build (make canary) around two calls of the frame: once a
 * process has given up its rights it tries what its sandbox must deny, and logs each outcome. The product
 * itself holds no trace of it.
 *
 * POSTERN_CANARY names a directory of the test (import_environment brings it): what lies in it anybody may
 * read, change, remove and run, so that nothing but the sandbox can say no. POSTERN_CANARY_MORE is "PORT
 * QUEUE_DIR UID:PID UID:PID ...": a TCP port of 127.0.0.1 where somebody listens, the queue, and a process of
 * the test for each uid to be attacked. */
#include "ipc/ipc.h"
#include "log/log.h"
#include "sandbox/sandbox.h"
#include "service/frame.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[200], queue[200];
static int port;
static pid_t victim;

static void read_settings(void)
{
	const char *d = getenv("POSTERN_CANARY"), *more = getenv("POSTERN_CANARY_MORE");
	struct span rest = span_str(more != NULL ? more : ""), w;
	uint64_t v;
	snprintf(dir, sizeof dir, "%s", d != NULL ? d : "");
	if (span_next_word(&rest, " ", &w) && span_to_u64(w, 65535, &v) == RC_OK)
		port = (int)v;
	if (!span_next_word(&rest, " ", &w) || span_cstr(w, queue, sizeof queue) != RC_OK)
		queue[0] = '\0';
	victim = getppid();
	while (span_next_word(&rest, " ", &w)) {
		struct span uid;
		uint64_t u;
		if (span_next(&w, ':', &uid) && span_to_u64(uid, UINT32_MAX, &u) == RC_OK && u == geteuid() &&
		    span_to_u64(w, INT32_MAX, &v) == RC_OK)
			victim = (pid_t)v;
	}
}

static const char *in(const char *where, const char *name)
{
	static char path[300];
	snprintf(path, sizeof path, "%s/%s", where, name);
	return path;
}

static long opened(long fd)
{
	int saved = errno;
	if (fd >= 0)
		close((int)fd);
	errno = saved;
	return fd;
}

/* ---- the tries: each returns what its last system call did, -1 with errno for failure ---- */

static long read_file(void)
{
	return opened(open(in(dir, "readable"), O_RDONLY | O_CLOEXEC));
}
static long write_file(void)
{
	return opened(open(in(dir, "writable"), O_WRONLY | O_CLOEXEC));
}
static long create_file(void)
{
	long r = opened(open(in(dir, "created"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	return r < 0 ? r : unlink(in(dir, "created"));
}
static long list_dir(void)
{
	return opened(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
static long remove_file(void)
{
	long r = unlink(in(dir, "removable"));
	return r < 0 ? r
		     : opened(open(in(dir, "removable"), O_WRONLY | O_CREAT | O_CLOEXEC,
				   0600)); /* the next one tries, too */
}
static long rename_file(void)
{
	char to[300];
	snprintf(to, sizeof to, "%s/renamed", dir);
	long r = rename(in(dir, "renamable"), to);
	return r < 0 ? r : rename(to, in(dir, "renamable"));
}
static long link_file(void)
{
	long r = symlink("/", in(dir, "symlink"));
	return r < 0 ? r : unlink(in(dir, "symlink"));
}
static long queue_read(void)
{
	return opened(open(in(queue, "deferred/canary"), O_RDONLY | O_CLOEXEC));
}
static long queue_write(void)
{
	return opened(open(in(queue, "deferred/canary"), O_WRONLY | O_CLOEXEC));
}
/* The directories: files in them come and go. */
static long maildrop_read(void)
{
	return opened(open(in(queue, "maildrop"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
static long incoming_read(void)
{
	return opened(open(in(queue, "incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
/* No format that the kernel knows: ENOEXEC tells that it would have run. */
static long execute(void)
{
	char *argv[] = { dir, NULL }, *env[] = { NULL };
	return execve(in(dir, "program"), argv, env);
}
static long connect_tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long r = fd < 0 ? fd : connect(fd, (struct sockaddr *)&a, sizeof a);
	opened(fd);
	return r;
}
static long listen_tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long r = fd < 0 ? fd : bind(fd, (struct sockaddr *)&a, sizeof a);
	if (r == 0)
		r = listen(fd, 1);
	opened(fd);
	return r;
}
static long connect_unix(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	memcpy(a.sun_path, in(dir, "socket"), strnlen(in(dir, "socket"), sizeof a.sun_path - 1));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long r = fd < 0 ? fd : connect(fd, (struct sockaddr *)&a, sizeof a);
	opened(fd);
	return r;
}
/* The bare call, as with a socket that came from elsewhere. */
static long connect_call(void)
{
	struct sockaddr a = { .sa_family = AF_UNSPEC };
	return connect(STDIN_FILENO, &a, sizeof a);
}
static long listen_call(void)
{
	return listen(STDIN_FILENO, 1);
}
static long socket_inet(void)
{
	return opened(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}
static long socket_inet6(void)
{
	return opened(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
static long socket_netlink(void)
{
	return opened(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}
static long socket_packet(void)
{
	return opened(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}
static long trace(void)
{
	long r = ptrace(PTRACE_SEIZE, victim, NULL, NULL);
	if (r == 0)
		(void)ptrace(PTRACE_DETACH, victim, NULL, NULL);
	return r;
}
static long read_memory(void)
{
	char b;
	struct iovec to = { &b, 1 }, from = { &victim, 1 };
	return process_vm_readv(victim, &to, 1, &from, 1, 0);
}
static long signal_other(void)
{
	return kill(victim, SIGCONT);
}
static long become_root(void)
{
	return setresuid(0, 0, 0);
}
static long become_root_group(void)
{
	return setresgid(0, 0, 0);
}
static long change_root(void)
{
	return chroot("/proc");
}
static long mount_something(void)
{
	return mount("none", "/mnt", "tmpfs", 0, NULL);
}
static long user_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}
static long forked(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	return pid;
}
static long clone_namespace(void)
{
	return forked(CLONE_NEWUSER);
}
static long fork_plain(void)
{
	return forked(0);
}
static long code_page(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? -1 : munmap(p, 4096);
}
static long dumpable(void)
{
	long r = prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (r == 0)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return r;
}
static long bpf_call(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}
static long io_uring(void)
{
	return opened(syscall(SYS_io_uring_setup, 1, NULL));
}

/* Through master, which knows who may speak to whom. */
static long peer(const char *service)
{
	struct err e;
	int fd = -1;
	enum rc rc = service_connect(service, &fd, deadline_s(10), &e);
	opened(fd);
	errno = rc == RC_DENIED ? EACCES : EIO;
	return rc == RC_OK ? 0 : -1;
}
static long peer_qmgr(void)
{
	return peer("qmgr");
}
static long peer_tlsmgr(void)
{
	return peer("tlsmgr");
}
static long peer_auth(void)
{
	return peer("auth");
}
static long peer_local(void)
{
	return peer("local");
}

static const struct {
	const char *name;
	long (*run)(void);
	bool needs_master; /* only the daemon itself has the channel to it */
} tries[] = {
	{ "peer-qmgr", peer_qmgr, true },
	{ "peer-tlsmgr", peer_tlsmgr, true },
	{ "peer-auth", peer_auth, true },
	{ "peer-local", peer_local, true },
	{ "read-file", read_file, false },
	{ "write-file", write_file, false },
	{ "create-file", create_file, false },
	{ "list-directory", list_dir, false },
	{ "remove-file", remove_file, false },
	{ "rename-file", rename_file, false },
	{ "symlink", link_file, false },
	{ "queue-read", queue_read, false },
	{ "queue-write", queue_write, false },
	{ "maildrop-read", maildrop_read, false },
	{ "incoming-read", incoming_read, false },
	{ "execve", execute, false },
	{ "connect-tcp", connect_tcp, false },
	{ "listen-tcp", listen_tcp, false },
	{ "connect-unix", connect_unix, false },
	{ "connect-call", connect_call, false },
	{ "listen-call", listen_call, false },
	{ "socket-inet", socket_inet, false },
	{ "socket-inet6", socket_inet6, false },
	{ "socket-netlink", socket_netlink, false },
	{ "socket-packet", socket_packet, false },
	{ "ptrace", trace, false },
	{ "read-memory", read_memory, false },
	{ "kill", signal_other, false },
	{ "chroot", change_root, false },
	{ "mount", mount_something, false },
	{ "user-namespace", user_namespace, false },
	{ "clone-namespace", clone_namespace, false },
	{ "fork", fork_plain, false },
	{ "code-page", code_page, false },
	{ "dumpable", dumpable, false },
	{ "bpf", bpf_call, false },
	{ "io-uring", io_uring, false },
	{ "setgid", become_root_group, false },
	{ "setuid", become_root, false },
};

/* Denied is EPERM or EACCES, and nothing else: what fails for another reason might have worked on another
 * day. */
static void sing(const char *role)
{
	bool is_daemon = strcmp(role, "daemon") == 0;
	read_settings();
	if (dir[0] == '\0')
		return;
	log_info("canary: begin %s %s", program_invocation_short_name, role);
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		if (tries[i].needs_master && !is_daemon)
			continue;
		errno = 0;
		long r = tries[i].run();
		int error = errno;
		if (r < 0 && (error == EPERM || error == EACCES))
			log_info("canary: %s: denied (%s)", tries[i].name, strerror(error));
		else
			log_info("canary: %s: ALLOWED (%ld %s)", tries[i].name, r,
				 r < 0 ? strerror(error) : "");
	}
	log_info("canary: end");
}

/* ---- where it is woven in: ld --wrap ---- */

void __real_accept_start(void);
void __wrap_accept_start(void);
enum rc __real_sandbox_enter(const char *, const struct sandbox_path *, size_t, const int *, struct err *);
enum rc __wrap_sandbox_enter(const char *, const struct sandbox_path *, size_t, const int *, struct err *);

/* The daemon: its loop runs, and nothing was accepted yet. */
void __wrap_accept_start(void)
{
	sing("daemon");
	__real_accept_start();
}

/* Root monitors, and processes that became a user. A monitor is left alone: it needs its ids and its file
 * system later. */
enum rc __wrap_sandbox_enter(const char *rights, const struct sandbox_path *paths, size_t n, const int *caps,
			     struct err *e)
{
	enum rc rc = __real_sandbox_enter(rights, paths, n, caps, e);
	if (rc == RC_OK)
		sing(sandbox_has(rights, "wfile")  ? "root"
		     : geteuid() == 0		   ? "monitor"
		     : sandbox_has(rights, "exec") ? "command"
						   : "user");
	return rc;
}
