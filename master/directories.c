/* master/directories.c - the directories below queue_directory: made when missing; those that guard others
 * (private, public, empty, maildrop) also get their owner and mode back; those of another mail_owner, which is how a host that
 * ran Postfix has them, are taken over. */
#include "master.h"
#include "log/log.h"
#include "sandbox/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

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
	if (!made && !master.one_uid && uid != 0 && st.st_uid != uid && st.st_uid != 0)
		bequeath(path, fd, st.st_uid, uid, gid);
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

void directories_restore(const struct conf *c)
{
	if (master.one_uid)
		die("owners and modes are set by root");
	make_all(c, true);
	for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
		if (directories[i].owner != OWNER || directories[i].postdrop)
			continue;
		int fd = open(directories[i].name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			die("open directory %s: %m", directories[i].name);
		bequeath(directories[i].name, fd, BEQUEATH_ALL, master.owner, master.owner_gid);
		close(fd);
	}
}
