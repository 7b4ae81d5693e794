/* local/child_read.c - in the child: a small file, read with the recipient's rights. */
#include "workers.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_MAX 65536 /* a piece */

struct read_job {
	const struct user_read *q;
	char *p;
	size_t n;
	struct stat st;
	enum rc rc;
	struct err e;
};

static enum rc read_all(struct read_job *j, int fd, const char *path)
{
	size_t max = j->q->max_bytes < READ_MAX ? j->q->max_bytes : READ_MAX;

	for (ssize_t got; j->n < max; j->n += (size_t)got) {
		got = pread(fd, j->p + j->n, max - j->n, (off_t)(j->q->off + j->n));
		if (got < 0)
			return err_sys(&j->e, "read %s", path);
		if (got == 0)
			break;
	}
	return RC_OK;
}

/* O_NONBLOCK: a FIFO in the place of the file shall not hold us. */
static void read_file(void *arg)
{
	struct read_job *j = arg;
	char path[1024];
	int fd;

	if ((j->rc = span_cstr(j->q->path, path, sizeof path)) != RC_OK || path[0] != '/') {
		j->rc = err_set(&j->e, RC_SYNTAX, "bad path");
		return;
	}
	if (lstat(path, &j->st) < 0) {
		j->rc = errno == ENOENT || errno == ENOTDIR
			    ? err_set(&j->e, RC_NOTFOUND, "%s does not exist", path)
			    : err_sys(&j->e, "%s", path);
		return;
	}
	if (!S_ISREG(j->st.st_mode))
		return;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &j->st) < 0)
		j->rc = err_sys(&j->e, "open %s", path);
	else if (S_ISREG(j->st.st_mode))
		j->rc = read_all(j, fd, path);
	if (fd >= 0)
		close(fd);
}

void child_read(struct ipc_call *call, const void *request)
{
	struct read_job j = { .q = request, .p = arena_alloc(ipc_call_arena(call), READ_MAX) };
	struct user_read_reply r;

	child_begin();
	task_offload(read_file, &j);
	r = (struct user_read_reply){ .rc = (uint16_t)j.rc,
				      .uid = j.st.st_uid,
				      .mode = j.st.st_mode,
				      .size = (uint64_t)j.st.st_size,
				      .content = span_make(j.p, j.n) };
	if (j.rc != RC_OK) {
		r.sys = (uint32_t)j.e.sys;
		r.text = span_str(j.e.text);
		r.content = SPAN_NONE;
	}
	ipc_reply(call, &r);
	child_end();
}
