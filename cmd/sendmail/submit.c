/* submit.c - handing a message over: to pickup(8) over its socket, and when that is not there or says
 * "later", to postdrop(1), which leaves it in maildrop/. Blocking calls, no tasks: this process has one thing
 * to do. */
#include "sendmail.h"
#include "ipc/proto.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define INLINE_MAX    (64 * 1024) /* content in the record itself; larger goes in sealed memory */
#define RCPTS_AT_ONCE 1000
#define ENVELOPE_MAX  (120 * 1024)
#define REPLY_MAX     8192
#define WAIT_S	      600

static int connect_pickup(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = WAIT_S };
	int fd, n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/public/%s",
			     conf_str(config, "queue_directory"), conf_str(config, "pickup_service_name"));

	if (n <= 0 || (size_t)n >= sizeof(sun.sun_path))
		return -1;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
		close(fd);
		return -1;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return fd;
}

/* Memory that the receiver knows will not change. -1: not to be had. */
static int sealed_copy(struct span content)
{
	int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	for (size_t done = 0; fd >= 0 && done < content.n;) {
		ssize_t n = write(fd, content.p + done, content.n - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			close(fd);
			return -1;
		}
		done += (size_t)n;
	}
	if (fd >= 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool send_record(int s, struct span bytes, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)bytes.p, bytes.n };
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .space = { 0 } };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	ssize_t n;

	if (fd >= 0) {
		mh.msg_control = control.space;
		mh.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do
		n = sendmsg(s, &mh, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)bytes.n;
}

static bool send_request(int s, struct span envelope, struct span content)
{
	struct pickup_submit q = { .envelope = envelope, .content = content, .fd = -1 };
	const struct ipc_type *t = ipc_type_find(IPC_PICKUP_SUBMIT);
	static const char head[IPC_HEADER_BYTES] = { IPC_VERSION, 0, IPC_PICKUP_SUBMIT, 0, 1, 0, 0, 0 };
	int fds[IPC_FDS_MAX];
	size_t nfds;
	struct buf b;
	bool ok;

	if (content.n > INLINE_MAX || content.n + envelope.n > INLINE_MAX + 32768) {
		q.content = SPAN_NONE;
		if ((q.fd = sealed_copy(content)) < 0)
			return false;
	}
	buf_init(&b, IPC_FRAME_MAX);
	(void)buf_append(&b, span_make(head, sizeof(head)));
	ok = ipc_encode(t->request, &q, &b, fds, &nfds) == RC_OK && send_record(s, buf_span(&b), q.fd);
	buf_release(&b);
	if (q.fd >= 0)
		close(q.fd);
	return ok;
}

static bool read_reply(int s, struct pickup_submit_reply *r)
{
	const struct ipc_type *t = ipc_type_find(IPC_PICKUP_SUBMIT);
	char *p = arena_alloc(&memory, REPLY_MAX);
	ssize_t n;

	do
		n = recv(s, p, REPLY_MAX, 0);
	while (n < 0 && errno == EINTR);
	return n > IPC_HEADER_BYTES && p[0] == IPC_VERSION && p[1] == IPC_REPLY &&
	       p[2] == IPC_PICKUP_SUBMIT && p[4] == 1 &&
	       ipc_decode(t->reply, span_make(p + IPC_HEADER_BYTES, (size_t)n - IPC_HEADER_BYTES), NULL, 0,
			  &memory, r, NULL) == RC_OK;
}

/* SUBMIT_FAILED: not now, not this way. *what: the queue id, or why not. */
static enum submitted over_socket(struct span envelope, struct span content, const char **what)
{
	struct pickup_submit_reply r = { .code = 0 };
	int s = connect_pickup();
	bool done;

	if (s < 0)
		return SUBMIT_FAILED;
	done = send_request(s, envelope, content) && read_reply(s, &r);
	close(s);
	if (done && (r.code == 0 || r.code >= 500))
		*what = arena_cstr(&memory, r.code == 0 ? r.qid : r.text);
	if (done && r.code >= 500)
		return SUBMIT_REFUSED;
	return done && r.code == 0 ? SUBMIT_STORED : SUBMIT_FAILED;
}

/* ---- postdrop ---- */

