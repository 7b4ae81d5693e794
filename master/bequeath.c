/* master/bequeath.c - a directory of the mail system whose files belong to a former mail_owner gets ours: the user of Postfix where that ran
 * before, or another name in main.cf. At a start only what that user could have written himself is given away: his files, and his
 * directories. No link is followed, and a file with a second name may be anybody's: it keeps its owner. The directory itself comes last, so that a start that was cut short goes on at the next. */
#include "master.h"
#include "log/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 17 /* hash_queue_depth, and the directory itself */

struct estate {
	uid_t former, uid;
	gid_t gid;
	size_t files, failed;
};

static void give_below(struct estate *h, int dirfd, unsigned depth);

static bool is_left(const struct estate *h, const struct stat *st)
{
	if (!S_ISDIR(st->st_mode) && (!S_ISREG(st->st_mode) || st->st_nlink != 1))
		return false;
	return h->former == BEQUEATH_ALL || st->st_uid == h->former;
}

static void give(struct estate *h, int at, const char *name, unsigned depth)
{
	int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), sub;
	struct stat st;

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && is_left(h, &st)) {
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX &&
		    (sub = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0)
			give_below(h, sub, depth + 1);
		if (st.st_uid != h->uid || st.st_gid != h->gid) {
			if (fchownat(fd, "", h->uid, h->gid, AT_EMPTY_PATH) == 0)
				h->files++;
			else
				h->failed++;
		}
	}
	close(fd);
}

static void give_below(struct estate *h, int dirfd, unsigned depth)
{
	DIR *d = fdopendir(dirfd);
	const struct dirent *de;

	if (!d) {
		close(dirfd);
		return;
	}
	while ((de = readdir(d)) != NULL)
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			give(h, dirfd, de->d_name, depth);
	closedir(d);
}

void bequeath(const char *path, int dirfd, uid_t former, uid_t uid, gid_t gid)
{
	struct estate h = { former, uid, gid, 0, 0 };
	int list = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (list >= 0)
		give_below(&h, list, 0);
	if (h.failed > 0 || fchown(dirfd, uid, gid) < 0)
		die("%s cannot be given to mail_owner: %zu files of others are left in it", path, h.failed);
	if (former != BEQUEATH_ALL)
		log_info("%s belonged to uid %lu: it and %zu files in it belong to mail_owner now", path,
			 (unsigned long)former, h.files);
}
