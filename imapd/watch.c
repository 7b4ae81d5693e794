/* The process's inotify instance. It lives as long as somebody watches. */
#include "watch.h"
#include "base/list.h"
#include "task/task.h"
#include <sys/inotify.h>
#include <unistd.h>

struct watch {
	struct list link;
	int wd[2];
	size_t n;
	void (*fn)(void *arg);
	void *arg;
	bool hit;
};

static struct list watches = { &watches, &watches };
static int inotify_fd = -1;
static bool reading;

static void mark(int wd)
{
	LIST_EACH(it, &watches)
	{
		struct watch *w = LIST_ENTRY(it, struct watch, link);
		for (size_t i = 0; i < w->n; i++)
			w->hit = w->hit || w->wd[i] == wd || wd < 0; /* -1: events were lost */
	}
}

static bool take_events(void)
{
	_Alignas(struct inotify_event) char buf[8192];
	ssize_t n = read(inotify_fd, buf, sizeof(buf));
	for (ssize_t at = 0; n > 0 && at + (ssize_t)sizeof(struct inotify_event) <= n;) {
		struct inotify_event ev;
		memcpy(&ev, buf + at, sizeof(ev));
		mark(ev.wd);
		at += (ssize_t)(sizeof(ev) + ev.len);
	}
	return n > 0;
}

static void reader(void *arg)
{
	(void)arg;
	while (!list_empty(&watches) && task_wait_fd(inotify_fd, TASK_READ, DEADLINE_NEVER) == RC_OK) {
		while (take_events())
			;
		LIST_EACH_SAFE(it, &watches)
		{
			struct watch *w = LIST_ENTRY(it, struct watch, link);
			if (w->hit) {
				w->hit = false;
				w->fn(w->arg);
			}
		}
	}
	close(inotify_fd);
	inotify_fd = -1;
	reading = false;
}

static void drop_wd(int wd)
{
	LIST_EACH(it, &watches)
	{
		const struct watch *w = LIST_ENTRY(it, struct watch, link);
		for (size_t i = 0; i < w->n; i++)
			if (w->wd[i] == wd)
				return; /* somebody else watches it, too */
	}
	inotify_rm_watch(inotify_fd, wd);
}

struct watch *watch_start(const struct mailbox *mb, void (*fn)(void *arg), void *arg)
{
	const char *path[2];
	size_t n = mailbox_watch_paths(mb, path);
	while (reading && list_empty(&watches)) /* the last one just left */
		task_yield();
	if (inotify_fd < 0)
		inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (inotify_fd < 0)
		return NULL;
	struct watch *w = xcalloc(1, sizeof(*w));
	*w = (struct watch){ .n = 0, .fn = fn, .arg = arg };
	list_init(&w->link);
	for (size_t i = 0; i < n; i++) {
		w->wd[i] = inotify_add_watch(inotify_fd, path[i],
					     IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
						 (n == 1 ? IN_MODIFY : 0));
		if (w->wd[i] >= 0)
			w->n = i + 1;
	}
	list_add_tail(&watches, &w->link);
	if (w->n != n)
		watch_stop(&w);
	if (!reading && !list_empty(&watches)) {
		reading = true;
		task_spawn(reader, NULL);
	} else if (!reading) {
		close(inotify_fd);
		inotify_fd = -1;
	}
	return w;
}

void watch_stop(struct watch **wp)
{
	struct watch *w = *wp;
	if (!w)
		return;
	*wp = NULL;
	list_del(&w->link);
	for (size_t i = 0; i < w->n; i++)
		drop_wd(w->wd[i]);
	free(w);
	if (reading && list_empty(&watches))
		task_forget_fd(inotify_fd); /* wakes the reader, which ends */
}
