/* local/root.c - root's mailbox and .forward: where they are (known before any mail is), and what of them a child gets. */
#include "root.h"
#include "local.h"
#include "log/log.h"
#include "service/service.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	char name[ASUSER_NAME_MAX], path[ASUSER_PATH_MAX], dir[ASUSER_PATH_MAX];
	bool maildir;
	struct store_lock lock;
} box; /* path without final slash */

#define FILES_MAX 7
static struct {
	char name[ASUSER_NAME_MAX], path[FILES_MAX][ASUSER_PATH_MAX];
	const char *list[FILES_MAX + 1];
	size_t n;
} files;

static struct err refused; /* in the child: why there is no mailbox */

static char held_path[64]; /* the mailbox by a descriptor: its name may come to mean another file */

/* ---- in the child, as root without capabilities, confined to box.dir ---- */
/* What stands there has to be root's: a link, or a file that somebody has put there, is not followed. */
static enum rc open_own(struct stat *st, int *fd, struct err *e)
{
	int flags = box.maildir ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT;

	if (box.maildir && mkdir(box.path, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir %s", box.path);
	*fd = open(box.path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	if (*fd < 0 || fstat(*fd, st) < 0)
		return err_sys(e, "open %s", box.path);
	if (st->st_uid != 0 || (!box.maildir && (!S_ISREG(st->st_mode) || st->st_nlink > 1)))
		return err_set(e, RC_DENIED, "%s is not a file of root's own", box.path);
	return RC_OK;
}

static void sync_directory(void)
{
	int fd = open(box.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (fsync(fd) < 0)
		log_debug("fsync %s: %m", box.dir);
	close(fd);
}

/* The child goes on in a process of its own; this one waits for its end and takes the dotlock away, which
 * takes a right to box.dir that the other must not have. It never sees mail. */
static enum rc hold(int fd, const char *dot, struct err *e)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		return RC_OK;
	if (pid < 0) {
		unlink(dot);
		return err_sys(e, "fork");
	}
	close(fd);
	if (sandbox_filter("stdio wfile fork", e) != RC_OK)
		log_error("sandbox: %s", e->text);
	else
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	unlink(dot);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 75);
}

static enum rc enter(int fd, struct sandbox_path *out, size_t max, size_t *n, struct err *e)
{
	char dot[ASUSER_PATH_MAX + 8] = "";
	struct stat st;
	int own = -1;
	enum rc rc = RC_OK;

	INVARIANT(max > 0);
	if (!box.maildir && local_conf.lock.dotlock)
		rc = mbox_dotlock(box.path, &local_conf.lock, dot, sizeof dot, e);
	if (rc == RC_OK)
		rc = open_own(&st, &own, e);
	if (rc != RC_OK) { /* nothing is left but to say so */
		if (dot[0] != '\0')
			unlink(dot);
		log_error("root's mailbox: %s", e->text);
		refused = *e;
		return RC_OK;
	}
	if (st.st_size == 0)
		sync_directory();
	snprintf(held_path, sizeof held_path, "/proc/self/fd/%d", own);
	out[(*n)++] = (struct sandbox_path){ held_path, SB_READ | SB_WRITE };
	return dot[0] != '\0' ? hold(fd, dot, e) : RC_OK;
}

void root_store(struct ipc_call *call, const void *request)
{
	const struct user_store *q = request;
	struct user_store_reply r = { .rc = RC_DENIED,
				      .sys = (uint32_t)refused.sys,
				      .text = span_str(refused.text) };

	if (refused.text[0] == '\0') {
		child_store(call, request);
		return;
	}
	child_begin();
	if (q->fd >= 0)
		close(q->fd);
	ipc_reply(call, &r);
	child_end();
}

/* ---- in the daemon ---- */
static bool split_path(struct span path)
{
	while (path.n > 1 && path.p[path.n - 1] == '/') {
		box.maildir = true;
		path.n--;
	}
	ptrdiff_t slash = span_rchr(path, '/');
	return slash > 0 && path.p[0] == '/' && worker_text(box.path, sizeof box.path, path) &&
	       worker_text(box.dir, sizeof box.dir, span_head(path, (size_t)slash));
}

static void find_mailbox(const struct account *u, struct arena *a)
{
	struct asuser_id id = { .tag = "local" };
	struct span path;

	if (!worker_text(box.name, sizeof box.name, span_str(u->name)) ||
	    !worker_text(id.home, sizeof id.home, span_str(u->home)) ||
	    !local_mailbox_path(a, u, &id, &path) || !split_path(path))
		box.name[0] = '\0';
	box.lock = local_conf.lock;
	box.lock.dotlock = false;
}

/* forward_path for root without an extension: no request may choose which files of root's are read. */
static void find_files(const struct account *u, struct arena *a)
{
	struct local l = { .a = a };
	struct place p = { .user = span_str(u->name), .local = span_str(u->name) };
	struct span rest = span_str(conf_raw(service_conf(), "forward_path")), word, path;
	struct err e;

	if (!worker_text(files.name, sizeof files.name, span_str(u->name)))
		return;
	while (files.n < FILES_MAX && span_next_word(&rest, ", \t\r\n", &word))
		if (local_expand(&l, &p, u, word, conf_str(service_conf(), "forward_expansion_filter"), &path,
				 &e) == RC_OK &&
		    path.n > 1 && path.p[0] == '/' &&
		    worker_text(files.path[files.n], ASUSER_PATH_MAX, path)) {
			files.list[files.n] = files.path[files.n];
			files.n++;
		}
}

const struct worker_root *root_prepare(void)
{
	static struct worker_root root;
	static struct arena a;
	const struct passwd *pw = service_one_uid() ? NULL : getpwuid(0);

	if (pw == NULL)
		return NULL;
	struct account u = { .name = pw->pw_name, .home = pw->pw_dir, .shell = "" };
	find_mailbox(&u, &a);
	find_files(&u, &a);
	root = (struct worker_root){ box.name[0] != '\0' ? box.dir : NULL, files.list, enter };
	return &root;
}

static bool is_named(const char *name, const struct account *u)
{
	return u->uid == 0 && name[0] != '\0' && strcmp(u->name, name) == 0;
}

bool root_file_of(const struct account *u, struct span path, struct asuser_id *id)
{
	for (size_t i = 0; is_named(files.name, u) && i < files.n; i++)
		if (span_is(path, files.path[i])) {
			*id = (struct asuser_id){ .tag = "root", .root = ASUSER_ROOT_FILES };
			memcpy(id->user, files.name, sizeof id->user);
			return true;
		}
	return false;
}

bool root_mailbox_of(const struct account *u, struct asuser_id *id, struct span *path, const char **why)
{
	static char shown[ASUSER_PATH_MAX + 2];

	if (!is_named(box.name, u)) {
		*why = "mail is delivered to no account of uid 0 but root's own: it needs an alias";
		log_warning("user %s: %s", u->name, *why);
		return false;
	}
	*id = (struct asuser_id){ .tag = "root", .root = ASUSER_ROOT_MAILBOX };
	memcpy(id->user, box.name, sizeof id->user);
	snprintf(shown, sizeof shown, "%s%s", box.path, box.maildir ? "/" : "");
	*path = span_str(shown);
	return true;
}

const struct store_lock *root_mailbox_lock(void)
{
	return &box.lock;
}