static bool write_pipe(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

static void exec_postdrop(int in, int out)
{
	char *path = arena_printf(&memory, "%s/postdrop", conf_str(config, "command_directory"));
	char *argv[] = { path, (char *)(uintptr_t) "-r", NULL };

	if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0)
		execv(path, argv);
	fatal("execute %s: %s", path, strerror(errno));
}

struct postdrop {
	pid_t pid;
	int to, from;
};

static struct postdrop start_postdrop(void)
{
	struct postdrop p = { .pid = -1 };
	int in[2], out[2];

	(void)fflush(stdout); /* the child shall not write it once more */
	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || (p.pid = fork()) < 0)
		fatal("%s: cannot start postdrop: %s", who(), strerror(errno));
	if (p.pid == 0)
		exec_postdrop(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	p.to = in[1];
	p.from = out[0];
	return p;
}

/* "+queue id" or "-reason", up to its line end; "" when it died without a word. */
static const char *postdrop_reply(int fd)
{
	char line[1024];
	size_t n = 0;
	ssize_t got;

	do {
		got = read(fd, line + n, sizeof(line) - 1 - n);
		n += got > 0 ? (size_t)got : 0;
	} while ((got > 0 && n < sizeof(line) - 1) || (got < 0 && errno == EINTR));
	while (n > 0 && line[n - 1] == '\n')
		n--;
	line[n] = '\0';
	return arena_strdup(&memory, line);
}

static bool ended_well(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fatal("%s: waiting for postdrop: %s", who(), strerror(errno));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* "PSTDROP1", length of the envelope as four bytes, the envelope, the content up to the end of input. */
static enum submitted over_postdrop(struct span envelope, struct span content, const char **what)
{
	unsigned char head[12] = { 'P', 'S', 'T', 'D', 'R', 'O', 'P', '1' };
	struct postdrop p = start_postdrop();
	const char *reply;
	bool sent, well;

	for (unsigned i = 0; i < 4; i++)
		head[8 + i] = (unsigned char)(envelope.n >> 8 * i);
	signal(SIGPIPE, SIG_IGN);
	sent = write_pipe(p.to, head, sizeof(head)) && write_pipe(p.to, envelope.p, envelope.n) &&
	       write_pipe(p.to, content.p, content.n);
	close(p.to);
	reply = postdrop_reply(p.from);
	close(p.from);
	well = ended_well(p.pid);
	*what = reply[0] != '\0' ? reply + 1 : "postdrop could not store the message";
	if (sent && well && reply[0] == '+')
		return SUBMIT_STORED;
	return reply[0] == '-' ? SUBMIT_REFUSED : SUBMIT_FAILED;
}

static enum submitted submit_part(const struct envelope *env, struct span content, const char **what)
{
	enum submitted r;
	struct buf b;

	buf_init(&b, ENVELOPE_MAX);
	if (envelope_encode(env, &b) != RC_OK)
		fatal("%s: the envelope is too large", who());
	r = over_socket(buf_span(&b), content, what);
	if (r == SUBMIT_FAILED)
		r = over_postdrop(buf_span(&b), content, what);
	buf_release(&b);
	return r;
}

/* Encoded size of a recipient: three lengths, two numbers, the texts. */
static size_t rcpt_bytes(const struct env_rcpt *r)
{
	return 16 + r->addr.n + r->orcpt.n;
}

/* Long lists go as several messages, so that no part depends on the others' being accepted at once. */
enum submitted submit_try(const struct envelope *env, struct span content, const char **what)
{
	enum submitted r = SUBMIT_STORED;

	for (size_t i = 0; i < env->rcpts.n && r == SUBMIT_STORED;) {
		struct envelope part = *env;
		size_t n = 0, bytes = 0;

		for (; i + n < env->rcpts.n && n < RCPTS_AT_ONCE && bytes < ENVELOPE_MAX - 32768; n++)
			bytes += rcpt_bytes(envelope_rcpt(env, i + n));
		part.rcpts = (struct ipc_list){ envelope_rcpt(env, i), n };
		r = submit_part(&part, content, what);
		i += n;
	}
	return r;
}

void submit(const struct envelope *env, struct span content)
{
	const char *what = "";

	if (submit_try(env, content, &what) != SUBMIT_STORED)
		fatal("%s: %s", who(), what);
}
