/* master/directories.c - the directories below queue_directory: made when missing; those that guard others
 * (private, public, empty, maildrop) also get their owner and mode back. */
#include "master.h"
#include "log/log.h"
#include "sandbox/sandbox.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8 /* deferred/A/B/FILE */

enum owner { ROOT, OWNER };

static const struct {
	const char *name;
	mode_t mode;
	enum owner owner;
	bool postdrop; /* group */
	bool enforce;
} directories[] = {
	{ "incoming", 0700, OWNER, false, false }, { "active", 0700, OWNER, false, false },
	{ "deferred", 0700, OWNER, false, false }, { "hold", 0700, OWNER, false, false },
	{ "corrupt", 0700, OWNER, false, false },  { "pool", 0700, OWNER, false, false },
	{ "bounce", 0700, OWNER, false, false },   { "defer", 0700, OWNER, false, false },
	{ "trace", 0700, OWNER, false, false },	   { "flush", 0700, OWNER, false, false },
	{ "saved", 0700, OWNER, false, false },	   { "maildrop", 01730, OWNER, true, true },
	{ "public", 0711, OWNER, true, true },	   { "private", 0700, ROOT, false, true },
	{ "empty", 0755, ROOT, false, true },	   { "pid", 0755, ROOT, false, false },
};

static void find_owners(const struct conf *c)
{
	struct err e;
	master.owner = geteuid();
	master.owner_gid = master.postdrop = getegid();
	if (master.one_uid)
		return;
	if (sandbox_user(conf_str(c, "mail_owner"), &master.owner, &master.owner_gid, &e) != RC_OK)
		die("mail_owner: %s", e.text);
	if (master.owner == 0)
		die("mail_owner must not be root");
	const char *name = conf_str(c, "setgid_group");
	const struct group *g = getgrnam(name);
	if (g == NULL)
		die("setgid_group: unknown group name: \"%s\"", name);
	master.postdrop = g->gr_gid;
}

static void make(const char *path, mode_t mode, uid_t uid, gid_t gid, bool enforce)
{
	struct stat st;
	bool made = mkdir(path, mode & 0777) == 0;
	if (!made && errno != EEXIST)
		die("mkdir %s: %m", path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && !made && !enforce)
		return;
	if (fd < 0 || fstat(fd, &st) < 0)
		die("open directory %s: %m", path);
	if (made || enforce) {
		if (!master.one_uid && (st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0)
			die("chown %s: %m", path);
		if ((made || (st.st_mode & 07777) != mode) && fchmod(fd, mode) < 0)
			die("chmod %s: %m", path);
	}
	close(fd);
}

static void make_all(const struct conf *c, bool enforce)
{
	const char *queue = conf_str(c, "queue_directory"), *data = conf_str(c, "data_directory");
	find_owners(c);
	umask(022);
	uid_t root = geteuid();
	gid_t root_gid = getegid();
	make(queue, 0755, root, root_gid, enforce);
	make(data, 0700, master.owner, master.owner_gid, enforce);
	if (chdir(queue) < 0)
		die("queue_directory %s: %m", queue);
	for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
		bool own = directories[i].owner == OWNER;
		make(directories[i].name, directories[i].mode, own ? master.owner : root,
		     directories[i].postdrop ? master.postdrop
		     : own		     ? master.owner_gid
					     : root_gid,
		     enforce || directories[i].enforce);
	}
}

void directories_make(const struct conf *c)
{
	make_all(c, false);
}

/* ---- what is in the queue, after mail_owner has changed ---- */

static void own_tree(int dir, const char *name, unsigned depth);

/* A file with a second name may be anybody's: it keeps its owner. */
static void own_entry(int dir, const char *name, unsigned depth)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (S_ISDIR(st.st_mode)) {
		own_tree(dir, name, depth + 1);
		return;
	}
	int fd = S_ISREG(st.st_mode) ? openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid != master.owner &&
	    fchown(fd, master.owner, master.owner_gid) < 0)
		die("chown %s: %m", name);
	close(fd);
}

static void own_tree(int dir, const char *name, unsigned depth)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 && depth < DEPTH_MAX ? fdopendir(fd) : NULL;
	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fchown(fd, master.owner, master.owner_gid) < 0)
		die("chown %s: %m", name);
	for (struct dirent *en; (en = readdir(d)) != NULL;)
		if (strcmp(en->d_name, ".") != 0 && strcmp(en->d_name, "..") != 0)
			own_entry(fd, en->d_name, depth);
	closedir(d);
}

void directories_restore(const struct conf *c)
{
	if (master.one_uid)
		die("owners and modes are set by root");
	make_all(c, true);
	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		if (directories[i].owner == OWNER && !directories[i].postdrop)
			own_tree(AT_FDCWD, directories[i].name, 0);
}
