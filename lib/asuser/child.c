/* asuser/child.c - the forked child becomes the user, for good, before it does anything for him. */
#include "asuser/private.h"
#include "base/span.h"
#include "log/log.h"
#include "task/task.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS_MAX 256
#define PATHS_MAX  64

static NORETURN void give_up(const char *what, const struct err *e)
{
	log_error("%s: %s", what, e->text);
	_exit(75);
}

/* Splits /var/mail/kim into its directory (opened) and its last part. */
static int open_parent(const char *dir, const char **last)
{
	char parent[ASUSER_PATH_MAX];
	const char *slash = strrchr(dir, '/');
	size_t n = (size_t)(slash - dir);
	memcpy(parent, dir, n);
	parent[n] = '\0';
	*last = slash + 1;
	return open(n > 0 ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* While root: only below a directory that root owns and nobody else may write to, so that no name in it can
 * be a trap. */
static void make_as_root(const struct asuser_id *id)
{
	struct stat st;
	const char *last;
	int parent = open_parent(id->dir, &last);
	if (parent < 0)
		return;
	if (fstat(parent, &st) == 0 && st.st_uid == 0 &&
	    ((st.st_mode & 022) == 0 || (st.st_mode & S_ISVTX) != 0) && mkdirat(parent, last, 0700) == 0 &&
	    fchownat(parent, last, id->uid, id->gid, AT_SYMLINK_NOFOLLOW) < 0)
		log_warning("chown %s: %m", id->dir);
	close(parent);
}

static void make_as_user(const struct asuser_id *id)
{
	if (mkdir(id->dir, 0700) < 0 && errno != EEXIST)
		log_debug("mkdir %s: %m", id->dir);
}

/* The groups of the user database; a user who is not in it has his own group only. */
static void become(const struct asuser_id *id, const struct asuser_conf *c)
{
	struct err e;
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;
	if (getgrouplist(id->user, id->gid, groups, &n) < 0)
		n = 0;
	if (c->chroot_dir != NULL && c->chroot_dir[0] != '\0' && sandbox_chroot(c->chroot_dir, &e) != RC_OK)
		give_up("chroot", &e);
	if (sandbox_become(id->uid, id->gid, groups, (size_t)n, &e) != RC_OK)
		give_up("asuser", &e);
}

static void without_exec(const char *rights, char *out, size_t size)
{
	struct span rest = span_str(rights), w;
	size_t n = 0;
	out[0] = '\0';
	while (span_next_word(&rest, " ", &w))
		if (!span_is(w, "exec") && n + w.n + 2 < size)
			n += (size_t)snprintf(out + n, size - n, SPAN_FMT " ", SPAN_ARG(w));
}

static void confine(const struct asuser_id *id, const struct asuser_conf *c)
{
	struct err e;
	struct sandbox_path paths[PATHS_MAX];
	char rights[256];
	size_t n = 0;
	if (id->dir[0] != '\0')
		paths[n++] = (struct sandbox_path){ id->dir, SB_READ | SB_WRITE };
	if (c->child_paths != NULL)
		n += c->child_paths(id, paths + n, PATHS_MAX - n);
	if (id->allow_exec)
		snprintf(rights, sizeof rights, "%s", asuser_exec_rights(c));
	else
		without_exec(c->child_rights, rights, sizeof rights);
	if (sandbox_enter(rights, paths, n, NULL, &e) != RC_OK)
		give_up("sandbox", &e);
}

static void reset_signals(void)
{
	sigset_t none;
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

NORETURN void asuser_child(int fd, const struct asuser_id *id, const struct asuser_conf *c)
{
	reset_signals();
	asuser_close_others(fd);
	loop_after_fork();
	prctl(PR_SET_NAME, c->name, 0, 0, 0);
	if (id->make_dir && id->dir[0] != '\0' && geteuid() == 0)
		make_as_root(id);
	if (id->root) {
		asuser_root_confine(fd, id, c);
		_exit(c->child_main(fd, id));
	}
	become(id, c);
	umask(077);
	if (id->make_dir && id->dir[0] != '\0')
		make_as_user(id);
	if (chdir(id->home[0] != '\0' ? id->home : "/") < 0 && chdir("/") < 0)
		log_debug("chdir: %m");
	confine(id, c);
	_exit(c->child_main(fd, id));
}
