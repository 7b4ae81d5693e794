/* local/workers.c - the pool of children, on the front's side. */
#include "workers.h"
#include "base/list.h"
#include "log/log.h"
#include "task/task.h"

#define WORKERS_MAX  64 /* kept; beyond that the one unused for longest goes */
#define EXTRA_MAX    16
#define CHILD_RIGHTS "stdio recvfd rpath wpath chown flock thread"

struct worker {
	struct list link; /* in `workers`, latest used last */
	struct asuser_id id;
	struct ipc_chan *chan; /* NULL while it starts */
	unsigned users;	       /* tasks that wait for it */
	bool failed;	       /* did not start: not to be used any more */
	struct waitq started;
	struct timer idle;
};
static struct list workers = { &workers, &workers };
static unsigned workers_n;

static struct {
	char path[EXTRA_MAX][ASUSER_PATH_MAX];
	size_t n;
} extra_dirs;

/* A command may go wherever its user may; other children stay in their directory. */
static size_t paths_of_child(const struct asuser_id *id, struct sandbox_path *out, size_t max)
{
	size_t n = 0;

	if (id->allow_exec && max > 0) {
		out[0] = (struct sandbox_path){ "/", SB_READ | SB_WRITE | SB_EXEC };
		return 1;
	}
	if (n < max && id->home[0] != '\0')
		out[n++] = (struct sandbox_path){ id->home, SB_READ | SB_WRITE };
	for (size_t i = 0; i < extra_dirs.n && n < max; i++)
		out[n++] = (struct sandbox_path){ extra_dirs.path[i], SB_READ | SB_WRITE };
	return n;
}

static const char *chroot_dir;

void workers_chroot(const char *dir)
{
	chroot_dir = dir;
}

void workers_prepare(const char *name, uint32_t min_uid, const char *const *extra, size_t n,
		     const struct worker_root *root)
{
	static struct asuser_conf c; /* the monitor keeps it */
	struct err e;

	for (size_t i = 0; i < n && extra_dirs.n < EXTRA_MAX; i++)
		if (worker_text(extra_dirs.path[extra_dirs.n], ASUSER_PATH_MAX, span_str(extra[i])))
			extra_dirs.n++;
	c = (struct asuser_conf){ .name = name,
				  .seqpacket = true,
				  .min_uid = min_uid,
				  .child_rights = CHILD_RIGHTS,
				  .exec_rights = strcmp(name, "virtual") == 0 ? NULL : WORKER_EXEC_RIGHTS,
				  .child_paths = paths_of_child,
				  .child_main = worker_main,
				  .chroot_dir = chroot_dir,
				  .root_pick = root != NULL ? root->pick : NULL,
				  .root_dir = root != NULL ? root->dir : NULL,
				  .root_rights = "stdio recvfd rpath wfile flock thread",
				  .root_enter = root != NULL ? root->enter : NULL,
				  .root_files = root != NULL ? root->files : NULL };
	if (asuser_start(&c, &e) != RC_OK)
		die("%s", e.text);
}

bool worker_text(char *dst, size_t size, struct span s)
{
	return span_cstr(s, dst, size) == RC_OK;
}

/* ---- life of a child ---- */
static void worker_free(struct worker *w)
{
	timer_cancel(&w->idle);
	list_del(&w->link);
	ipc_chan_close(&w->chan);
	workers_n--;
	free(w);
}

static void worker_idle(void *arg)
{
	worker_free(arg);
}

static bool usable(const struct worker *w)
{
	return !w->failed && (w->chan == NULL || ipc_chan_alive(w->chan));
}

static void worker_release(struct worker *w)
{
	if (--w->users > 0)
		return;
	if (usable(w))
		timer_set(&w->idle, deadline_s(WORKER_IDLE_S));
	else
		worker_free(w);
}

static void make_room(void)
{
	LIST_EACH_SAFE(it, &workers)
	{
		struct worker *w = LIST_ENTRY(it, struct worker, link);

		if (workers_n < WORKERS_MAX)
			return;
		if (w->users == 0)
			worker_free(w);
	}
}

static bool same_identity(const struct asuser_id *a, const struct asuser_id *b)
{
	return a->uid == b->uid && a->gid == b->gid && strcmp(a->user, b->user) == 0 &&
	       strcmp(a->home, b->home) == 0 && strcmp(a->dir, b->dir) == 0 &&
	       a->allow_exec == b->allow_exec && a->root == b->root;
}

static struct worker *worker_find(const struct asuser_id *id)
{
	LIST_EACH(it, &workers)
	{
		struct worker *w = LIST_ENTRY(it, struct worker, link);

		if (usable(w) && same_identity(&w->id, id))
			return w;
	}
	return NULL;
}

static enum rc open_channel(const struct asuser_id *id, struct ipc_chan **chan, struct err *e)
{
	struct ipc_peer peer = { .uid = id->uid };
	int fd = -1;
	enum rc rc = asuser_run(id, &fd, e);

	if (rc == RC_OK)
		*chan = ipc_chan_new(fd, NULL, &peer, NULL);
	return rc;
}

static enum rc worker_start(const struct asuser_id *id, struct worker **out, struct err *e)
{
	struct worker *w;

	make_room();
	w = xcalloc(1, sizeof *w);
	w->id = *id;
	w->users = 1;
	waitq_init(&w->started);
	timer_init(&w->idle, worker_idle, w);
	list_add_tail(&workers, &w->link);
	workers_n++;
	enum rc rc = open_channel(id, &w->chan, e);
	w->failed = rc != RC_OK;
	waitq_wake_all(&w->started);
	if (rc != RC_OK)
		worker_release(w);
	else
		*out = w;
	return rc;
}

static enum rc worker_get(const struct asuser_id *id, struct worker **out, struct err *e)
{
	struct worker *w = worker_find(id);

	if (w == NULL)
		return worker_start(id, out, e);
	w->users++;
	timer_cancel(&w->idle);
	list_del(&w->link);
	list_add_tail(&workers, &w->link);
	while (w->chan == NULL && !w->failed)
		if (waitq_wait(&w->started, DEADLINE_NEVER) != RC_OK)
			break;
	if (w->chan != NULL) {
		*out = w;
		return RC_OK;
	}
	worker_release(w);
	return err_set(e, RC_AGAIN, "cannot start a process for the recipient");
}

static enum rc ask_once(const struct asuser_id *id, uint16_t type, const void *request, void *reply,
			struct arena *a, int64_t timeout_s, struct err *e)
{
	struct worker *w = NULL;
	enum rc rc = worker_get(id, &w, e);

	if (rc != RC_OK)
		return rc;
	rc = ipc_request(w->chan, type, request, reply, a, deadline_s(timeout_s), e);
	worker_release(w);
	return rc;
}

enum rc worker_ask(const struct asuser_id *id, uint16_t type, const void *request, void *reply,
		   struct arena *a, int64_t timeout_s, struct err *e)
{
	enum rc rc = ask_once(id, type, request, reply, a, timeout_s, e);

	return rc == RC_EOF ? ask_once(id, type, request, reply, a, timeout_s, e) : rc;
}

enum rc worker_run_alone(const struct asuser_id *id, uint16_t type, const void *request, void *reply,
			 struct arena *a, int64_t timeout_s, struct err *e)
{
	struct ipc_chan *chan = NULL;
	enum rc rc = open_channel(id, &chan, e);

	if (rc != RC_OK)
		return rc;
	rc = ipc_request(chan, type, request, reply, a, deadline_s(timeout_s), e);
	ipc_chan_close(&chan);
	return rc;
}
