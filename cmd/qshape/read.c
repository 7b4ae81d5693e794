/* cmd/qshape/read.c - the messages, from the queue that lib/queue knows or from any directory of queue files. */
#include "base/table.h"
#include "ipc/proto.h"
#include "log/log.h"
#include "qshape.h"
#include "queue/listing.h"
#include "service/client.h"
#include <errno.h>
#include <fts.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const queues[] = { "incoming", "active", "deferred", "hold", "maildrop" };

static void pass_on(const struct envelope *env, struct arena *a, seen_fn *fn, void *arg)
{
	struct seen m = { .sender = env->sender, .arrival_s = env->arrival_us / 1000000 };

	m.rcpt = arena_array(a, env->rcpts.n + 1, sizeof(*m.rcpt));
	for (size_t i = 0; i < env->rcpts.n; i++)
		if (envelope_rcpt(env, i)->state != RCPT_DONE)
			m.rcpt[m.rcpts++] = envelope_rcpt(env, i)->addr;
	fn(arg, &m);
}

/* What qmgr(8) is delivering is known to it alone. While it is not there, or says nothing to this user, nothing is active. */
static void add_active(const struct conf *c, struct table *ids)
{
	struct span after = SPAN_NONE;
	struct arena a;
	struct err e;
	size_t n;

	arena_init(&a);
	do {
		struct qmgr_active q = { after };
		struct qmgr_active_reply r;
		const struct qid_item *v;

		if (client_request(c, "public", conf_str(c, "queue_service_name"), IPC_QMGR_ACTIVE, &q, &r,
				   &a, 60, &e) != RC_OK)
			break;
		v = r.ids.v;
		n = r.ids.n;
		for (size_t i = 0; i < n; i++)
			table_set(ids, v[i].qid, ids);
		after = n > 0 ? v[n - 1].qid : after;
	} while (n > 0);
	arena_release(&a);
}

static void read_listing(const struct conf *c, const bool *wanted, seen_fn *fn, void *arg)
{
	struct table *active = table_new();
	struct queue *q;
	struct listing *l;
	struct listed in;
	struct arena a;
	struct err e;
	enum rc rc;

	if (queue_open(conf_str(c, "queue_directory"), false, &q, &e) != RC_OK ||
	    listing_open(q, &l, &e) != RC_OK)
		die_status(1, "%s", e.text);
	add_active(c, active);
	arena_init(&a);
	while ((rc = listing_next(l, &a, &in, &e)) == RC_OK) {
		const char *name = table_get(active, qid_span(&in.id)) != NULL ? "active" : in.queue;

		for (size_t i = 0; i < ARRAY_LEN(queues); i++)
			if (wanted[i] && strcmp(name, queues[i]) == 0)
				pass_on(&in.image.env, &a, fn, arg);
		arena_reset(&a);
	}
	if (rc != RC_EOF)
		die_status(1, "%s", e.text);
	arena_release(&a);
	listing_close(&l);
	queue_close(&q);
	table_free(&active, NULL);
}

static void read_file(const char *path, seen_fn *fn, void *arg)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct qimage im;
	struct arena a;
	struct err e;

	if (fd < 0) {
		if (errno != ENOENT) /* delivered meanwhile */
			log_warning("open %s: %s", path, strerror(errno));
		return;
	}
	arena_init(&a);
	if (qimage_read(fd, 0, INT64_MAX, false, &a, &im, &e) == RC_OK && !im.done)
		pass_on(&im.env, &a, fn, arg);
	arena_release(&a);
	close(fd);
}

static void read_tree(char *path, seen_fn *fn, void *arg)
{
	char *roots[] = { path, NULL };
	FTS *t = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);

	if (t == NULL)
		die_status(1, "%s: %s", path, strerror(errno));
	for (FTSENT *f; (f = fts_read(t)) != NULL;) {
		if (f->fts_info == FTS_F)
			read_file(f->fts_accpath, fn, arg);
		else if (f->fts_info == FTS_DNR || f->fts_info == FTS_ERR)
			die_status(1, "%s: %s", f->fts_path, strerror(f->fts_errno));
	}
	fts_close(t);
}

/* Which of `queues` the directory is: of the queue itself slots belong to it, too. -1: none. */
static int queue_of(const char *dir, const char *path)
{
	char home[PATH_MAX], real[PATH_MAX];
	size_t n;

	if (realpath(dir, home) == NULL || realpath(path, real) == NULL)
		return -1;
	n = strlen(home);
	for (size_t i = 0; i < ARRAY_LEN(queues); i++)
		if (strncmp(real, home, n) == 0 && real[n] == '/' && strcmp(real + n + 1, queues[i]) == 0)
			return (int)i;
	return -1;
}

void read_queues(const struct conf *c, char *const *names, size_t n, seen_fn *fn, void *arg)
{
	const char *dir = conf_str(c, "queue_directory");
	bool wanted[ARRAY_LEN(queues)] = { false }, any = false;

	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX];
		struct stat st;
		int len = names[i][0] == '/' ? snprintf(path, sizeof(path), "%s", names[i])
					     : snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		int known;

		if (len < 0 || (size_t)len >= sizeof(path))
			die_status(1, "%s: name too long", names[i]);
		if (stat(path, &st) != 0)
			die_status(1, "Can't stat %s: %s", names[i], strerror(errno));
		if (!S_ISDIR(st.st_mode))
			die_status(1, "%s is not a directory", names[i]);
		known = queue_of(dir, path);
		if (known < 0) {
			read_tree(path, fn, arg);
		} else {
			wanted[known] = true;
			any = true;
		}
	}
	if (any)
		read_listing(c, wanted, fn, arg);
}
