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

struct box {
	char path[ASUSER_PATH_MAX], dir[ASUSER_PATH_MAX]; /* path "": it has none; without final slash */
	char shown[ASUSER_PATH_MAX + 2];		  /* as the configuration has it */
	bool maildir;
};

#define FILES_MAX 7
struct files {
	char path[FILES_MAX][ASUSER_PATH_MAX];
	size_t n;
};

/* Root's own account first; others with uid 0 are those of /etc/passwd. */
#define ACCOUNTS_MAX 8
static struct {
	char name[ASUSER_NAME_MAX];
	struct box box;
	struct files files;
} accounts[ACCOUNTS_MAX];
static size_t accounts_n;
static struct store_lock lock; /* mailbox_delivery_lock without the dotlock */

/* In the child, those of its account. */
static struct box box;
static const char *file_list[FILES_MAX + 1];

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

static enum rc pick(const struct asuser_id *id, struct err *e)
{
	for (size_t i = 0; i < accounts_n; i++) {
		if (strcmp(id->user, accounts[i].name) != 0)
			continue;
		box = accounts[i].box;
		for (size_t k = 0; k < accounts[i].files.n; k++)
			file_list[k] = accounts[i].files.path[k];
		if (id->root == ASUSER_ROOT_MAILBOX && box.path[0] == '\0')
			break;
		return RC_OK;
	}
	return err_set(e, RC_DENIED, "%s: no such mailbox of uid 0", id->user);
}

/* ---- in the daemon ---- */
static bool split_path(struct span path, struct box *out)
{
	while (path.n > 1 && path.p[path.n - 1] == '/') {
		out->maildir = true;
		path.n--;
	}
	ptrdiff_t slash = span_rchr(path, '/');
	return slash > 0 && path.p[0] == '/' && worker_text(out->path, sizeof out->path, path) &&
	       worker_text(out->dir, sizeof out->dir, span_head(path, (size_t)slash));
}

static void find_mailbox(const struct account *u, struct arena *a, struct box *out)
{
	struct asuser_id id = { .tag = "local" };
	struct span path;

	if (!worker_text(id.home, sizeof id.home, span_str(u->home)) ||
	    !local_mailbox_path(a, u, &id, &path) || !split_path(path, out))
		out->path[0] = '\0';
	else
		snprintf(out->shown, sizeof out->shown, "%s%s", out->path, out->maildir ? "/" : "");
}

/* forward_path for the account without an extension: no request may choose which files of root's are read. */
static void find_files(const struct account *u, struct arena *a, struct files *out)
{
	struct local l = { .a = a };
	struct place p = { .user = span_str(u->name), .local = span_str(u->name) };
	struct span rest = span_str(conf_raw(service_conf(), "forward_path")), word, path;
	struct err e;

	while (out->n < FILES_MAX && span_next_word(&rest, ", \t\r\n", &word))
		if (local_expand(&l, &p, u, word, conf_str(service_conf(), "forward_expansion_filter"), &path,
				 &e) == RC_OK &&
		    path.n > 1 && path.p[0] == '/' && worker_text(out->path[out->n], ASUSER_PATH_MAX, path))
			out->n++;
}

static void add_account(const struct passwd *pw, struct arena *a)
{
	const struct account u = { .name = pw->pw_name, .home = pw->pw_dir, .shell = "" };

	for (size_t i = 0; i < accounts_n; i++)
		if (strcmp(accounts[i].name, u.name) == 0)
			return;
	if (accounts_n == ACCOUNTS_MAX ||
	    !worker_text(accounts[accounts_n].name, ASUSER_NAME_MAX, span_str(u.name)))
		return;
	find_mailbox(&u, a, &accounts[accounts_n].box);
	find_files(&u, a, &accounts[accounts_n].files);
	accounts_n++;
}

static void find_others(struct arena *a)
{
	FILE *f = fopen("/etc/passwd", "re");
	const struct passwd *pw;

	if (f == NULL)
		return;
	while ((pw = fgetpwent(f)) != NULL)
		if (pw->pw_uid == 0)
			add_account(pw, a);
	fclose(f);
}

const struct worker_root *root_prepare(void)
{
	static const struct worker_root root = { pick, box.dir, file_list, enter };
	static struct arena a;
	const struct passwd *pw = service_one_uid() ? NULL : getpwuid(0);

	if (pw == NULL)
		return NULL;
	add_account(pw, &a);
	find_others(&a);
	lock = local_conf.lock;
	lock.dotlock = false;
	return &root;
}

static size_t index_of(const struct account *u)
{
	size_t i = 0;

	while (i < accounts_n && (u->uid != 0 || strcmp(u->name, accounts[i].name) != 0))
		i++;
	return i;
}

static struct asuser_id id_of(size_t i, uint8_t what)
{
	struct asuser_id id = { .tag = "root", .root = what };

	memcpy(id.user, accounts[i].name, sizeof id.user);
	return id;
}

bool root_file_of(const struct account *u, struct span path, struct asuser_id *id)
{
	size_t at = index_of(u);

	for (size_t i = 0; at < accounts_n && i < accounts[at].files.n; i++)
		if (span_is(path, accounts[at].files.path[i])) {
			*id = id_of(at, ASUSER_ROOT_FILES);
			return true;
		}
	return false;
}

bool root_mailbox_of(const struct account *u, struct asuser_id *id, struct span *path, const char **why)
{
	size_t at = index_of(u);

	if (at == accounts_n || accounts[at].box.path[0] == '\0') {
		*why = "this account of uid 0 has no mailbox that was known at the start: it needs an alias";
		log_warning("user %s: %s", u->name, *why);
		return false;
	}
	*id = id_of(at, ASUSER_ROOT_MAILBOX);
	*path = span_str(accounts[at].box.shown);
	return true;
}

const struct store_lock *root_mailbox_lock(void)
{
	return &lock;
}
