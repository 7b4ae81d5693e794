/* master/listen.c - the pool of bound sockets, and the tasks that watch them while no child accepts. */
#include "master.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WATCH_PAUSE_MS 100

/* ---- the pool ---- */

struct listener *listen_new(const char *key, const char *path, int fd)
{
	struct listener *l = xcalloc(1, sizeof *l);
	l->key = xstrdup(key);
	l->path = path != NULL ? xstrdup(path) : NULL;
	l->fd = fd;
	waitq_init(&l->wanted);
	list_init(&l->link);
	return l;
}

static void listener_free(struct listener *l)
{
	list_del(&l->link);
	if (l->fd >= 0) {
		task_forget_fd(l->fd);
		close(l->fd);
	}
	free(l->key);
	free(l->path);
	free(l->final_path);
	free(l);
}

/* Among the fresh ones of a reload that goes on, then in the pool. */
struct listener *listen_find(struct list *fresh, const char *key)
{
	struct list *where[2] = { fresh, &master.listeners };
	for (size_t i = 0; i < ARRAY_LEN(where); i++)
		LIST_EACH(it, where[i])
		{
			struct listener *l = LIST_ENTRY(it, struct listener, link);
			if (strcmp(l->key, key) == 0 && !l->closing)
				return l;
		}
	return NULL;
}

/* ---- watching ---- */

static bool wants_watch(const struct listener *l)
{
	return l->service != NULL && service_wants_watch(l->service);
}

static void watcher(void *arg)
{
	struct listener *l = arg;
	while (!l->closing) {
		enum rc rc;
		if (!wants_watch(l))
			rc = waitq_wait(&l->wanted, DEADLINE_NEVER);
		else if ((rc = task_wait_fd(l->fd, TASK_READ, DEADLINE_NEVER)) == RC_OK && !l->closing &&
			 wants_watch(l))
			service_activity(l->service);
		if (rc == RC_SYS && errno != EBADF)
			task_sleep_ms(WATCH_PAUSE_MS);
	}
	listener_free(l);
}

void listen_wanted(struct service *s)
{
	if (master.stopping) /* they are closed, and freed by now */
		return;
	for (size_t i = 0; i < s->listeners; i++) {
		if (service_wants_watch(s))
			waitq_wake_all(&s->listener[i]->wanted);
		else
			task_forget_fd(s->listener[i]->fd); /* the watcher, if it waits, looks again */
	}
}

/* ---- opening ---- */

/* Every user may submit and log; the other public sockets are for the group of postdrop(1) and postqueue(1). */
static mode_t unix_mode(const struct service *s)
{
	bool everybody = strcmp(s->program, "pickup") == 0 || strcmp(s->program, "postlogd") == 0;

	return everybody && !s->entry->is_private ? 0666 : 0660;
}

/* A socket that a former master left is removed; anything else at that name is a reason to stop. */
static enum rc clear_path(const char *path, struct err *e)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? RC_OK : err_sys(e, "%s", path);
	if (!S_ISSOCK(st.st_mode) && !S_ISFIFO(st.st_mode))
		return err_set(e, RC_DENIED, "%s: is there, and is no socket", path);
	return unlink(path) < 0 ? err_sys(e, "unlink %s", path) : RC_OK;
}

static bool in_pool(const char *path)
{
	LIST_EACH(it, &master.listeners)
	{
		const struct listener *l = LIST_ENTRY(it, struct listener, link);
		if (l->path != NULL && strcmp(l->path, path) == 0)
			return true;
	}
	return false;
}

