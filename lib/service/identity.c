/* service/identity.c - the ritual of giving up rights, in one order for all. */
#include "service/frame.h"
#include "log/log.h"
#include <unistd.h>

#define OFFLOAD_FILES 8 /* threads where files are opened and synced */
#define OFFLOAD_OTHER 2

void identity_find(void)
{
	struct err e;
	if (!frame.one_uid && geteuid() != 0)
		frame.one_uid = true;
	if (frame.one_uid || frame.s->user == NULL) {
		frame.uid = geteuid();
		frame.gid = getegid();
		return;
	}
	const char *name = conf_str(frame.conf, frame.s->user);
	if (sandbox_user(name, &frame.uid, &frame.gid, &e) != RC_OK)
		die("%s: %s", frame.s->user, e.text);
	if (frame.uid == 0)
		die("%s: user %s is root", frame.s->user, name);
}

/* The chroot column, and the empty directory of those who open no files at all. */
static void change_root(void)
{
	struct err e;
	const char *queue = frame.queue_prefix;
	if (frame.one_uid || (!frame.chroot && !frame.s->chroot_empty)) {
		if (chdir(queue) < 0)
			die("queue_directory %s: %m", queue);
		return;
	}
	const char *dir = frame.s->chroot_empty ? arena_printf(&frame.arena, "%s/empty", queue) : queue;
	if (sandbox_chroot(dir, &e) != RC_OK)
		die("%s", e.text);
	if (!frame.s->chroot_empty)
		frame.queue_prefix = "";
}

void identity_take(void)
{
	struct err e;
	change_root();
	if (!frame.one_uid && frame.s->user != NULL &&
	    sandbox_become(frame.uid, frame.gid, NULL, 0, &e) != RC_OK)
		die("%s", e.text);
}

static unsigned threads_wanted(void)
{
	if (frame.s->offload_threads != 0)
		return frame.s->offload_threads;
	bool files = sandbox_has(frame.s->rights, "rpath") || sandbox_has(frame.s->rights, "wpath");
	return files ? OFFLOAD_FILES : OFFLOAD_OTHER;
}

/* What the daemon names itself, and the queue's directories. */
static size_t gather_paths(struct sandbox_path **out)
{
	struct sandbox_path *own = NULL, *v;
	size_t n = frame.s->paths != NULL ? frame.s->paths(&frame.arena, &own) : 0, total = n;
	struct span rest = span_str(frame.s->queue_dirs), dir;

	v = arena_array(&frame.arena, n + rest.n / 2 + 1, sizeof *v);
	if (n > 0)
		memcpy(v, own, n * sizeof *v);
	while (span_next_word(&rest, " ", &dir)) {
		v[total].path =
		    arena_printf(&frame.arena, "%s/" SPAN_FMT, service_queue_dir(), SPAN_ARG(dir));
		v[total++].access = SB_READ | SB_WRITE;
	}
	*out = v;
	return total;
}

void identity_confine(void)
{
	struct err e;
	struct sandbox_path *paths = NULL;
	size_t n = gather_paths(&paths);
	if (sandbox_confine(frame.s->rights, paths, n, frame.one_uid ? NULL : frame.s->keep_caps, &e) !=
	    RC_OK)
		die("sandbox: %s", e.text);
	offload_start(threads_wanted());
	if (sandbox_filter(frame.s->rights, &e) != RC_OK)
		die("sandbox: %s", e.text);
}
