/* largefile.c - files for messages that are too large for a slot: made here, filled by the client through a
 * write-only descriptor. */
#include "cleanup.h"
#include "queue/qheader.h"
#include <fcntl.h>
#include <unistd.h>

#define FILES_MAX 2000

struct large_file {
	struct list link; /* in `files` until taken */
	struct ipc_chan *chan;
	struct qid qid;
	int fd;
};

static struct list files = { &files, &files };
static size_t files_n;

/* For the client: the same file, open for writing only. */
static int write_only(int fd)
{
	char proc[32];
	int w;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	w = open(proc, O_WRONLY | O_CLOEXEC);
	return w >= 0 ? w : fcntl(fd, F_DUPFD_CLOEXEC, 0); /* no /proc here: it may read what it wrote */
}

static void refuse_file(struct ipc_call *call, unsigned code, struct span dsn, struct span text)
{
	struct cleanup_file_reply r = { .code = (uint16_t)code, .dsn = dsn, .text = text, .fd = -1 };

	ipc_reply(call, &r);
}

bool room_for_mail(const char *program, uint64_t need)
{
	uint64_t bytes, inodes;

	if (need == 0 || !from_network(program) || queue_space(queue, &bytes, &inodes, NULL) != RC_OK)
		return true; /* the write itself will tell */
	return bytes >= need && inodes > 10;
}

static bool room_for_file(struct ipc_call *call)
{
	uint64_t least = (uint64_t)settings.queue_minfree;
	uint64_t largest = (uint64_t)settings.message_size_limit / 2 * 3;

	return room_for_mail(ipc_chan_peer(ipc_call_chan(call))->program, least > largest ? least : largest);
}

void answer_file(struct ipc_call *call, const void *request)
{
	const struct cleanup_file *q = request;
	struct cleanup_file_reply r = { .fd = -1 };
	struct large_file *f;
	struct qid id;
	struct err e;
	int fd;

	if (!qid_parse(q->qid, &id)) {
		refuse_file(call, 451, SPAN("4.3.0"), SPAN("Error: internal protocol error"));
		return;
	}
	if (files_n == FILES_MAX || !room_for_file(call)) {
		refuse_file(call, 452, SPAN("4.3.1"), SPAN("Insufficient system storage"));
		return;
	}
	if (queue_file_new(queue, &fd, &e) != RC_OK) {
		log_warning("%s: %s", id.s, e.text);
		refuse_file(call, 452, SPAN("4.3.1"), SPAN("Insufficient system storage"));
		return;
	}
	f = xcalloc(1, sizeof(*f));
	*f = (struct large_file){ .chan = ipc_call_chan(call), .qid = id, .fd = fd };
	list_add_tail(&files, &f->link);
	files_n++;
	r.fd = write_only(fd);
	ipc_reply(call, &r);
}

static struct large_file *find(struct ipc_chan *chan, struct span qid)
{
	LIST_EACH(it, &files)
	{
		struct large_file *f = LIST_ENTRY(it, struct large_file, link);

		if (f->chan == chan && span_eq(qid_span(&f->qid), qid))
			return f;
	}
	return NULL;
}

struct large_file *large_take(struct ipc_chan *chan, struct span qid)
{
	struct large_file *f = find(chan, qid);

	if (f != NULL) {
		list_del(&f->link);
		files_n--;
	}
	return f;
}

void large_drop(struct large_file **fp)
{
	struct large_file *f = *fp;

	if (f == NULL)
		return;
	*fp = NULL;
	queue_file_drop(queue, f->fd);
	free(f);
}

int large_fd(const struct large_file *f)
{
	return f->fd;
}

enum rc large_read(const struct large_file *f, uint64_t off, void *dst, size_t n, struct err *e)
{
	return pread_all(f->fd, dst, n, QFILE_CONTENT_OFF + (int64_t)off, e);
}

void answer_abort(struct ipc_call *call, const void *request)
{
	const struct cleanup_abort *q = request;
	struct large_file *f = large_take(ipc_call_chan(call), q->qid);

	large_drop(&f);
	ipc_done(call);
}

/* The client went away: what it did not submit is forgotten. */
void large_forget(struct ipc_chan *chan)
{
	LIST_EACH_SAFE(it, &files)
	{
		struct large_file *f = LIST_ENTRY(it, struct large_file, link);

		if (f->chan != chan)
			continue;
		list_del(&f->link);
		files_n--;
		large_drop(&f);
	}
}