static enum rc bind_unix(const struct service *s, const char *path, int *out, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof a.sun_path)
		return err_set(e, RC_LIMIT, "%s: name too long for a socket", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	enum rc rc = clear_path(path, e);
	if (rc != RC_OK)
		return rc;
	int fd = socket(AF_UNIX, s->socket_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	mode_t former = umask(0777); /* nobody connects before the owner is right */
	int bound = bind(fd, (struct sockaddr *)&a, sizeof a);
	umask(former);
	if (s->socket_type ==
	    SOCK_DGRAM) /* now: what is sent before the service runs carries its sender, too */
		(void)setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int));
	gid_t gid = s->entry->is_private ? master.owner_gid : master.postdrop;
	if (bound < 0 || (!master.one_uid && lchown(path, master.owner, gid) < 0) ||
	    chmod(path, unix_mode(s)) < 0 || (s->socket_type != SOCK_DGRAM && listen(fd, SOMAXCONN) < 0)) {
		rc = err_sys(e, "bind %s", path);
		close(fd);
		return rc;
	}
	*out = fd;
	return RC_OK;
}

static enum rc unix_listen(struct running *r, struct service *s, struct list *fresh, struct err *e)
{
	const char *path = arena_printf(&r->arena, "%s/%s%s", s->entry->is_private ? "private" : "public",
					s->builtin ? "postern-" : "", s->name);
	const char *key = arena_printf(&r->arena, "unix%d:%s", s->socket_type, path);
	struct listener *l = listen_find(fresh, key);
	if (l == NULL) {
		int fd;
		/* What is in force keeps its name until the reload has succeeded. */
		bool taken = in_pool(path);
		const char *at = taken ? arena_printf(&r->arena, "%s.next", path) : path;
		enum rc rc = bind_unix(s, at, &fd, e);
		if (rc != RC_OK)
			return s->builtin ? err_prefix(e, "built-in service %s", s->name)
					  : err_prefix(e, "%s/master.cf line %u: service %s",
						       conf_dir(r->conf), s->entry->line, s->name);
		l = listen_new(key, at, fd);
		l->final_path = taken ? xstrdup(path) : NULL;
		list_add_tail(fresh, &l->link);
	}
	s->listener = arena_array(&r->arena, 1, sizeof(struct listener *));
	s->listener[0] = l;
	s->listeners = 1;
	return RC_OK;
}

enum rc listen_for(struct running *r, struct service *s, struct list *fresh, struct err *e)
{
	return s->entry->type == ST_INET ? inet_listen(r, s, fresh, e) : unix_listen(r, s, fresh, e);
}

/* Takes the name over from the one that had it. */
static void take_name(struct listener *l)
{
	if (l->final_path == NULL)
		return;
	if (rename(l->path, l->final_path) < 0)
		log_warning("rename %s to %s: %m", l->path, l->final_path);
	LIST_EACH(it, &master.listeners)
	{
		struct listener *former = LIST_ENTRY(it, struct listener, link);
		if (former->path != NULL && strcmp(former->path, l->final_path) == 0) {
			free(former->path);
			former->path = NULL;
		}
	}
	free(l->path);
	l->path = l->final_path;
	l->final_path = NULL;
}

/* ---- closing ---- */

void listen_discard(struct list *fresh)
{
	LIST_EACH_SAFE(it, fresh)
	{
		struct listener *l = LIST_ENTRY(it, struct listener, link);
		if (l->path != NULL)
			(void)unlink(l->path);
		listener_free(l);
	}
}

void listen_adopt(struct list *fresh)
{
	LIST_EACH_SAFE(it, fresh)
	{
		struct listener *l = LIST_ENTRY(it, struct listener, link);
		list_del(&l->link);
		take_name(l);
		list_add_tail(&master.listeners, &l->link);
		task_spawn(watcher, l);
		systemd_keep(l);
	}
}

static void close_one(struct listener *l)
{
	l->closing = true;
	list_del(&l->link);
	if (l->path != NULL)
		(void)unlink(l->path);
	task_forget_fd(l->fd);
	overlap_close(l->fd); /* the watcher frees the rest */
	l->fd = -1;
	waitq_wake_all(&l->wanted);
}

void listen_close_unwanted(void)
{
	LIST_EACH_SAFE(it, &master.listeners)
	if (LIST_ENTRY(it, struct listener, link)->service == NULL)
		close_one(LIST_ENTRY(it, struct listener, link));
}

void listen_close_all(void)
{
	LIST_EACH_SAFE(it, &master.listeners)
	close_one(LIST_ENTRY(it, struct listener, link));
}
