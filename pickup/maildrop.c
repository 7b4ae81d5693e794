/* maildrop.c - files that postdrop(1) left in maildrop/ while the suite was down, ours or that of a Postfix that
 * was here before. Any local user can have any bytes put there: an image is taken only when all its checksums
 * hold; its owner is who submitted it. A damaged one goes to corrupt/ and stops no other. The file is removed
 * when cleanup(8) has the message on stable storage: a crash in between submits it twice. */
#include "pickup.h"
#include "queue/postfix_file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAX      10000	 /* of one look; the rest at the next */
#define ENVELOPE_SPACE (8 << 20) /* beside the content */

static int dir = -1, corrupt = -1;
static bool scanning, again;

struct names {
	char (*v)[64];
	size_t n, cap;
};

static void list_names(void *arg)
{
	struct names *l = arg;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (l->n < NAMES_MAX && (de = readdir(d)) != NULL) {
		size_t n = strlen(de->d_name);
		if (de->d_name[0] == '.' || n >= sizeof(l->v[0]))
			continue;
		if (l->n == l->cap) {
			l->cap = l->cap ? l->cap * 2 : 64;
			l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
		}
		memcpy(l->v[l->n++], de->d_name, n + 1);
	}
	closedir(d);
}

struct one {
	const char *name;
	struct arena a;
	int fd;
	struct stat st;
	struct envelope env;
	int64_t off;	    /* of the content, in fd; < 0: in `content` */
	struct buf content; /* of a file of Postfix's, which has it in records */
	uint64_t content_bytes, max;
	struct qid before; /* of a message that was in the queue, "" of others */
	bool finished;	   /* ... and has no recipient left */
	enum rc rc;
	struct err e;
};

/* Users cannot make such a file. */
static bool ours(const struct one *o)
{
	return o->st.st_uid == geteuid();
}

/* postsuper -r. Content that header checks and the like have cut up is put together in memory. */
static void read_requeued(struct one *o, const struct qimage *im)
{
	o->before = im->qid;
	o->finished = !requeued_envelope(im, &o->env, &o->a);
	o->content_bytes = im->content_bytes;
	if (im->extents == 1) {
		o->off = (int64_t)im->extent[0].off;
		return;
	}
	o->off = -1;
	if (buf_reserve(&o->content, (size_t)im->content_bytes) == NULL)
		o->rc = err_set(&o->e, RC_LIMIT, "larger than message_size_limit");
	else if ((o->rc = qimage_pread(o->fd, 0, im, 0, o->content.p, (size_t)im->content_bytes, &o->e)) ==
		 RC_OK)
		o->content.n = (size_t)im->content_bytes;
}

static void read_image(struct one *o)
{
	struct qimage im;

	o->rc = qimage_read(o->fd, 0, ours(o) ? UINT64_MAX : o->max, true, &o->a, &im, &o->e);
	if (o->rc == RC_NOTFOUND || o->rc == RC_GONE)
		o->rc = RC_SYNTAX;
	if (o->rc == RC_OK && ours(o) && (im.env.flags & ENVF_RESUBMITTED)) {
		read_requeued(o, &im);
		return;
	}
	if (o->rc == RC_OK && im.extents != 1)
		o->rc = err_set(&o->e, RC_SYNTAX, "more than one extent");
	if (o->rc != RC_OK)
		return;
	o->env = im.env;
	o->off = (int64_t)im.extent[0].off;
	o->content_bytes = im.content_bytes;
}

static enum rc add_content(void *arg, struct span piece, struct err *e)
{
	struct one *o = arg;

	return buf_append(&o->content, piece) == RC_OK
		   ? RC_OK
		   : err_set(e, RC_LIMIT, "larger than message_size_limit");
}

/* One that is not executable is being written. */
static void read_postfix(struct one *o)
{
	if (!(o->st.st_mode & S_IXUSR)) {
		o->rc = RC_GONE;
		return;
	}
	o->rc = postfix_file_read(o->fd, o->max, &o->a, &o->env, add_content, o, &o->e);
	o->off = -1;
	o->content_bytes = o->content.n;
}

static void open_one(void *arg)
{
	struct one *o = arg;

	o->fd = openat(dir, o->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (o->fd < 0) {
		o->rc = errno == ENOENT ? RC_GONE : err_sys(&o->e, "open");
		return;
	}
	if (fstat(o->fd, &o->st) != 0 || !S_ISREG(o->st.st_mode)) {
		o->rc = err_set(&o->e, RC_SYNTAX, "not a regular file");
		return;
	}
	/* a second name could be kept by the user to bring the file back, or show us a file that was made
	 * elsewhere */
	if (o->st.st_nlink != 1) {
		o->rc = err_set(&o->e, RC_SYNTAX, "the file has %lu names", (unsigned long)o->st.st_nlink);
		return;
	}
	if (postfix_file_is(o->fd))
		read_postfix(o);
	else
		read_image(o);
}

static void to_corrupt(const char *name)
{
	char to[80];

	snprintf(to, sizeof(to), "%s", name);
	for (unsigned i = 1; renameat2(dir, name, corrupt, to, 1 /* RENAME_NOREPLACE */) != 0; i++) {
		if (errno != EEXIST || i > 999) {
			log_warning("maildrop/%s: cannot be moved to corrupt: %s", name, strerror(errno));
			return;
		}
		snprintf(to, sizeof(to), "%s.%u", name, i);
	}
	(void)fsync(corrupt);
}

static void remove_one(void *arg)
{
	const struct one *o = arg;

	if (unlinkat(dir, o->name, 0) == 0)
		(void)fsync(dir);
}

static void take(struct one *o)
{
	struct pickup_message m = { .env = o->env,
				    .uid = o->st.st_uid,
				    .content = buf_span(&o->content),
				    .fd = o->off < 0 ? -1 : o->fd,
				    .content_off = o->off,
				    .content_bytes = o->content_bytes,
				    .judged = true,
				    .requeued = o->before.s[0] != '\0' ? &o->before : NULL };
	struct cleanup_submit_reply r;

	if (o->finished) { /* delivered while it was on its way here */
		log_info("%s: removed", o->before.s);
		task_offload(remove_one, o);
		return;
	}
	m.arrival_us = (int64_t)o->st.st_mtim.tv_sec * 1000000 + o->st.st_mtim.tv_nsec / 1000;
	if (m.arrival_us > wall_now().us || m.arrival_us <= 0)
		m.arrival_us = wall_now().us;
	submit(&m, &o->a, &r);
	if (r.code == 0)
		task_offload(remove_one, o);
	else if (r.code >= 500) {
		log_warning("maildrop/%s: refused: " SPAN_FMT " " SPAN_FMT ", moved to corrupt", o->name,
			    SPAN_ARG(r.dsn), SPAN_ARG(r.text));
		to_corrupt(o->name);
	} else
		log_warning("maildrop/%s: not taken yet: " SPAN_FMT " " SPAN_FMT, o->name, SPAN_ARG(r.dsn),
			    SPAN_ARG(r.text));
}

static void one_file(const char *name, uint64_t max)
{
	struct one o = { .name = name, .fd = -1, .max = max };

	arena_init(&o.a);
	buf_init(&o.content, (size_t)max);
	task_offload(open_one, &o);
	switch (o.rc) {
	case RC_OK:
		take(&o);
		break;
	case RC_GONE:
		break;
	case RC_SYNTAX:
	case RC_LIMIT:
		log_warning("maildrop/%s: %s: moved to corrupt", name, o.e.text);
		to_corrupt(name);
		break;
	default:
		log_warning("maildrop/%s: %s", name, o.e.text);
		break;
	}
	if (o.fd >= 0)
		close(o.fd);
	buf_release(&o.content);
	arena_release(&o.a);
}

static void scan_once(void)
{
	int64_t limit = conf_int(service_conf(), "message_size_limit");
	uint64_t max = limit > 0 ? (uint64_t)limit + ENVELOPE_SPACE : INT64_MAX;
	struct names l = { 0 };

	task_offload(list_names, &l);
	for (size_t i = 0; i < l.n && !service_draining(); i++)
		one_file(l.v[i], max);
	free(l.v);
}

void maildrop_scan(void)
{
	again = true;
	if (scanning || dir < 0)
		return;
	scanning = true;
	while (again && !service_draining()) {
		again = false;
		scan_once();
	}
	scanning = false;
}

static void first_scan(void *arg)
{
	(void)arg;
	maildrop_scan();
}

void maildrop_start(void)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/maildrop", service_queue_dir());
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		log_warning("%s: %s", path, strerror(errno));
	snprintf(path, sizeof(path), "%s/corrupt", service_queue_dir());
	corrupt = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	task_spawn(first_scan, NULL);
}
